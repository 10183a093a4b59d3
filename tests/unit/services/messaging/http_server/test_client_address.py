"""Tests of clients behind proxies.

A header gives no client another's address. A trusted proxy's word about its client counts.
"""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Forbidden
from services.messaging.http_server.client_address import (
    NetworkList,
    check_allowed,
    client_of,
    holder_of,
    problems,
)
from services.platform import config

PROXIES = NetworkList("10.0.0.1, 10.0.9.0/24, fd00::/8")
NOBODY = NetworkList("")


def test_without_trusted_proxies_the_header_says_nothing() -> None:
    assert client_of("203.0.113.9", "127.0.0.1", trusted=NOBODY) == "203.0.113.9"
    assert client_of("127.0.0.1", "10.0.0.1, 8.8.8.8", trusted=NOBODY) == "127.0.0.1"


def test_a_stranger_cannot_speak_for_another() -> None:
    assert client_of("203.0.113.9", "127.0.0.1", trusted=PROXIES) == "203.0.113.9"


def test_a_trusted_proxy_speaks_for_its_client() -> None:
    assert client_of("10.0.0.1", "203.0.113.9", trusted=PROXIES) == "203.0.113.9"
    assert client_of("fd00::1", "2001:db8::5", trusted=PROXIES) == "2001:db8::5"


def test_what_the_client_wrote_before_the_proxy_did_is_not_believed() -> None:
    assert client_of("10.0.0.1", "127.0.0.1, 10.0.0.1, 203.0.113.9", trusted=PROXIES) == "203.0.113.9"
    assert client_of("10.0.0.1", "garbage, 203.0.113.9", trusted=PROXIES) == "203.0.113.9"


def test_through_a_chain_of_trusted_proxies_the_rightmost_stranger_counts() -> None:
    assert client_of("10.0.0.1", "127.0.0.1, 203.0.113.9, 10.0.9.7", trusted=PROXIES) == "203.0.113.9"


def test_a_proxy_that_speaks_for_nobody_or_for_proxies_only_is_the_client_itself() -> None:
    assert client_of("10.0.0.1", "", trusted=PROXIES) == "10.0.0.1"
    assert client_of("10.0.0.1", "10.0.9.7, 10.0.9.8", trusted=PROXIES) == "10.0.9.7"


def test_a_trusted_proxy_that_says_no_address_is_refused() -> None:
    with pytest.raises(Forbidden, match="unknown.*10.0.0.1"):
        client_of("10.0.0.1", "203.0.113.9, unknown", trusted=PROXIES)


def test_ipv4_over_an_ipv6_socket_is_ipv4() -> None:
    assert client_of("::ffff:10.0.0.1", "203.0.113.9", trusted=PROXIES) == "203.0.113.9"
    check_allowed(client_of("::ffff:127.0.0.1", "", trusted=NOBODY), allowed=NetworkList("127.0.0.1/32"))


@given(st.ip_addresses(), st.text(max_size=80))
def test_no_header_of_a_stranger_changes_who_it_is(peer: ipaddress.IPv4Address, header: str) -> None:
    trusted = NetworkList("10.0.0.1")
    if client_of(str(peer), "", trusted=NOBODY) != "10.0.0.1":
        assert client_of(str(peer), header, trusted=trusted) == client_of(str(peer), "", trusted=trusted)


def test_metrics_are_for_the_listed_networks_only() -> None:
    allowed = NetworkList("127.0.0.1/32, 10.0.0.0/8")
    check_allowed("127.0.0.1", allowed=allowed)
    check_allowed("10.1.2.3", allowed=allowed)
    for stranger in ("192.168.1.1", "::1", "", "no address"):
        with pytest.raises(Forbidden, match="PROMETHEUS_ALLOWED_IPS"):
            check_allowed(stranger, allowed=allowed)


def test_what_is_no_network_lets_nobody_in_and_is_named() -> None:
    environ = {
        "PROMETHEUS_ALLOWED_IPS": "10.0.0.0/33, 10.1.0.0/16",
        "VIGIL_TRUSTED_PROXIES": "proxy.example.com",
    }
    noc = config.load(Path("config.yaml"), environ=environ).noc
    allowed = NetworkList(noc.metrics_allowed_ips)
    check_allowed("10.1.2.3", allowed=allowed)
    with pytest.raises(Forbidden):
        check_allowed("10.2.0.1", allowed=allowed)
    first, second = problems(noc)
    assert first.startswith("PROMETHEUS_ALLOWED_IPS") and "10.0.0.0/33" in first
    assert second.startswith("VIGIL_TRUSTED_PROXIES") and "proxy.example.com" in second


@pytest.mark.parametrize(
    ("address", "holder"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("unix", "unix"),
    ],
)
def test_a_subscriber_is_counted_once_whatever_addresses_it_takes(address: str, holder: str) -> None:
    assert holder_of(address) == holder


def test_who_is_in_a_network_is_asked_by_text() -> None:
    assert PROXIES.has("10.0.9.7")
    assert not PROXIES.has("203.0.113.9")
    assert not PROXIES.has("no address")
