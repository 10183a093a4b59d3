"""Tests of the effect of an edit of zones on one track: gained, lost and shifted transitions."""

from datetime import UTC, datetime, timedelta

import pytest
from shapely.geometry import Point

from services.contracts.zone_parameters import Confirmation
from services.geofencing.geometry import Geofence, ZoneIndex
from services.geofencing.rule import what_if as trial_module
from services.geofencing.rule.track import Judge, TrackFix, ZoneSubject
from services.geofencing.rule.what_if import GuardChanges, GuardTrial, as_if_always, edited_zones
from services.platform import config

SINCE = datetime(2026, 3, 2, 8, tzinfo=UTC)
LAT, LON = 12.9716, 77.5946
METRE = 1 / 111_195
SETTINGS = config.load(environ={}).location
OFTEN = Confirmation(2, 90.0)


def circle(zone_id: int = 1, radius_m: float = 200, *, north_m: float = 0, **changes: object) -> Geofence:
    fields = {"kind": "required", "name": f"Yard {zone_id}", "time_zone": "Asia/Kolkata", **changes}
    return Geofence(
        zone_id=zone_id,
        area=Point(LON, LAT + north_m * METRE),
        radius_m=radius_m,
        enter=OFTEN,
        exit=OFTEN,
        **fields,
    )  # type: ignore[arg-type]


def fix(metres: float, nth: int) -> TrackFix:
    at = SINCE + timedelta(seconds=10 * nth)
    return TrackFix(nth.to_bytes(16, "big", signed=True), at, at, LAT + metres * METRE, LON, 8.0)


def walk(*metres: float, first: int = 0) -> list[TrackFix]:
    """Return a fix each ten seconds, at these metres north of the middle."""
    return [fix(north, nth) for nth, north in enumerate(metres, first)]


def tried(today: list[Geofence], edited: list[Geofence], *pieces: list[TrackFix]) -> GuardChanges:
    sides = [
        (Judge(ZoneIndex(zones), SETTINGS), {zone.zone_id: zone for zone in zones})
        for zones in (today, edited)
    ]
    trial = GuardTrial(ZoneSubject("guard-7"), sides[0], sides[1], since=SINCE)
    for piece in pieces:
        trial.take(piece)
    return trial.difference()


def kinds(moments: list[trial_module.OneSidedTransition]) -> list[str]:
    return [moment.kind for moment in moments]


OUT = [*[0] * 12, *range(0, 325, 25), *[300] * 20]
ROUND = [*OUT, *range(300, -25, -25), *[0] * 12]
OUT_AND_BACK = walk(*ROUND)


def test_the_same_zones_make_no_difference() -> None:
    found = tried([circle()], [circle()], OUT_AND_BACK)
    assert not found.differs
    assert found.fixes == len(OUT_AND_BACK)
    assert found.violations_today == found.violations_edited
    assert found.violations_today.count == 1
    assert 200 <= found.violations_today.seconds <= 300


def test_a_larger_zone_takes_an_exit_and_its_violation_away_and_says_which_they_were() -> None:
    found = tried([circle()], [circle(radius_m=400, version=2)], OUT_AND_BACK)
    assert sorted(kinds(found.lost)) == ["entered", "exited", "violation_began", "violation_ended"]
    assert (found.gained, found.shifted) == ([], [])
    assert (found.violations_today.count, found.violations_edited.count) == (1, 0)
    exit_of = next(moment for moment in found.lost if moment.kind == "exited")
    assert "guard-7 left Yard 1 (version 1) at 2026-03-02 13:3" in exit_of.why, "by the clock of the site"


def test_a_new_forbidden_zone_gains_violations_that_name_it() -> None:
    forbidden = circle(-1, 60, kind="forbidden", north_m=300)
    found = tried([circle(radius_m=900)], [circle(radius_m=900), forbidden], OUT_AND_BACK)
    assert sorted(kinds(found.gained)) == ["entered", "exited", "violation_began", "violation_ended"]
    assert {moment.zone for moment in found.gained} == {"Yard -1"}
    assert found.lost == []
    assert "forbidden zone Yard -1" in next(m.why for m in found.gained if m.kind == "violation_began")


def test_an_edge_moved_a_little_shifts_a_transition_and_makes_no_other() -> None:
    found = tried([circle(radius_m=150)], [circle(radius_m=200, version=2)], walk(*OUT))
    assert (found.gained, found.lost) == ([], [])
    assert [pair.kind for pair in found.shifted] == ["exited", "violation_began"]
    assert {(pair.at_edited - pair.at_today).total_seconds() for pair in found.shifted} == {20.0}


def test_one_that_comes_much_later_is_another() -> None:
    track = walk(*range(0, 4000, 25))
    found = tried([circle(radius_m=150)], [circle(radius_m=3000, version=2)], track)
    assert kinds(found.lost) == kinds(found.gained) == ["exited", "violation_began"]
    assert found.shifted == []


def test_a_zone_that_is_taken_away_takes_its_violations_with_it() -> None:
    found = tried([circle()], edited_zones([circle()], [circle(enabled=False, version=2)]), OUT_AND_BACK)
    assert (found.violations_today.count, found.violations_edited.count) == (1, 0)
    assert "violation_began" in kinds(found.lost)


def test_what_began_before_the_period_is_believed_and_not_told_of() -> None:
    track = walk(*ROUND, first=-40)
    before, period = track[:40], track[40:]
    found = tried([circle()], [circle(radius_m=400)], before, period)
    assert found.fixes == len(period)
    assert sorted(kinds(found.lost)) == ["entered", "violation_ended"]
    assert found.violations_today.count == 1
    assert 0 < found.violations_today.seconds < 130, "only as far as it lasted within the period"


def test_a_violation_that_does_not_end_lasts_to_the_last_fix() -> None:
    found = tried([circle()], [circle(radius_m=900)], walk(*OUT))
    began = next(moment for moment in found.lost if moment.kind == "violation_began")
    last = walk(*OUT)[-1].recorded_at
    assert found.violations_today.seconds == (last - began.at).total_seconds() > 150


def test_piece_by_piece_it_comes_to_the_same() -> None:
    whole = tried([circle()], [circle(radius_m=400)], OUT_AND_BACK)
    assert tried([circle()], [circle(radius_m=400)], *([item] for item in OUT_AND_BACK)) == whole


def test_of_very_many_the_first_are_told_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "MAX_TOLD", 3)
    found = tried([circle()], [circle(radius_m=400)], walk(*ROUND * 4))
    assert found.lost_count == 16
    assert len(found.lost) == 3
    assert found.lost == sorted(found.lost, key=lambda moment: moment.at)


def test_a_version_is_taken_as_if_it_had_always_held() -> None:
    late = circle(in_force_from=SINCE + timedelta(days=9), in_force_to=SINCE + timedelta(days=10))
    assert as_if_always(late).in_force_from is as_if_always(late).in_force_to is None
