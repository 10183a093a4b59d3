"""Tests of rules for outgoing URLs: first by form, then by every address of the name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outgoing.rules import (
    CLOSED_NETWORK,
    DEVELOPMENT,
    OPERATOR,
    Destination,
    DestinationRule,
    ForbiddenDestination,
    check_addresses,
    check_url,
    of_operator,
    of_tenants,
    tenant,
)

TENANT = tenant([443, 8443])
BY_FORM = [
    "https://127.1/", "https://127.0.1/", "https://2130706433/", "https://017700000001/", "https://0x7f000001/",
    "https://0x7f.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.0.0.0x1/", "https://10.0.0.01/",
    "https://1.2.3.4.5/", "https://256.1.1.1/", "https://0/", "https://00000000/", "https://4294967296/",
    "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://localhost../", "https://a.localhost/",
    "https://redis/", "https://rabbitmq:443/", "https://db.internal/", "https://metadata.google.internal/",
    "https://printer.local/", "https://printer.local./", "https://router.lan/", "https://x.home.arpa/",
    "https://[::1%25lo]/", "https://[::1%lo]/", "https://[fe80::1%25eth0]/", "https://[v1.x]/", "https://[::1/",
    "https://[127.0.0.1]/", "https://example..com/", "https://.example.com/", "https://-a.example.com/",
    "https://exa mple.com/", "https://example.com\\@127.0.0.1/", "https://example.com/\n", "https://example.com\t/",
    "https://ⓛocalhost/", "https://１２７.0.0.1/", "https://bücher.example/", "https://example。com/",
    "https://%6cocalhost/", "https:///x", "https://", "https:", "", "example.com",
    "//example.com/", "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
    "unix:///run/x", "HTTPS+UNIX://x/", "javascript:alert(1)", "https://example.com:22/", "https://example.com:80/",
    "https://example.com:6379/", "https://example.com:0/", "https://example.com:-1/", "https://example.com:99999/",
    "https://example.com:http/", "https://example.com:4 43/", "https://" + "a" * 300 + ".com/",
    "https://example.com/" + "a" * 5000,
]  # fmt: skip
"""URLs that are refused before any name is looked up."""


@pytest.mark.parametrize("url", BY_FORM)
def test_a_tenant_s_url_of_a_wrong_form_goes_nowhere(url: str) -> None:
    with pytest.raises(ForbiddenDestination):
        check_url(url, TENANT)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Destination("https", "example.com", 443)),
        ("HTTPS://Example.COM./a?b", Destination("https", "example.com", 443)),
        ("https://example.com:8443/", Destination("https", "example.com", 8443)),
        ("https://user:word@example.com/", Destination("https", "example.com", 443)),
        ("https://127.0.0.1@example.com/", Destination("https", "example.com", 443)),
        ("https://127.0.0.1%2f@example.com/x", Destination("https", "example.com", 443)),
        ("https://xn--bcher-kva.example/", Destination("https", "xn--bcher-kva.example", 443)),
        ("https://93.184.216.34/", Destination("https", "93.184.216.34", 443)),
        ("https://[2606:4700:4700:0:0::1111]/", Destination("https", "2606:4700:4700::1111", 443)),
        ("https://10.0.0.1/", Destination("https", "10.0.0.1", 443)),
        ("https://a_b.example.com/", Destination("https", "a_b.example.com", 443)),
    ],
)
def test_a_right_url_is_read_as_it_is_meant(url: str, target: Destination) -> None:
    assert check_url(url, TENANT) == target


# (rule, URL, addresses, whether it may go)
CASES: list[tuple[DestinationRule, str, list[str], bool]] = [
    (TENANT, "https://example.com", ["93.184.216.34"], True),
    (TENANT, "https://example.com", ["93.184.216.34", "2606:4700:4700::1111"], True),
    (TENANT, "https://example.com", ["93.184.216.34", "127.0.0.1"], False),
    (TENANT, "https://example.com", ["::ffff:10.0.0.1"], False),
    (TENANT, "https://10.0.0.1", ["10.0.0.1"], False),
    (CLOSED_NETWORK, "http://redis:6379/", ["10.0.0.1"], True),
    (CLOSED_NETWORK, "https://localhost", ["127.0.0.1"], True),
    (OPERATOR, "https://id.internal/keys", ["10.0.0.1"], True),
    (OPERATOR, "https://id.example.com:9443/keys", ["93.184.216.34"], True),
    (OPERATOR, "http://127.0.0.1:8080/keys", ["127.0.0.1"], True),
    (OPERATOR, "http://localhost/keys", ["127.0.0.1", "::1"], True),
    (OPERATOR, "http://id.internal/keys", ["10.0.0.1"], False),
    (OPERATOR, "http://id.internal/keys", ["127.0.0.1", "10.0.0.1"], False),
    (OPERATOR, "http://id.example.com/keys", ["93.184.216.34"], False),
    (DEVELOPMENT, "http://id.internal/keys", ["10.0.0.1"], True),
]


@pytest.mark.parametrize(("rule", "url", "addresses", "may"), CASES)
def test_a_rule_holds_every_address_of_a_name(
    rule: DestinationRule, url: str, addresses: list[str], may: bool
) -> None:
    target = check_url(url, rule)
    if may:
        check_addresses(target, addresses, rule)
        return
    with pytest.raises(ForbiddenDestination):
        check_addresses(target, addresses, rule)


@pytest.mark.parametrize("rule", [CLOSED_NETWORK, OPERATOR, DEVELOPMENT])
@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "file:///etc/passwd", "https://127.1/", "https://a b/", ""]
)
def test_no_rule_lets_a_url_through_that_is_none(rule: DestinationRule, url: str) -> None:
    with pytest.raises(ForbiddenDestination):
        check_url(url, rule)


def test_the_rule_follows_from_the_configuration() -> None:
    assert of_operator("production") == OPERATOR
    assert of_operator("development") == DEVELOPMENT
    assert of_tenants(allow_private=True, ports=[443]) == CLOSED_NETWORK
    assert of_tenants(allow_private=False, ports=[443]).ports == {443}


@given(st.text(max_size=60))
def test_any_text_is_refused_or_leads_to_a_host_and_a_port(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            target = check_url(url, TENANT)
        except ForbiddenDestination:
            continue
        assert target.scheme == "https"
        assert target.port in TENANT.ports
        assert target.host == target.host.lower().strip(".")
