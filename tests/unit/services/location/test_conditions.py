"""Tests of the conditions of a guard that the alerts service gets, and of their words."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from services.contracts.events import AlertType, Condition
from services.geofencing.geometry import Geofence
from services.geofencing.rule.track import Belief, EvaluatedFix, TrackFix
from services.ingestion.effects import Effects
from services.location.conditions import (
    ConditionPlace,
    ConditionReporter,
    FindsNearest,
    GuardIdentity,
    NearestZone,
    ReportedConditions,
    StandingTransition,
    all_ends_reported,
    all_reported,
    detail_of,
    headline,
    is_prompt,
    moves_of,
    returning,
    speeding_key,
    standing_transition_of,
    transition_name,
    violation_key,
)
from tests.support.square_site import NOON, at, circle, degrees, fix, judged_fixes, walk

WHO = GuardIdentity(7, "guard-1", 5)
YARD = circle()
VAULT = circle(zone_id=2, kind="forbidden", name="Vault")
DRIVE = circle(200.0, zone_id=3, kind="speed", speed_limit_mps=5.0, name="Drive")
OUT = (60, 80, 100, 120, 140, 160, 180, 200, 220, 240)
"""Violating from 40 s on."""


NOTHING_TOLD = ReportedConditions()


def nearest(_lat: float, lon: float, _at: datetime) -> NearestZone | None:
    return NearestZone(1, 4, "Yard", lon / degrees(1.0) - 100.0)


def nowhere(_lat: float, _lon: float, _at: datetime) -> NearestZone | None:
    return None


def reporter(told: ReportedConditions, finds: FindsNearest = nearest) -> ConditionReporter:
    return ConditionReporter(WHO, told, finds, Effects())


def drawn(
    zones: Sequence[Geofence], fixes: Sequence[TrackFix], told: ReportedConditions = NOTHING_TOLD
) -> ConditionReporter:
    belief, steps = judged_fixes(zones, fixes)
    found = reporter(told)
    found.after(steps, belief, repeat_interval_s=30.0)
    return found


def spoken(conditions: Sequence[Condition]) -> list[tuple[float, str]]:
    return [((found.at - NOON).total_seconds(), found.message) for found in conditions]


def test_a_violation_is_told_at_the_fix_that_confirms_it_and_again_each_half_minute() -> None:
    found = drawn([YARD], walk(*OUT))
    assert spoken(found.effects.met) == [
        (40, "guard-1 is outside Yard by 40 m"),
        (70, "guard-1 is still outside Yard by 100 m"),
    ]
    assert (found.effects.violations_begun, found.effects.cleared) == (1, [])
    assert found.told == ReportedConditions(violation=True, repeat_at=at(70))


def test_a_condition_says_who_where_and_by_which_transition() -> None:
    fixes = walk(*OUT)
    [first, _] = drawn([YARD], fixes).effects.met
    assert (first.tenant_id, first.source_id, first.site_id) == (7, "guard-1", 5)
    assert (first.alert_type, first.dedup_key) == (AlertType.GEOFENCE_VIOLATION, "GEOFENCE_VIOLATION:guard-1")
    assert (first.lat, first.lon, len(first.key)) == (fixes[4].lat, fixes[4].lon, 16)
    began = judged_fixes([YARD], fixes)[1][4].transitions[1]
    assert began.kind == "violation_began"
    assert first.detail == {
        "accuracy_m": 8.0,
        "transition_id": str(UUID(bytes=began.id)),
        "zone_id": 1,
        "zone_version": 4,
        "zone_name": "Yard",
        "distance_m": 40.0,
        "error_radius_m": 8.0,
    }


def test_each_condition_has_a_key_of_its_own_and_the_same_every_time() -> None:
    first, again = drawn([YARD], walk(*OUT)).effects.met, drawn([YARD], walk(*OUT)).effects.met
    assert [found.key for found in first] == [found.key for found in again]
    assert first[0].key != first[1].key


def test_what_was_told_is_not_told_as_new_but_repeated() -> None:
    found = drawn([YARD], walk(*OUT), ReportedConditions(violation=True, repeat_at=at(20)))
    assert spoken(found.effects.met) == [
        (50, "guard-1 is still outside Yard by 60 m"),
        (80, "guard-1 is still outside Yard by 120 m"),
    ]
    assert found.effects.violations_begun == 0


def test_a_fix_that_is_not_believed_repeats_nothing() -> None:
    fixes = [*walk(*OUT[:6]), fix(75, 160.0, mock=True)]
    assert (
        spoken(drawn([YARD], fixes, ReportedConditions(violation=True, repeat_at=at(45))).effects.met) == []
    )


def test_who_is_back_is_told_once_and_only_if_there_was_something_to_end() -> None:
    back = walk(160, 140, 120, 100, 80)
    found = drawn([YARD], back, ReportedConditions(violation=True, repeat_at=at(0)))
    assert spoken(found.effects.cleared) == [(40, "guard-1 is inside the required zones again")]
    assert found.effects.cleared[0].dedup_key == violation_key("guard-1")
    assert (found.effects.met, found.told) == ([], ReportedConditions())
    silent = drawn([YARD], back)
    assert (silent.effects.met, silent.effects.cleared) == ([], [])


@pytest.mark.parametrize(("late_s", "told"), [(300.0, 1), (300.1, 0)])
def test_what_comes_more_than_five_minutes_late_says_nothing_about_now(late_s: float, told: int) -> None:
    _, steps = judged_fixes([YARD], walk(*OUT[:5], late_s=late_s))
    assert is_prompt(steps[-1].fix) is bool(told)
    assert len(drawn([YARD], walk(*OUT[:5], late_s=late_s)).effects.met) == told


def test_a_violation_that_began_before_this_batch_untold_is_left_to_the_timer() -> None:
    before, _ = judged_fixes([YARD], walk(*OUT[:5]))
    belief, steps = judged_fixes([YARD], walk(*OUT[5:], start_s=50), before)
    found = reporter(ReportedConditions())
    found.after(steps, belief, repeat_interval_s=30.0)
    assert (found.effects.met, found.told) == ([], ReportedConditions())
    assert not all_reported(found.told, belief)


@pytest.mark.parametrize(
    ("last_m", "words"), [(240, ["guard-1 is outside Yard by 140 m"]), (90, []), (60, [])]
)
def test_what_began_late_in_a_batch_is_told_unless_its_newest_fix_speaks_against_it(
    last_m: float, words: list[str]
) -> None:
    # Given fixes that were kept for ten minutes, and one that is received at once,
    late = walk(60, 80, 120, 140, 160, 180, late_s=600.0)
    newest = fix(90, last_m)
    found = drawn([YARD], [*late, newest])
    # then the beginning has the time of the newest.
    assert [condition.message for condition in found.effects.met] == words
    assert [condition.at for condition in found.effects.met] == [newest.recorded_at] * len(words)


def test_a_newest_fix_that_is_not_believed_tells_of_nothing_that_is_late() -> None:
    late = walk(60, 80, 120, 140, 160, 180, late_s=600.0)
    assert drawn([YARD], [*late, fix(90, 240.0, mock=True)]).effects.met == []


def test_fixes_that_the_device_kept_are_not_prompt() -> None:
    fixes = walk(*OUT)
    belief, steps = judged_fixes([YARD], fixes)
    for kept, told in (
        ({fixes[-1].key}, 0),
        ({item.key for item in fixes}, 0),
        ({fixes[4].key}, 1),
        (set(), 2),
    ):
        found = reporter(ReportedConditions())
        found.after(steps, belief, repeat_interval_s=30.0, buffered=kept)
        assert len(found.effects.met) == told, kept


def test_off_shift_nothing_begins_and_what_was_told_is_over() -> None:
    belief, steps = judged_fixes([YARD, DRIVE], walk(*OUT))
    for told, words in (
        (ReportedConditions(), []),
        (
            ReportedConditions(violation=True, repeat_at=at(20)),
            ["guard-1 is no longer on shift: the shift has ended"],
        ),
        (
            ReportedConditions(violation=True, speeding=frozenset({3})),
            ["guard-1 is no longer on shift: the shift has ended"] * 2,
        ),
    ):
        found = reporter(told)
        found.after(steps, belief, repeat_interval_s=30.0, on_shift=False)
        assert [condition.message for condition in found.effects.cleared] == words
        assert (found.effects.met, found.told) == ([], ReportedConditions())
        assert [condition.at for condition in found.effects.cleared] == [at(90)] * len(words)
        again = reporter(found.told)
        again.settled(belief, ConditionPlace(at(90), b"k", 0.0, 0.0, None), [], prompt=True, on_shift=False)
        assert (again.effects.met, again.effects.cleared) == ([], [])


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        (ReportedConditions(), True),
        (ReportedConditions(violation=True), False),
        (ReportedConditions(speeding=frozenset({3})), False),
    ],
)
def test_what_is_over_and_was_not_told_of_is_known(told: ReportedConditions, ends: bool) -> None:
    assert all_ends_reported(told, Belief()) is ends
    assert all_ends_reported(ReportedConditions(violation=True), Belief(violation=True))
    assert all_ends_reported(ReportedConditions(), Belief(violation=True))


def test_no_fixes_say_nothing() -> None:
    found = reporter(ReportedConditions())
    found.after([], Belief(violation=True), repeat_interval_s=30.0)
    assert found.effects.met == []


def test_a_forbidden_zone_is_named_and_no_required_one_is_looked_for() -> None:
    [first] = drawn([VAULT], walk(0, 0)).effects.met
    assert first.message == "guard-1 is in the forbidden zone Vault"
    assert (first.detail["zone_name"], first.detail["distance_m"]) == ("Vault", -100.0)


def test_speeding_is_a_condition_of_its_zone() -> None:
    fast, slow = (-150, -50, 50), (52, 54)
    found = drawn([DRIVE], walk(*fast))
    assert spoken(found.effects.met) == [(20, "guard-1 drives 8.4 m/s in Drive (limit 5)")]
    assert (
        found.effects.met[0].dedup_key == "GEOFENCE_VIOLATION:guard-1:speed:3" == speeding_key("guard-1", 3)
    )
    assert found.told.speeding == {3}
    over = drawn([DRIVE], walk(*fast, *slow), found.told)
    assert spoken(over.effects.cleared) == [(40, "guard-1 keeps the speed limit, or has left the zone")]
    assert over.told == ReportedConditions()
    # The condition began and ended in one batch, so it says nothing about now.
    both = drawn([DRIVE], walk(*fast, *slow))
    assert (both.effects.met, both.effects.cleared) == ([], [])


# The timer


PLACE = ConditionPlace(at(600), b"k" * 16, 0.0, degrees(150.0), 8.0)


def settled(
    belief: Belief,
    told: ReportedConditions = NOTHING_TOLD,
    standing: Sequence[StandingTransition] = (),
    finds: FindsNearest = nearest,
    *,
    prompt: bool = True,
) -> ConditionReporter:
    found = reporter(told, finds)
    found.settled(belief, PLACE, standing, prompt=prompt)
    return found


def standing(zones: Sequence[Geofence], fixes: Sequence[TrackFix], kind: str) -> StandingTransition:
    return next(
        standing_transition_of(found)
        for step in judged_fixes(zones, fixes)[1]
        for found in step.transitions
        if found.kind == kind
    )


def test_the_timer_tells_what_stands_just_after_the_newest_fix() -> None:
    began = standing([YARD], walk(*OUT), "violation_began")
    found = settled(Belief(violation=True), standing=[began])
    [told] = found.effects.met
    assert told.message == "guard-1 is outside Yard by 50 m"
    assert told.at == at(600) + timedelta(microseconds=1)
    assert told.detail["transition_id"] == transition_name(began.transition_id)
    assert found.told == ReportedConditions(violation=True, repeat_at=told.at)


def test_the_timer_tells_the_end_of_what_was_told_and_of_nothing_else() -> None:
    assert [
        f.message
        for f in settled(
            Belief(), ReportedConditions(violation=True, speeding=frozenset({3}))
        ).effects.cleared
    ] == [
        "guard-1 is inside the required zones again",
        "guard-1 keeps the speed limit, or has left the zone",
    ]
    quiet = settled(Belief())
    assert (quiet.effects.met, quiet.effects.cleared) == ([], [])
    known = settled(Belief(violation=True), ReportedConditions(violation=True, repeat_at=at(0)))
    assert (known.effects.met, known.effects.cleared) == ([], [])


@pytest.mark.parametrize("prompt", [True, False])
def test_what_late_fixes_show_raises_nothing_where_nothing_is_known_of_now(prompt: bool) -> None:
    began = standing([YARD], walk(*OUT), "violation_began")
    assert len(settled(Belief(violation=True), standing=[began], prompt=prompt).effects.met) == prompt
    drives, _ = judged_fixes([DRIVE], walk(-150, -50, 50))
    began = standing([DRIVE], walk(-150, -50, 50), "speeding_began")
    assert len(settled(drives, standing=[began], prompt=prompt).effects.met) == prompt
    # A condition that is over stays over, whenever Vigil learns of it.
    assert len(settled(Belief(), ReportedConditions(violation=True), prompt=prompt).effects.cleared) == 1


@pytest.mark.parametrize(("zone", "away", "back"), [(YARD, OUT[:6], 0), (VAULT, (0, 0, 0), 180)])
def test_the_timer_raises_nothing_where_the_newest_fix_speaks_against_it(
    zone: Geofence, away: Sequence[float], back: float
) -> None:
    gone, _ = judged_fixes([zone], walk(*away))
    assert (gone.violation, returning(gone)) == (True, False)
    coming, _ = judged_fixes([zone], walk(*away, back))
    assert (coming.violation, returning(coming)) == (True, True)
    began = standing([zone], walk(*away), "violation_began")
    assert len(settled(gone, standing=[began]).effects.met) == 1
    assert settled(coming, standing=[began]).effects.met == []


def test_the_timer_tells_of_speeding_that_only_late_fixes_show() -> None:
    belief, _ = judged_fixes([DRIVE], walk(-150, -50, 50))
    found = settled(belief, standing=[standing([DRIVE], walk(-150, -50, 50), "speeding_began")])
    assert [condition.message for condition in found.effects.met] == [
        "guard-1 drives 8.4 m/s in Drive (limit 5)"
    ]
    assert all_reported(found.told, belief)


# Words


def test_with_no_zone_to_name_the_words_are_general() -> None:
    assert headline(None) == "is outside all required zones"
    assert settled(Belief(violation=True), finds=nowhere).effects.met[0].detail == {"accuracy_m": 8.0}
    assert headline(None, NearestZone(1, 1, "Yard", -3.0)) == "is outside Yard by 0 m"


def test_the_nearest_zone_now_goes_before_the_one_that_was_judged_by() -> None:
    began = standing([YARD], walk(*OUT), "violation_began")
    detail = detail_of(began, NearestZone(9, 2, "Dock", 12.345))
    assert (detail["zone_id"], detail["zone_version"], detail["zone_name"]) == (9, 2, "Dock")
    assert (detail["distance_m"], detail["error_radius_m"]) == (12.3, 8.0)


def test_a_transition_is_written_as_a_uuid() -> None:
    identity = bytes(range(16))
    assert transition_name(identity) == str(UUID(bytes=identity))


def test_entries_and_exits_are_events_with_the_version_they_were_judged_by() -> None:
    steps: list[EvaluatedFix] = judged_fixes([circle(version=3)], walk(*OUT))[1]
    moves = moves_of(WHO, steps)
    assert sorted(moves) == ["zone_entered", "zone_exited"]
    [entered], [exited] = moves["zone_entered"], moves["zone_exited"]
    assert (entered.zone_id, entered.zone_version, entered.zone_name) == (1, 3, "Yard")
    assert (entered.at, entered.confirmed_at) == (at(0), at(10))
    assert (exited.tenant_id, exited.guard_id, exited.site_id) == (7, "guard-1", 5)
    assert (exited.at, exited.confirmed_at, exited.lon) == (at(30), at(40), steps[4].fix.lon)
    assert exited.transition_id == transition_name(steps[4].transitions[0].id)
