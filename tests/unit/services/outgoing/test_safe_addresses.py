"""Tests of the addresses that a request may go to.

These are addresses on the internet. No form of an address may lead back inside.
"""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outgoing.safe_addresses import is_loopback, is_public

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1",
    "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.1", "191.255.255.255", "192.0.1.1", "192.31.195.1",
    "192.88.98.1", "192.167.255.255", "192.175.47.255", "198.17.255.255", "198.20.0.1", "203.0.112.1",
    "223.255.255.255",
    "2001:200::1", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450:4001:829::200e", "2620:fe::fe",
]  # fmt: skip
PRIVATE = [
    "0.0.0.0", "0.1.2.3", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.1.2.3", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170",
    "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.88.99.2", "192.168.1.1",
    "192.168.255.255", "192.175.48.1", "192.175.48.42", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9",
    "224.0.0.1", "233.252.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.254", "255.255.255.255",
    "::", "::1", "::2", "::ffff", "100::1", "100:0:0:1::1", "fe80::1", "fe80::1%eth0", "febf::1", "fc00::1",
    "fd00:ec2::254", "fd12:3456::1", "fdff::1", "fec0::1", "ff02::1", "ff05::1", "ff0e::1", "2001::1", "2001:1::1",
    "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:5::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2620:4f:8000::1", "3ffe::1", "3fff::1", "3fff:fff::1", "4000::1",
    "5f00::1",
    "64:ff9b:1::808:808", "64:ff9b:1:fffe::1", "8000::1", "e000::1", "2606:4700::5efe:a00:1",
    "2606:4700::200:5efe:a00:1",
]  # fmt: skip
INNER = {"mapped": lambda ip: f"::ffff:{ip}", "NAT64": lambda ip: f"64:ff9b::{ip}"}
"""Forms that connect to the IPv4 address inside."""
DEAD = {
    "6to4": lambda ip: str(
        ipaddress.IPv6Address((0x2002 << 112) | (int(ipaddress.IPv4Address(ip)) << 80) | 1)
    ),
    "compatible": lambda ip: f"::{ip}",
    "translated": lambda ip: f"::ffff:0:{ip}",
}
"""Forms that reach no server on the internet any more, and lead to relays."""


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_ours_or_nobody_s_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("form", list(INNER))
@pytest.mark.parametrize("inner", [address for address in PRIVATE if ":" not in address])
def test_an_inner_address_decides(form: str, inner: str) -> None:
    assert not is_public(INNER[form](inner))
    assert is_public(INNER[form]("8.8.8.8"))


@pytest.mark.parametrize("form", list(DEAD))
@pytest.mark.parametrize("inner", ["8.8.8.8", "10.0.0.1", "127.0.0.1"])
def test_a_relayed_form_is_nowhere_to_go(form: str, inner: str) -> None:
    assert not is_public(DEAD[form](inner))


@pytest.mark.parametrize("address", ["::1%lo", "::ffff:127.0.0.1%1", "2606:4700:4700::1111%eth0"])
def test_an_address_with_a_zone_is_of_one_link(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "010.0.0.1", "8.8.8.8 ", "8.8.8.8/32",
     "[::1]", "8.8.8", "8.8.8.8.", "８.8.8.8", "1:2:3:4:5:6:7", "::ffff:8.8.8.8.8", "::ffff:0x08.8.8.8"],
)  # fmt: skip
def test_what_is_no_address_in_full_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.text(max_size=40))
def test_any_text_has_an_answer(text: str) -> None:
    assert is_public(text) in (True, False)
    assert is_loopback(text) in (True, False)


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_calls_private(ip: ipaddress.IPv4Address) -> None:
    inner = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    seen = inner or ip
    nat64 = isinstance(ip, ipaddress.IPv6Address) and ip in ipaddress.IPv6Network("64:ff9b::/96")
    assert (
        not is_public(str(ip)) or nat64 or (seen.is_global and not seen.is_multicast and not seen.is_reserved)
    )


@given(st.ip_addresses(v=4))
def test_no_form_is_more_public_than_the_address_inside(inner: ipaddress.IPv4Address) -> None:
    plain = is_public(str(inner))
    for form in INNER.values():
        assert is_public(form(str(inner))) == plain
    for form in DEAD.values():
        assert not is_public(form(str(inner)))


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("::", False), ("0.0.0.0", False), ("localhost", False)],
)  # fmt: skip
def test_this_machine_is_known_by_its_addresses(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
