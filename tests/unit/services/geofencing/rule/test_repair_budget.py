"""Tests that repairs of one guard's track take a bounded share of the time.

This holds for any number of late fixes.
"""

from hypothesis import given
from hypothesis import strategies as st

from services.geofencing.rule.repair_budget import (
    BUDGET_S,
    LONGEST_HOLD_S,
    SHARE,
    WHILE_REPAIRED_S,
    CheckpointCounter,
    RepairShare,
)


def test_repairs_within_the_budget_hold_nobody() -> None:
    share = RepairShare()
    share.begin("guard-1", 10.0)
    assert share.is_held("guard-1", 10.0)
    share.end("guard-1", 10.01, took_s=BUDGET_S / 2)
    assert not share
    share.end("guard-1", 10.02, took_s=BUDGET_S / 2)
    assert not share.is_held("guard-1", 10.02)


def test_a_guard_is_held_by_what_its_repairs_took_over_the_budget_and_no_other_is() -> None:
    share = RepairShare()
    share.end("guard-1", 10.0, took_s=BUDGET_S + 0.5)
    assert share.is_held("guard-1", 14.9)
    assert not share.is_held("guard-2", 10.0)
    assert not share.is_held("guard-1", 15.1)
    assert not share
    # The budget is spent, and comes back at the rate at which it may be spent.
    share.end("guard-1", 15.1, took_s=0.1)
    assert share.is_held("guard-1", 15.9)
    share.end("guard-1", 15.1 + 20 * BUDGET_S / SHARE, took_s=BUDGET_S)
    assert not share
    share.end("guard-1", 200.0, took_s=60)
    assert share.is_held("guard-1", 199.9 + LONGEST_HOLD_S)
    assert not share.is_held("guard-1", 200.1 + LONGEST_HOLD_S)


def test_a_repair_that_never_ended_holds_no_guard_for_ever() -> None:
    share = RepairShare()
    share.begin("guard-1", 10.0)
    assert not share.is_held("guard-1", 10.1 + WHILE_REPAIRED_S)


def test_guards_who_had_no_repair_for_long_are_forgotten() -> None:
    share = RepairShare()
    for number in range(1000):
        share.end(f"guard-{number}", float(number), took_s=0.1)
    assert len(share._spent) < 10


@given(st.lists(st.floats(0.001, 0.9), min_size=5, max_size=60), st.floats(0.001, 0.2))
def test_direct_repairs_take_no_more_than_their_share(took: list[float], gap_s: float) -> None:
    # Given a guard whose late fixes come again and again
    share, now_s, busy_s, last_s = RepairShare(), 100.0, 0.0, 0.0

    # When each fix that is not held is repaired
    for took_s in took:
        while share.is_held("guard-1", now_s):
            now_s += gap_s
        share.begin("guard-1", now_s)
        now_s += took_s
        share.end("guard-1", now_s, took_s=took_s)
        busy_s += took_s
        last_s = took_s

    # Then the repairs and the last one's hold took no more than the budget and their share
    assert busy_s - last_s <= BUDGET_S + (now_s - 100.0) * SHARE + 0.001 * len(took)


def test_a_checkpoint_is_due_before_too_many_fixes_since_the_last_one() -> None:
    density = CheckpointCounter(most=250)
    due = [density.is_due("guard-1", 50) for _ in range(12)]
    assert [number for number, is_due in enumerate(due) if is_due] == [5, 10]
    assert not density.is_due("guard-2", 1000)
    assert density.is_due("guard-2", 1)
