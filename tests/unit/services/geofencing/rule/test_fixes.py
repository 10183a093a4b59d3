"""Tests of a fix as the rule sees it: its numbers, its zone time, and the speed that is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from services.contracts.families import Fix, Origin
from services.geofencing.rule.fixes import EvaluatedFix, TrackFix, track_fix_of
from services.geofencing.rule.plausibility import RememberedFix

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SEEN = RememberedFix(0, 1.0, 2.0, 8.0)


def message(*, accuracy: float | None = None, speed: float | None = None) -> Fix:
    origin = Origin("guard-1", b"k" * 16, None, "guard/guard-1/gps", NOON, NOON, False, (), None, "{}")
    return Fix(origin, 1.0, 2.0, accuracy, speed, None, "gps", mock=False)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, None), (8.0, 8.0), (0.1, 0.10000000149011612), (-1.0, None)],
)
def test_numbers_are_as_the_table_keeps_them(given: float | None, kept: float | None) -> None:
    assert track_fix_of(message(accuracy=given)).accuracy == kept


def test_the_fact_has_the_identity_times_and_place_of_the_message() -> None:
    assert track_fix_of(message(speed=2.5)) == TrackFix(b"k" * 16, NOON, NOON, 1.0, 2.0, None, 2.5)


@pytest.mark.parametrize("late_s", [-60.0, 0.0, 60.0])
def test_zones_are_asked_for_the_earlier_of_both_times(late_s: float) -> None:
    received_at = NOON + timedelta(seconds=late_s)
    step = EvaluatedFix(TrackFix(b"k" * 16, NOON, received_at, 1.0, 2.0), SEEN)
    assert step.zone_time == min(NOON, received_at)


def test_a_speed_that_is_doubted_is_not_claimed() -> None:
    fact = TrackFix(b"k" * 16, NOON, NOON, 1.0, 2.0, None, 30.0)
    assert EvaluatedFix(fact, SEEN).speed_mps == 30.0
    assert EvaluatedFix(fact, SEEN, speed_doubted=True).speed_mps is None
