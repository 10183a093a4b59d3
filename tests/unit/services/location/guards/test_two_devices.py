"""Tests of two phones of one guard, three kilometres apart.

Receivers that jump now and then are covered too.
"""

import pytest

from services.contracts.events import AlertType, Condition
from services.geofencing.rule.track import EvaluatedFix
from services.location.guards.two_devices import QUIET, RememberedJumps, conclude
from tests.support.square_site import circle, fix, judged_fixes

FAR_M = 3_300.0


def turns(pattern: str, *, every_s: float = 5.0) -> list[EvaluatedFix]:
    """Return the steps of one fix for each letter: `a` at the gate, `b` far away."""
    fixes = [fix(every_s * n, FAR_M if letter == "b" else 0.0) for n, letter in enumerate(pattern)]
    return judged_fixes([circle()], fixes)[1]


def concluded(
    steps: list[EvaluatedFix], before: RememberedJumps = QUIET
) -> tuple[RememberedJumps, Condition | None]:
    return conclude(steps, before, guard_id="guard-1", tenant_id=7, site_id=5)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("ab" * 12, True),
        ("ab" * 5, False),
        ("aab" * 12, True),
        ("aaab" * 30, True),
        # One jump in five fixes, or fewer jumps, are errors of the receiver.
        ("aaaaab" * 20, False),
        ("a" * 50, False),
        ("abbb", False),
    ],
)
def test_positions_that_jump_to_and_fro_are_told_of(pattern: str, told: bool) -> None:
    jumping, condition = concluded(turns(pattern))
    assert jumping.told is told
    assert (condition is not None) is told


def test_the_condition_says_what_to_do() -> None:
    _, found = concluded(turns("ab" * 12))
    assert found is not None
    assert found.alert_type is AlertType.EQUIPMENT_FAILURE
    assert found.dedup_key == "EQUIPMENT_FAILURE:guard-1:two_devices"
    assert "two places in turn, 3.3 km apart" in found.message
    assert (found.tenant_id, found.source_id, found.site_id) == (7, "guard-1", 5)
    assert found.detail["distance_m"] == 3_300.0


def test_one_batch_or_many_come_to_the_same() -> None:
    steps = turns("ab" * 12)
    jumping, conditions = QUIET, []
    for step in steps:
        jumping, condition = concluded([step], jumping)
        conditions += [condition] if condition else []
    assert (jumping, conditions) == (concluded(steps)[0], [concluded(steps)[1]])


def test_a_guard_who_moved_for_good_is_no_second_device() -> None:
    assert concluded(turns("a" * 10 + "b" * 60))[0] == QUIET


def test_forty_believed_fixes_in_a_row_end_it() -> None:
    steps = turns("ab" * 12 + "a" * 40)
    told, _ = concluded(steps[:24])
    between, nothing = concluded(steps[24:40], told)
    assert (between.told, nothing) == (True, None)
    ended, condition = concluded(steps[40:], between)
    assert ended == QUIET
    assert condition is not None
    assert condition.message == "guard-1 is reported from one place again"


def test_what_is_neither_believed_nor_a_jump_changes_nothing() -> None:
    _, steps = judged_fixes([circle()], [fix(n, 0.0, mock=True) for n in range(9)])
    assert concluded(steps, RememberedJumps(3.0, False)) == (RememberedJumps(3.0, False), None)
