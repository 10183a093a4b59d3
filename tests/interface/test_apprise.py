"""Tests that the installed apprise does what the guard relies on.

Each request goes through `requests`, to the hosts that are listed.
"""

import ast
import importlib
import inspect

import apprise
import apprise.plugins
import pytest

from services.notifications.channels import OutgoingMessage, SendFailed
from services.notifications.channels.apprise import METHODS, NAMES, AppriseChannel
from services.outgoing.apprise_urls import SERVICES, url_fault
from services.outgoing.client import OutgoingClient
from services.outgoing.rules import tenant

HEX32, UUID_TEXT = "0123456789abcdef" * 2, "01234567-89ab-cdef-0123-456789abcdef"
SAMPLES = {
    "discord": "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "flock": "flock://0123456789abcdef01234567",
    "gchat": "gchat://workspace/key/token",
    "guilded": "guilded://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "ifttt": "ifttt://WebHookID@EventID",
    "line": "line://token/target",
    "msg91": f"msg91://{'t' * 20}@{'a' * 23}/15551232000",
    "ntfy": "ntfy://ntfy.example.com/topic",
    "ntfys": "ntfys://ntfy.example.com/topic",
    "opsgenie": f"opsgenie://{UUID_TEXT}/@user",
    "pagerduty": "pagerduty://A1BRTD4JD@TIiajkdnlazkcOXrIdevi7FQ/node/drive",
    "pagertree": "pagertree://int_0123456789",
    "pbul": "pbul://accesstoken",
    "pover": f"pover://{'u' * 30}@{'t' * 30}",
    "revolt": "revolt://bottoken/channel",
    "rocket": "rocket://user:password@chat.example.com/#room",
    "rockets": "rockets://user:password@chat.example.com/#room",
    "schan": "schan://token",
    "signl4": "signl4://secret",
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "spike": f"spike://{HEX32}",
    "splunk": f"splunk://routing@{UUID_TEXT}",
    "squadcast": f"squadcast://{HEX32}{'0' * 8}",
    "tgram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "twist": "twist://password:user@example.com/123",
    "victorops": f"victorops://routing@{UUID_TEXT}",
    "webex": f"webex://{'a' * 80}",
    "workflow": "workflow://prod-12.westeurope.logic.azure.com:443/643e69f83c8944/KRGEFZbN",
    "workflows": "workflows://prod-12.westeurope.logic.azure.com:443/643e69f83c8944/KRGEFZbN",
    "wxteams": f"wxteams://{'a' * 80}",
    "zoom": "zoom://webhookid/token",
    "zulip": "zulip://bot@acme/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/general",
}
NETWORK = {
    "socket", "ssl", "http", "urllib3", "urllib.request", "smtplib", "ftplib", "telnetlib", "asyncio", "aiohttp",
    "httpx", "paho", "websocket", "subprocess", "ctypes",
}  # fmt: skip
"""Modules with which a plugin could connect without `requests`."""


def plugin_modules() -> list[str]:
    found: set[str] = set()
    for url in SAMPLES.values():
        plugin = apprise.Apprise.instantiate(url)
        assert plugin is not None, url
        found |= {k.__module__ for k in type(plugin).__mro__ if k.__module__.startswith("apprise.plugins.")}
    return sorted(found - {"apprise.plugins.base"})


def test_every_service_that_is_offered_has_a_sample_that_apprise_and_vigil_take() -> None:
    assert SAMPLES.keys() == SERVICES.keys()
    assert [url for url in SAMPLES.values() if url_fault(url)] == []
    assert len(plugin_modules()) > 20


def test_plugins_make_requests_by_what_the_guard_stands_in_for_and_by_nothing_else() -> None:
    for name in plugin_modules():
        tree = ast.parse(inspect.getsource(importlib.import_module(name)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(a.name in NETWORK or a.name.split(".")[0] in NETWORK for a in node.names), name
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module not in NETWORK | {"requests"}, f"{name}: from {node.module}"
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "requests"
            ):
                assert node.attr in METHODS | NAMES | {"request"}, f"{name}: requests.{node.attr}"


@pytest.mark.parametrize("scheme", sorted(SERVICES))
def test_each_request_of_a_plugin_comes_to_the_guard_and_goes_to_a_listed_host(scheme: str) -> None:
    """No name resolves here, so that nothing leaves.

    The looked-up name is the host of the request.
    """
    looked_up: list[str] = []

    def nowhere(host: str, _port: int) -> list[str]:
        looked_up.append(host)
        raise OSError("no such name")

    channel = AppriseChannel(OutgoingClient(tenant([443]), resolver=nowhere), deadline_s=5)
    with pytest.raises(SendFailed) as failure:
        channel.send(
            OutgoingMessage(reference="r", recipient=SAMPLES[scheme], subject="s", text="t", urgent=True)
        )
    if scheme in ("ntfy", "rocket"):
        assert failure.value.kind == "forbidden_address", "not by TLS"
        return
    assert (failure.value.kind, failure.value.maybe_sent) == ("unreachable", False), str(failure.value)
    named = SAMPLES[scheme].partition("://")[2].rpartition("@")[2].partition("/")[0].partition(":")[0]
    assert looked_up
    assert all(SERVICES[scheme].has_host(host, named=named) for host in looked_up), looked_up
