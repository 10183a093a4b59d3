"""Tests that no address takes all the room, and that all together stay within the limit."""

import pytest

from services.messaging.http_server.connection_counts import ConnectionCounts


def test_an_address_has_so_many_and_another_is_let_in() -> None:
    counts = ConnectionCounts(per_address=2, total=10)
    assert [counts.open("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert counts.open("10.0.0.2")
    counts.close("10.0.0.1")
    assert counts.open("10.0.0.1")


def test_all_together_have_so_many() -> None:
    counts = ConnectionCounts(per_address=2, total=3)
    assert [counts.open(f"10.0.0.{number}") for number in range(4)] == [True, True, True, False]
    assert counts.open_total == 3


def test_a_proxy_counts_in_total_only() -> None:
    counts = ConnectionCounts(per_address=1, total=3)
    assert [counts.open(None) for _ in range(4)] == [True, True, True, False]
    counts.close(None)
    assert counts.open("10.0.0.1")
    assert counts.open_total == 3


def test_without_a_total_only_addresses_are_limited() -> None:
    counts = ConnectionCounts(per_address=1)
    assert all(counts.open(f"10.0.{number}.1") for number in range(200))
    assert not counts.open("10.0.7.1")


@pytest.mark.parametrize(("per_address", "total"), [(0, 1), (1, 0)])
def test_no_room_at_all_is_a_mistake(per_address: int, total: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        ConnectionCounts(per_address=per_address, total=total)
