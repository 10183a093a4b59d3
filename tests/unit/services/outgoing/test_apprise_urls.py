"""Tests of URLs of services behind apprise: offered services, their hosts, and harmless options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outgoing.apprise_urls import SERVICES, host_of, options_fault, scheme_of, url_fault

RIGHT = [
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "slack://xoxb-1234-1234-abc/#nuxref?footer=no&timestamp=yes",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?thread=123&tts=yes",
    "tgram://123456789:abcdefg_hijklmnop/lead2gold/?silent=yes",
    "ntfys://ntfy.example.com/topic?priority=max",
    "ntfy://user:password@ntfy.example.com/topic",
    "rockets://user:password@chat.example.com/#room",
    "pagerduty://A1BRTD4JD@TIiajkdnlazkcOXrIdevi7FQ/node/drive?region=eu&severity=critical",
    "opsgenie://a6k4ABnck26hDh8AA3EDHoOVdDEUlw3nty/@user?priority=5",
    "workflows://prod-12.westeurope.logic.azure.com:443/643e69f83c8944/KRGEFZbN/",
    "workflow://default0123.ab.environment.api.powerplatform.com/643e69f83c8944/KRGEFZbN?pa=yes",
    "zulip://bot@acme/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/general",
    "pover://user@token/?priority=2&expire=3600",
    "gchat://?workspace=w&key=k&token=t",
    "SLACK://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
]
WRONG = [
    ("json://example.com/", "is not offered"),
    ("xml://example.com/", "is not offered"),
    ("apprise://example.com/token", "is not offered"),
    ("mailto://user:pass@example.com", "is not offered"),
    ("matrix://example.com/", "is not offered"),
    ("hassio://example.com/", "is not offered"),
    ("mqtt://127.0.0.1/topic", "is not offered"),
    ("dbus://", "is not offered"),
    ("syslog://", "is not offered"),
    ("macosx://", "is not offered"),
    ("msteams://a/b/c", "is not offered"),
    ("nonsense", "is not offered"),
    ("", "is not offered"),
    ("://", "is not offered"),
    ("slack://T/A/x?verify=no", "'verify'"),
    ("slack://T/A/x?VERIFY=no", "'VERIFY'"),
    ("slack://T/A/x?redirect=yes", "'redirect'"),
    ("slack://T/A/x?template=http://127.0.0.1/x", "'template'"),
    ("slack://T/A/x/#general?template=/etc/passwd", "'template'"),
    ("slack://T/A/x?template=file%3A%2F%2F%2Fetc%2Fpasswd", "'template'"),
    ("slack://T/A/x?%74emplate=/etc/passwd", "'%74emplate'"),
    ("slack://T/A/x?to=a&template=/etc/passwd", "'template'"),
    ("slack://T/A/x?to=a;template=/etc/passwd", "after ?"),
    ("slack://T/A/x?to=a?template=/etc/passwd", "after ?"),
    ("slack://T/A/x?to=a#?template=/etc/passwd", "after ?"),
    ("slack://T/A/x?:token=x", "':token'"),
    ("slack://T/A/x?+header=x", "'+header'"),
    ("slack://T/A/x?-p=x", "'-p'"),
    ("slack://T/A/x?rto=600", "'rto'"),
    ("slack://T/A/x?cto=600", "'cto'"),
    ("slack://T/A/x?retry=10", "'retry'"),
    ("slack://T/A/x?wait=600", "'wait'"),
    ("slack://T/A/x?overflow=split", "'overflow'"),
    ("slack://T/A/x?store=/tmp", "'store'"),
    ("slack://T/A/x?tz=UTC", "'tz'"),
    ("slack://T/A/x?optional=yes", "'optional'"),
    ("slack://T/A/x,workflows://127.0.0.1/a/b", "characters"),
    ("slack://T/A/x workflows://127.0.0.1/a/b", "characters"),
    ("slack://T/A/x\nworkflows://127.0.0.1/a/b", "characters"),
    ("slack://T/A/x\\y", "characters"),
    ("slack://T/A/" + "x" * 3000, "characters"),
    ("discord://1/2?avatar_url=http://127.0.0.1/", "'avatar_url'"),
    ("discord://1/2?template=http://127.0.0.1/", "'template'"),
    ("discord://1/2?href=http://127.0.0.1/", "'href'"),
    ("tgram://1:2/3?template=x", "'template'"),
    ("tgram://1:2/3?content=x", "'content'"),
    ("ntfys://h.example.com/t?attach=http://127.0.0.1/", "'attach'"),
    ("ntfys://h.example.com/t?actions=http,x", "'actions'"),
    ("ntfys://h.example.com/t?filename=x", "'filename'"),
    ("ntfys://h.example.com/t?email=x", "'email'"),
    ("revolt://a/b?icon_url=http://127.0.0.1/", "'icon_url'"),
    ("workflows://127.0.0.1:34345/wf/sig", "not a host"),
    ("workflows://127.0.0.1:34345/wf/sig?verify=no", "'verify'"),
    ("workflow://logic.azure.com.evil.example/wf/sig", "not a host"),
    ("workflow://evillogic.azure.com/wf/sig", "not a host"),
    ("workflow://prod.logic.azure.com@evil.example/wf/sig", "not a host"),
    ("workflow://evil.example#.logic.azure.com/wf/sig", "not a host"),
    ("workflow://evil.example:1@x:2@evil.example/wf/sig", "not a host"),
    ("workflow:///wf/sig", "not a host"),
]


@pytest.mark.parametrize("url", RIGHT)
def test_a_url_as_the_service_documents_it_is_taken(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(("url", "words"), WRONG)
def test_a_url_that_leads_elsewhere_is_refused_with_the_reason(url: str, words: str) -> None:
    assert words in (url_fault(url) or "")


@pytest.mark.parametrize("scheme", SERVICES)
@pytest.mark.parametrize(
    "option",
    [
        "verify",
        "redirect",
        "template",
        "avatar_url",
        "attach",
        "rto",
        "cto",
        "retry",
        "wait",
        "url",
        "href",
        "image",
    ],
)
def test_no_service_offers_an_option_that_leads_elsewhere(scheme: str, option: str) -> None:
    assert option in (url_fault(f"{scheme}://prod.logic.azure.com/a/b?{option}=x") or "")
    assert option in (options_fault(scheme, {option: "x"}) or "")


@pytest.mark.parametrize("scheme", SERVICES)
def test_a_service_has_its_own_hosts_and_no_others(scheme: str) -> None:
    service = SERVICES[scheme]
    assert service.hosts or service.suffixes or service.self_hosted
    for host in ("127.0.0.1", "localhost", "evil.example", "", *(f"x{h}" for h in service.hosts)):
        assert not service.has_host(host, named="other.example")
    for host in (*service.hosts, *(f"a{suffix}" for suffix in service.suffixes)):
        assert service.has_host(host, named="other.example")
    assert all(suffix.startswith(".") for suffix in service.suffixes)
    assert service.has_host("named.example", named="named.example") is service.self_hosted


@pytest.mark.parametrize(
    ("url", "host"),
    [("ntfy://u:p@h.example:8443/t?x=y", "h.example"), ("ntfy://H.example", "h.example"), ("ntfy://", ""), ("ntfy", ""),
     ("slack://T/A/x", "t"), ("ntfy://a@b@c/t", "c"), ("ntfy://a#b/t", "a")],
)  # fmt: skip
def test_the_host_of_a_url_is_where_the_path_has_not_begun(url: str, host: str) -> None:
    assert host_of(url) == host


@given(st.text(max_size=80))
def test_any_text_has_an_answer(text: str) -> None:
    assert url_fault(text) is None or url_fault(text)
    assert scheme_of(text) == scheme_of(text).lower()
    assert url_fault(f"workflows://{text}") is not None or ".logic.azure." in text.lower()
