"""Tests of turns: tenants take turns, then the sources of each tenant.

A source's messages keep their order.
"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.handlers.fair_turns import FairTurns, Sender


def run_all(turns: FairTurns[str]) -> list[str]:
    """Run the waiting items one at a time, and return them in the order in which they ran."""
    ran = []
    while (taken := turns.take()) is not None:
        ran.append(taken[1])
        turns.leave(taken[0])
    return ran


def test_another_tenants_first_item_runs_next_however_many_wait() -> None:
    turns: FairTurns[str] = FairTurns(places=1, of_tenant=1)
    for number in range(1000):
        turns.put(Sender(1, f"source-{number}"), f"a{number}")
    first = turns.take()
    assert first is not None
    turns.put(Sender(2, "guard"), "b")
    turns.leave(first[0])
    assert run_all(turns)[:2] == ["b", "a1"]
    assert len(turns) == 0


def test_a_tenant_has_a_part_of_the_places_only() -> None:
    turns: FairTurns[str] = FairTurns(places=4, of_tenant=3)
    for number in range(10):
        turns.put(Sender(1, f"source-{number}"), f"a{number}")
    taken = [turns.take() for _ in range(4)]
    assert [item and item[1] for item in taken] == ["a0", "a1", "a2", None]
    turns.put(Sender(2, "guard"), "b")
    last = turns.take()
    assert last is not None
    assert last[1] == "b"


def test_when_all_places_are_taken_the_next_one_is_of_the_tenant_that_has_the_fewest() -> None:
    turns: FairTurns[str] = FairTurns(places=4, of_tenant=3)
    for number in range(10):
        turns.put(Sender(1, f"source-{number}"), f"a{number}")
        turns.put(Sender(2, f"source-{number}"), f"b{number}")
    held = [turns.take() for _ in range(4)]
    assert [item and item[1] for item in held] == ["a0", "b0", "a1", "b1"]
    turns.put(Sender(3, "guard"), "c")
    assert turns.take() is None
    assert held[0] is not None
    turns.leave(held[0][0])
    found = turns.take()
    assert found is not None
    assert found[1] == "c"


def test_items_of_one_source_never_run_side_by_side() -> None:
    turns: FairTurns[str] = FairTurns(places=3, of_tenant=3)
    for number in range(3):
        turns.put(Sender(1, "guard"), f"a{number}")
    first = turns.take()
    assert first is not None
    assert turns.take() is None
    turns.leave(first[0])
    assert run_all(turns) == ["a1", "a2"]


def test_sources_of_a_tenant_take_turns() -> None:
    turns: FairTurns[str] = FairTurns(places=1, of_tenant=1)
    for number in range(100):
        turns.put(Sender(1, "loud"), f"loud{number}")
    turns.put(Sender(1, "guard"), "panic")
    assert run_all(turns).index("panic") == 1


def test_a_tenant_must_have_a_place() -> None:
    for places, of_tenant in ((4, 0), (2, 3)):
        with pytest.raises(ValueError, match="at least one place"):
            FairTurns(places=places, of_tenant=of_tenant)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60),
    st.lists(st.integers(0, 5), max_size=200),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_whatever_comes_runs_once_within_its_limits_and_in_order(
    senders: list[tuple[int, int]], choices: list[int], of_tenant: int, more: int
) -> None:
    """Items are put, taken and left in any order.

    `choices` says what is done next, and which running item ends.
    """
    turns: FairTurns[tuple[Sender, int]] = FairTurns(places=of_tenant + more, of_tenant=of_tenant)
    to_put = [(Sender(tenant, str(source)), number) for number, (tenant, source) in enumerate(senders)]
    running: list[Sender] = []
    ran: list[tuple[Sender, int]] = []
    steps = iter(choices)
    while to_put or running or len(turns):
        choice = next(steps, 0)
        if to_put and choice % 2:
            turns.put(to_put[0][0], to_put.pop(0))
        elif (taken := turns.take()) is not None:
            sender, item = taken
            assert item[0] == sender
            assert sender not in running
            running.append(sender)
            ran.append(item)
            assert len(running) <= of_tenant + more
            assert max(Counter(one.tenant_id for one in running).values()) <= of_tenant
        elif running:
            turns.leave(running.pop(choice % len(running)))
        else:
            assert not len(turns), "something waits, nothing runs, and nothing may run"
            turns.put(to_put[0][0], to_put.pop(0))
    assert len(ran) == len(senders)
    for sender in {sender for sender, _ in ran}:
        numbers = [number for one, number in ran if one == sender]
        assert numbers == sorted(numbers)
