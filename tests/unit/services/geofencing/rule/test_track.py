"""Tests of a guard's whole track, fix by fix, as a control room would describe it."""

from datetime import timedelta

import msgspec
import pytest

from services.contracts.zone_parameters import Confirmation
from services.geofencing.rule.track import Belief, TrackFix, ZoneSubject
from services.geofencing.schedule import parse
from tests.support.square_site import GUARD, at, circle, fix, judge, judged_fixes, transition_rows, walk

YARD = circle()
OUT = walk(60, 80, 100, 120, 140, 160)
"""Inside by 40 and 20 m, on the edge, outside by 20, 40, 60 m. Each fix is good to 8 m."""


def test_a_guard_who_walks_out_is_inside_with_the_second_fix_and_outside_with_the_fifth() -> None:
    belief, steps = judged_fixes([YARD], OUT)
    assert transition_rows(steps) == [
        ("entered", 1, 0, 10),
        ("exited", 1, 30, 40),
        ("violation_began", 1, 30, 40),
    ]
    assert [step.violation for step in steps] == [False] * 4 + [True] * 2
    assert [step.in_geofence for step in steps] == [True] * 4 + [False] * 2
    assert belief.violation


def test_a_guard_who_comes_back_is_back_with_the_second_fix_inside() -> None:
    belief, steps = judged_fixes([YARD], walk(160, 140, 120, 100, 80, 60))
    assert transition_rows(steps) == [
        ("violation_began", None, 0, 10),
        ("entered", 1, 30, 40),
        ("violation_ended", 1, 30, 40),
    ]
    assert not belief.violation


def test_one_fix_outside_alarms_nobody() -> None:
    _, steps = judged_fixes([YARD], walk(90, 90, 130, 90, 90))
    assert transition_rows(steps) == [("entered", 1, 0, 10)]


def test_a_phone_that_claims_too_much_is_known_by_its_scatter() -> None:
    # The guard crosses the edge to and fro by 30 m, and each fix claims 1 m. With a claim of 8 m,
    # it would be outside.
    swings = [60, 60, 60, 60, *(130, 90) * 6]
    _, steps = judged_fixes([YARD], walk(*swings, accuracy=1.0))
    assert transition_rows(steps) == [("entered", 1, 0, 10)]
    assert steps[0].error_radius_m == 8.0
    assert max(step.error_radius_m for step in steps) > 20


def test_a_fix_that_is_not_believed_takes_over_the_flags_before_it_and_changes_nothing() -> None:
    leap = fix(45, 9000.0)
    belief, steps = judged_fixes([YARD], sorted([*OUT, leap], key=lambda one: one.recorded_at))
    without, _ = judged_fixes([YARD], OUT)
    assert (steps[5].implausible, steps[5].violation, steps[5].in_geofence) == ("teleport", True, False)
    assert steps[5].transitions == ()
    assert (belief.zones, belief.within, belief.violation) == (
        without.zones,
        without.within,
        without.violation,
    )
    _, first = judged_fixes([YARD], [fix(0, 0, mock=True)])
    assert (first[0].implausible, first[0].violation, first[0].in_geofence) == ("mock", False, False)


def test_teleports_that_come_true_are_where_the_guard_is() -> None:
    away = [fix(10 * n, 9000.0) for n in range(2, 8)]
    _, steps = judged_fixes([YARD], [*walk(0, 0), *away])
    assert [step.implausible for step in steps] == [None, None, *["teleport"] * 3, None, None, None]
    assert transition_rows(steps) == [
        ("entered", 1, 0, 10),
        ("exited", 1, 50, 60),
        ("violation_began", None, 50, 60),
    ]


@pytest.mark.parametrize("cut", range(len(OUT) + 1))
def test_wherever_a_track_is_cut_the_two_parts_come_to_the_same(cut: int) -> None:
    whole, steps = judged_fixes([YARD], OUT)
    before, first = judged_fixes([YARD], OUT[:cut])
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=Belief)
    assert packed == before
    after, second = judged_fixes([YARD], OUT[cut:], packed)
    assert (after, first + second) == (whole, steps)


def test_the_callers_belief_stays_as_it_was() -> None:
    before, _ = judged_fixes([YARD], OUT[:2])
    kept = msgspec.msgpack.encode(before)
    judged_fixes([YARD], OUT[2:], before)
    assert msgspec.msgpack.encode(before) == kept


@pytest.mark.parametrize("again", [OUT[1], OUT[0]], ids=["the last once more", "an older one"])
def test_a_fix_that_is_not_after_the_last_one_is_no_matter_of_going_on(again: TrackFix) -> None:
    before, _ = judged_fixes([YARD], OUT[:2])
    with pytest.raises(ValueError, match="judge the track again from a checkpoint before it"):
        judged_fixes([YARD], [again], before)


def test_guards_of_a_batch_do_not_touch_each_other() -> None:
    inside, other = walk(*[0] * 6), ZoneSubject("guard-2")
    both = judge(YARD).judge_many([(GUARD, None, OUT), (other, None, inside), (other, None, [])])
    assert both == [
        judged_fixes([YARD], OUT),
        judged_fixes([YARD], inside, guard=other),
        (Belief(), []),
    ]


def test_zones_are_those_of_the_earlier_of_both_times() -> None:
    old, new = circle(version=1, in_force_to=at(25)), circle(10.0, version=2, in_force_from=at(25))
    # Fixes were recorded at 0 to 50 s, and the edit came at 25 s. Stored at once or two hours late,
    # the result is the same.
    prompt, _ = judged_fixes([old, new], walk(*[60] * 6))
    late, steps = judged_fixes([old, new], walk(*[60] * 6, late_s=7200))
    assert prompt == late
    assert transition_rows(steps) == [
        ("entered", 1, 0, 10),
        ("exited", 1, 30, 40),
        ("violation_began", None, 30, 40),
    ]
    assert steps[4].transitions[0].zone_version == 2
    # By a clock that is an hour fast they were recorded after the edit, but they were received
    # before it.
    ahead = [
        msgspec.structs.replace(one, recorded_at=one.recorded_at + timedelta(hours=1)) for one in walk(60, 60)
    ]
    _, steps = judged_fixes([old, new], ahead)
    assert [(found.kind, found.zone_version) for step in steps for found in step.transitions] == [
        ("entered", 1)
    ]


def test_a_zone_that_is_taken_away_is_left_at_the_next_fix() -> None:
    gone = circle(in_force_to=at(15))
    _, steps = judged_fixes([gone, circle(5000.0, zone_id=2)], walk(0, 0, 0))
    assert transition_rows(steps) == [("entered", 1, 0, 10), ("entered", 2, 0, 10), ("exited", 1, 20, 20)]
    assert steps[2].transitions[0].evidence.rule == "no_longer_applies"


def test_zones_of_others_are_nobodys_business() -> None:
    theirs = circle(guard_id="guard-2")
    assert transition_rows(judged_fixes([theirs], walk(500, 500, 500))[1]) == []
    assert transition_rows(judged_fixes([theirs], walk(500, 500, 500), guard=ZoneSubject("guard-2"))[1]) == [
        ("violation_began", None, 0, 10)
    ]


def test_a_guard_may_be_in_any_of_the_required_zones() -> None:
    two = [YARD, circle(zone_id=2, east_m=250.0)]
    belief, steps = judged_fixes(two, walk(0, 40, 80, 120, 160, 200, 240))
    assert transition_rows(steps) == [("entered", 1, 0, 10), ("exited", 1, 30, 40), ("entered", 2, 40, 50)]
    assert not belief.violation


def test_a_grace_keeps_a_short_walk_out_from_being_an_exit() -> None:
    patient = circle(exit=Confirmation(2, 90.0, 60.0))
    short = walk(60, 80, 100, 120, 140, 140, 120, 100, 80)
    assert [kind for kind, *_ in transition_rows(judged_fixes([patient], short)[1])] == ["entered"]
    # The alert for a guard who stays out comes at the first fix a minute after the first that was
    # surely outside.
    long = walk(60, 80, 100, 120, *[140] * 8)
    assert ("violation_began", 1, 30, 90) in transition_rows(judged_fixes([patient], long)[1])


def test_a_drive_too_fast_through_a_speed_zone() -> None:
    drive = circle(200.0, zone_id=3, kind="speed", speed_limit_mps=5.0, name="Drive")
    _, steps = judged_fixes([drive], walk(-150, -50, 50, 150, 250, 350))
    assert transition_rows(steps) == [
        ("entered", 3, 0, 10),
        ("speeding_began", 3, 10, 20),
        ("exited", 3, 40, 50),
        ("speeding_ended", 3, 50, 50),
    ]
    assert steps[2].transitions[0].evidence.fixes[0].speed_mps == 8.4
    # A guard who is there already, slowly, and then drives on is noticed no less.
    _, steps = judged_fixes([drive], walk(-150, -145, -140, -60, 20, 100))
    assert ("speeding_began", 3, 30, 40) in transition_rows(steps)


@pytest.mark.parametrize("claimed", [18.0, 40.0, 60.0, 1e9])
def test_a_speed_in_another_unit_leaves_the_place_and_is_no_speeding(claimed: float) -> None:
    drive = circle(200.0, zone_id=3, kind="speed", speed_limit_mps=5.0, name="Drive")
    on_foot = [fix(moment, 1.4 * moment, speed=claimed) for moment in range(0, 60, 10)]
    _, steps = judged_fixes([drive], on_foot)
    assert transition_rows(steps) == [("entered", 3, 0, 10)]
    assert [step.implausible for step in steps] == [None] * 6
    assert [step.speed_doubted for step in steps] == [claimed > 45.0, *[True] * 5]


def test_a_speed_that_is_doubted_hides_no_true_speeding() -> None:
    drive = circle(200.0, zone_id=3, kind="speed", speed_limit_mps=5.0, name="Drive")
    fixes = [fix(10.0 * n, east_m, speed=80.0) for n, east_m in enumerate((-150, -50, 50, 150))]
    _, steps = judged_fixes([drive], fixes)
    assert ("speeding_began", 3, 10, 20) in transition_rows(steps)
    assert steps[2].transitions[0].evidence.fixes[0].speed_mps == 8.4


def test_a_zone_out_of_its_hours_holds_nobody() -> None:
    at_night = parse({"weekly": [{"days": ["mon"], "from": "22:00", "to": "23:00"}]})
    belief, steps = judged_fixes([circle(schedule=at_night)], walk(0, 0, 0))
    assert transition_rows(steps) == [("entered", 1, 0, 10)]
    assert [step.in_geofence for step in steps] == [False] * 3
    assert belief.zones[1].inside


def test_two_minutes_of_fixes_are_remembered_and_eight_at_the_most() -> None:
    def remembered(*seconds: float) -> list[float]:
        belief, _ = judged_fixes([YARD], [fix(moment, 0.0) for moment in seconds])
        return [(seen.at_us - round(at(0).timestamp() * 1e6)) / 1e6 for seen in belief.memory]

    assert remembered(*range(0, 100, 10)) == [20, 30, 40, 50, 60, 70, 80, 90]
    assert remembered(0, 60, 120) == [0, 60, 120]
    assert remembered(0, 60, 121) == [60, 121]
    assert remembered(0, 500) == [500]
