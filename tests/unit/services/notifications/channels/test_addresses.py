"""Where a webhook may go: the internet, and no address that leads back inside by whatever form it is written in."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.channels.addresses import is_public

PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:829::200e"]
PRIVATE = [
    "10.0.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "5f00::1",
    "4000::1",
]
EMBEDDED = {
    "mapped": lambda ip: f"::ffff:{ip}",
    "NAT64": lambda ip: f"64:ff9b::{ip}",
    "6to4": lambda ip: str(
        ipaddress.IPv6Address((0x2002 << 112) | (int(ipaddress.IPv4Address(ip)) << 80) | 1)
    ),
    "compatible": lambda ip: f"::{ip}",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_ours_or_nobody_s_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("form", list(EMBEDDED))
@pytest.mark.parametrize("inner", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "224.0.0.1"])
def test_an_inner_address_decides(form: str, inner: str) -> None:
    assert not is_public(EMBEDDED[form](inner))
    assert is_public(EMBEDDED[form]("8.8.8.8"))


@pytest.mark.parametrize(
    "address", ["64:ff9b:1::808:808", "64:ff9b:1:fffe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1"]
)
def test_local_nat64_and_teredo_are_nowhere_to_go(address: str) -> None:
    assert not is_public(address)


def test_a_zone_is_of_one_machine_and_changes_nothing_about_the_address() -> None:
    assert not is_public("::1%lo")
    assert not is_public("::ffff:127.0.0.1%1")


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "127.1", "2130706433", "0x7f000001", "010.0.0.1", "8.8.8.8 ", "8.8.8.8/32", "[::1]"],
)
def test_what_is_no_address_in_full_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.text(max_size=40))
def test_any_text_has_an_answer(text: str) -> None:
    assert is_public(text) in (True, False)


@given(st.ip_addresses(v=4))
def test_no_form_is_more_public_than_the_address_inside(inner: ipaddress.IPv4Address) -> None:
    plain = is_public(str(inner))
    for form in EMBEDDED.values():
        # The smallest numbers are no addresses inside of others: `::` and `::1` are addresses of their own.
        assert is_public(form(str(inner))) == plain or int(inner) < 2
