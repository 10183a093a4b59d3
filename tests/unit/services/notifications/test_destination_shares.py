"""Tests of shares of a channel's calls.

A call that hangs delays only the calls of its own tenant and its own host.
"""

import pytest

from services.notifications.destination_shares import DestinationShares, destination_of

A, B, OTHER = (1, "a.example"), (1, "b.example"), (2, "a.example")


def test_a_destination_has_its_share_and_no_more() -> None:
    shares = DestinationShares(of_tenant=6, of_destination=2)
    assert [shares.take(A, "u1"), shares.take(A, "u2"), shares.take(A, "u3")] == [True, True, False]
    assert shares.take(B, "u4"), "another host of the tenant has its own"
    assert shares.take(OTHER, "u1"), "the same host of another tenant has its own"
    assert sorted(shares.full_recipients()) == [(1, "u1"), (1, "u2"), (1, "u3")]
    shares.give_back(A)
    assert shares.full_recipients() == []
    assert shares.take(A, "u3")


def test_a_tenant_has_its_share_over_all_destinations() -> None:
    shares = DestinationShares(of_tenant=3, of_destination=2)
    assert all(shares.take((1, f"h{n}"), f"u{n}") for n in range(3))
    assert not shares.take((1, "h9"), "u9")
    assert shares.full_tenants() == [1]
    assert shares.take(OTHER, "u1")
    shares.give_back((1, "h0"))
    assert shares.full_tenants() == []
    assert shares.take((1, "h9"), "u9")


def test_what_ended_is_forgotten() -> None:
    shares = DestinationShares(of_tenant=3, of_destination=1)
    for _ in range(10):
        assert shares.take(A, "u")
        shares.give_back(A)
    assert shares.full_tenants() == []
    assert shares.full_recipients() == []


@pytest.mark.parametrize(
    ("url", "shared"),
    [
        ("https://hook.example.com/a", "hook.example.com"),
        ("https://HOOK.example.com.:8443/b", "hook.example.com"),
        ("slack://T/A/x", "slack"),
        ("ntfys://ntfy.example.com/a", "ntfy.example.com"),
        ("workflows://prod.logic.azure.com/a/b", "prod.logic.azure.com"),
        ("msteams://x", "x"),
        ("https://[", ""),
        ("nonsense", ""),
    ],
)
def test_calls_share_a_host_or_a_service(url: str, shared: str) -> None:
    assert destination_of(7, url) == (7, shared)
