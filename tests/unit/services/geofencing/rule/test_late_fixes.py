"""Tests of the repair of a record after late fixes.

Wrong transitions are withdrawn, and missed ones are found.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from services.geofencing.geometry import Geofence
from services.geofencing.rule.late_fixes import (
    BEGINNING,
    END,
    Checkpoint,
    FixOnRecord,
    ImplausibleRecord,
    LateFixRepair,
    RecordChanges,
    TransitionOnRecord,
    implausible_of,
    period_of,
    position_of,
    repair,
)
from services.geofencing.rule.track import Belief, EvaluatedFix, TrackFix
from tests.support.square_site import GUARD, at, circle, fix, judge, judged_fixes, key, transition_rows, walk

YARD = circle()
OUT = walk(60, 80, 100, 120, 140)
"""Surely outside at 30 and 40 s: exited and violating with the second of them."""
BACK = fix(35, 90.0)
"""A fix between those two that is inside."""
STANDS = [*walk(0, 0), *walk(0, 0, start_s=900), *walk(0, 0, start_s=1800)]


class Record(NamedTuple):
    recorded: list[FixOnRecord]
    checkpoints: list[Checkpoint]
    transitions: list[TransitionOnRecord]


def record(fixes: Sequence[TrackFix], zones: Iterable[Geofence] = (YARD,)) -> Record:
    """Return the record of fixes in their order, with a checkpoint at the first fix of each period."""
    found, periods = Record([], [], []), set()
    belief: Belief | None = None
    for one in fixes:
        belief, [step] = judged_fixes(zones, [one], belief)
        found.recorded.append(FixOnRecord(one, (step.in_geofence, step.violation), implausible_of(step)))
        found.transitions.extend(
            TransitionOnRecord(t.id, False, position_of(one), t.zone_version, t.evidence)
            for t in step.transitions
        )
        if period_of(one.recorded_at) not in periods:
            periods.add(period_of(one.recorded_at))
            found.checkpoints.append(Checkpoint(position_of(one), belief))
    return found


def mended(before: Record, *late: TrackFix) -> tuple[Belief | None, RecordChanges]:
    return repair(judge(YARD), GUARD, late, *before)


def seconds_of(steps: Iterable[EvaluatedFix]) -> list[float]:
    return [(step.fix.recorded_at - at(0)).total_seconds() for step in steps]


def test_a_violation_that_was_none_is_taken_back() -> None:
    before = record(OUT)
    assert [one.verdict for one in before.recorded][-1] == (False, True)
    belief, changes = mended(before, BACK)
    # The exit and the violation are withdrawn, and the entry stays.
    assert changes.superseded == [found.id for found in before.transitions[1:]]
    assert changes.transitions == []
    assert seconds_of(changes.steps) == [35, 40]
    assert [(step.in_geofence, step.violation) for step in changes.steps] == [(True, False)] * 2
    assert belief == judged_fixes([YARD], [*OUT[:4], BACK, OUT[4]])[0]


def test_a_violation_that_only_late_fixes_show_is_found_with_its_confirming_fix() -> None:
    late = walk(120, 140, start_s=30)
    belief, changes = mended(record([*walk(60, 80, 100), fix(200, 60.0)]), *late)
    kinds = [(transition.kind, confirming) for transition, confirming in changes.transitions]
    assert kinds == [("exited", key(40)), ("violation_began", key(40))]
    assert changes.superseded == []
    # One fix inside, long after, does not bring them back yet.
    assert seconds_of(changes.steps) == [30, 40, 200]
    assert belief is not None
    assert belief.violation


def test_an_entry_that_is_known_sooner_takes_the_place_of_the_old_one() -> None:
    before = record(walk(60, 80, 100))
    _, changes = mended(before, fix(5, 70.0))
    assert changes.superseded == [before.transitions[0].id]
    assert [(t.kind, t.at, t.confirmed_at) for t, _ in changes.transitions] == [("entered", at(0), at(5))]


def test_where_the_same_is_believed_as_before_nothing_after_it_is_looked_at() -> None:
    before = record(STANDS)
    # If the third period were read, this would show.
    wrong = before.recorded[-1]._replace(verdict=(False, True))
    belief, changes = mended(before._replace(recorded=[*before.recorded[:-1], wrong]), fix(20, 3.0))
    assert belief is None
    assert seconds_of(changes.steps) == [20]
    assert (changes.transitions, changes.superseded, changes.checkpoints) == ([], [], [])


def test_a_checkpoint_at_which_something_else_is_believed_is_written_anew() -> None:
    before = record([*walk(0, 0), *walk(0, 0, start_s=900)])
    belief, changes = mended(before, fix(899, 0.0))
    [anew] = changes.checkpoints
    assert anew.position == position_of(before.recorded[2].fix)
    # The fix of one second before is now remembered.
    assert len(anew.belief.memory) == len(before.checkpoints[1].belief.memory) + 1
    assert belief is not None
    assert (
        belief
        == judged_fixes(
            [YARD], sorted([*walk(0, 0), fix(899, 0.0), *walk(0, 0, start_s=900)], key=position_of)
        )[0]
    )


def test_a_period_that_had_no_fix_gets_its_checkpoint() -> None:
    _, changes = mended(record([*walk(0, 0), *walk(0, 0, start_s=1800)]), fix(950, 0.0))
    assert [found.position for found in changes.checkpoints] == [(at(950), key(950))]


def test_a_fix_before_all_others_is_judged_from_nothing() -> None:
    before = record(walk(60, 80, 100, start_s=20))
    mending = LateFixRepair(judge(YARD), GUARD, None, [fix(0, 40.0)])
    assert mending.after == BEGINNING
    assert mending.go_on(*before) is True
    assert [t.kind for t, _ in mending.changes.transitions] == ["entered"]
    assert mending.changes.superseded == [before.transitions[0].id]


def test_piece_by_piece_comes_to_the_same_as_all_at_once() -> None:
    before = record([*OUT, *walk(160, 160, start_s=900), *walk(160, 160, start_s=1800)])
    belief, changes = mended(before, BACK)
    mending = LateFixRepair(judge(YARD), GUARD, before.checkpoints[0], [BACK])
    cuts = [position_of(BACK), position_of(OUT[-1]), END]
    ended = []
    for until in cuts:
        after = mending.after
        ended.append(
            mending.go_on(
                [one for one in before.recorded if after < one.position <= until],
                [one for one in before.checkpoints if after < one.position <= until],
                [one for one in before.transitions if after < one.position <= until],
                until=until,
            )
        )
    assert ended == [False, False, True]
    # At 900 s the guard is outside again, as before: nothing of 1,800 s is judged.
    assert (mending.belief, belief) == (None, None)
    assert mending.through == (at(900), key(900))
    assert mending.changes.steps == changes.steps
    assert sorted(mending.changes.superseded) == sorted(changes.superseded)
    assert {t.id for t, _ in mending.changes.transitions} == {t.id for t, _ in changes.transitions}


@pytest.mark.parametrize(
    "changed", [{"superseded": True}, {"zone_version": 9}], ids=["superseded once", "of another version"]
)
def test_a_transition_that_holds_is_put_on_record_as_it_is_now(changed: dict[str, Any]) -> None:
    before = record(OUT)
    exited = before.transitions[1]._replace(**changed)
    altered = before._replace(transitions=[before.transitions[0], exited, before.transitions[2]])
    _, changes = mended(altered, fix(1, 62.0, mock=True))
    assert [transition.id for transition, _ in changes.transitions] == [exited.id]
    assert changes.superseded == []


def test_a_late_fix_that_is_not_believed_is_on_record_and_changes_nothing_else() -> None:
    before = record(OUT)
    belief, changes = mended(before, fix(35, 60.0, mock=True))
    [step] = changes.steps
    assert (step.implausible, step.in_geofence, step.violation) == ("mock", True, False)
    assert (changes.transitions, changes.superseded) == ([], [])
    assert belief == judged_fixes([YARD], OUT)[0]


def test_a_fix_that_is_a_teleport_only_by_what_came_late_is_marked_so() -> None:
    before = record([fix(0, 0.0), fix(100, 2000.0)])
    _, changes = mended(before, fix(95, 0.0))
    [_, marked] = changes.steps
    assert marked.implausible == "teleport"
    found = implausible_of(marked)
    assert found is not None
    assert found.detail["seconds"] == 5.0


def test_places_in_a_track_are_by_time_and_then_by_key() -> None:
    first, second = fix(0, 0.0), msgspec.structs.replace(fix(0, 0.0), key=b"\xff" * 16)
    assert BEGINNING < position_of(first) < position_of(second) < position_of(fix(0.001, 0.0)) < END


@pytest.mark.parametrize(("seconds", "period"), [(0, 0), (899.999, 0), (900, 1), (-0.001, -1)])
def test_a_period_is_a_quarter_of_an_hour(seconds: float, period: int) -> None:
    assert period_of(at(seconds)) - period_of(at(0)) == period


def test_what_was_believed_needs_no_reason() -> None:
    _, steps = judged_fixes([YARD], [*walk(0, 0), fix(20, 0.0, mock=True)])
    assert implausible_of(steps[0]) is None
    assert implausible_of(steps[2]) == ImplausibleRecord("mock", {})
    assert transition_rows(steps) == [("entered", 1, 0, 10)]


def dense(count: int) -> Record:
    """Return the record of a guard who stands, with ten fixes a second.

    They are judged in batches of 100 with checkpoints in between.
    """
    fixes = [fix(number / 10, 0.0) for number in range(count)]
    found = Record([], [], [])
    belief: Belief | None = None
    for start in range(0, count, 100):
        belief, steps = judged_fixes((YARD,), fixes[start : start + 100], belief)
        found.recorded.extend(FixOnRecord(step.fix, (step.in_geofence, step.violation)) for step in steps)
        found.checkpoints.append(Checkpoint(position_of(steps[-1].fix), belief))
    return found


def looked_at(before: Record, *late: TrackFix) -> int:
    """Return the number of stored fixes that a repair reads, requested as the store reads them."""
    first = min(map(position_of, late))
    start = max((c for c in before.checkpoints if c.position < first), key=lambda c: c.position, default=None)
    after = BEGINNING if start is None else start.position
    ahead = [c for c in before.checkpoints if c.position > after]
    mending, count = LateFixRepair(judge(YARD), GUARD, start, late, ahead), 0
    while True:
        since, until = mending.after, mending.read_until()
        piece = [item for item in before.recorded if since < item.position <= until]
        count += len(piece)
        checkpoints = [c for c in ahead if since < c.position <= until]
        if mending.go_on(piece, checkpoints, [], until=until):
            return count


def test_one_late_fix_in_a_dense_track_costs_no_more_than_the_fixes_between_checkpoints() -> None:
    assert looked_at(dense(4_000), fix(200.05, 0.0)) <= 200


def test_late_fixes_far_apart_cost_their_own_places_and_not_what_lies_between() -> None:
    before = dense(6_000)
    assert looked_at(before, fix(10.05, 0.0), fix(300.05, 0.0), fix(580.05, 0.0)) <= 3_000
    assert looked_at(before, fix(10.05, 0.0), fix(580.05, 0.0)) <= 400


def test_a_dense_record_without_checkpoints_gets_them_with_its_first_repair() -> None:
    before = dense(2_000)
    _, changes = mended(Record(before.recorded, before.checkpoints[:1], []), fix(12.05, 0.0))
    assert len(changes.checkpoints) >= 6
