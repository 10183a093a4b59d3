"""Tests of the noise for the count of false exits.

It is seeded, and describes itself correctly.
"""

import math

import numpy as np
import pytest

from bench.measures import noise
from bench.measures.noise import (
    A_DAY,
    MODELS,
    RADIUS_68,
    NoiseModel,
    NoiseWeather,
    ReceivedFixes,
    fixes_of,
    plain_exits,
)
from services.geofencing.geometry import distance_m
from tests.support.square_site import SETTINGS

TRUE_M = RADIUS_68 * math.hypot(5.0, 2.0)


def days(
    model: NoiseModel, *, seed: int = 1, count: int = 5, weather: NoiseWeather = noise.USUAL
) -> ReceivedFixes:
    return noise.stationary(model, np.random.default_rng(seed), count, weather)


def test_the_same_seed_is_the_same_noise() -> None:
    first, again, other = days(MODELS["mixed"]), days(MODELS["mixed"]), days(MODELS["mixed"], seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.east_m[:100], other.east_m[:100])


def test_68_of_100_fixes_lie_within_the_accuracy_that_an_honest_phone_claims() -> None:
    told = days(MODELS["urban"])
    assert len(told.at_s) == 5 * A_DAY
    away = np.hypot(told.east_m + noise.INSIDE_M, told.north_m)
    assert np.mean(away <= TRUE_M) == pytest.approx(0.68, abs=0.02)
    assert np.mean(told.accuracy_m) == pytest.approx(TRUE_M, rel=0.01)


def test_errors_wander_they_are_not_thrown_anew_each_time() -> None:
    """Ten seconds apart: exp(-10 / 60) of the reflections, none of the white noise."""
    east = days(MODELS["urban"]).east_m
    found = np.corrcoef(east[:-1], east[1:])[0, 1]
    assert found == pytest.approx(math.exp(-10 / 60) * 25 / 29, abs=0.02)
    fast = days(MODELS["urban"], weather=NoiseWeather(5.0, 0.1)).east_m
    assert np.corrcoef(fast[:-1], fast[1:])[0, 1] == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(("name", "factor"), [("overconfident", 0.1), ("timid", 10.0)])
def test_a_liar_claims_a_tenth_or_ten_times_of_the_same_noise(name: str, factor: float) -> None:
    assert np.mean(days(MODELS[name]).accuracy_m) == pytest.approx(factor * TRUE_M, rel=0.01)
    assert np.array_equal(days(MODELS[name]).east_m, days(MODELS["urban"]).east_m)


def test_gaps_are_of_thirty_seconds_about_each_five_minutes() -> None:
    between = np.diff(days(MODELS["gaps"]).at_s)
    assert between.min() == 10
    assert np.sum(between == 30) / 5 == pytest.approx(86_400 / 300, rel=0.15)


def test_teleports_are_far_away_and_soon_over() -> None:
    told = days(MODELS["teleports"])
    far = np.hypot(told.east_m, told.north_m) > 200
    # One to three fixes each ten minutes, two on average.
    assert far.mean() == pytest.approx(2 / 60, rel=0.2)


def test_metres_become_fixes_at_the_edge_of_the_site() -> None:
    told = ReceivedFixes(*(np.array(part, dtype=float) for part in ([0, 10], [-10, 25], [0, 0], [7, 70])))
    first, second = fixes_of(told)
    [site] = noise.site(SETTINGS).zones
    assert distance_m(site, first.lat, first.lon) == pytest.approx(-10, abs=1e-3)
    assert distance_m(site, second.lat, second.lon) == pytest.approx(25, abs=1e-3)
    assert (second.recorded_at - first.recorded_at).total_seconds() == 10
    assert (first.accuracy, second.accuracy) == (7, 70)


def test_the_plain_rule_counts_each_turn_to_outside() -> None:
    east, north = [-10, 1, 1, -1, 1, -10], [0, 0, 0, 0, 0, 150]
    told = ReceivedFixes(
        np.arange(6) * 10.0, np.array(east, dtype=float), np.array(north, dtype=float), np.full(6, 8.0)
    )
    assert plain_exits(told) == [10, 40]


def test_what_vigil_confirms_is_counted_when_it_does_over_any_number_of_fixes() -> None:
    walk = np.array([-60, -40, -20, 0, 20, 40, 60, *[60.0] * noise.PIECE])
    told = ReceivedFixes(np.arange(len(walk)) * 10.0, walk, np.zeros(len(walk)), np.full(len(walk), 8.0))
    assert noise.violations(told, SETTINGS) == [50.0]


def test_a_short_run_finds_every_exit_and_gives_all_figures() -> None:
    figures = noise.measure(days=1, exits=1)
    assert figures["guard_days"] == len(MODELS)
    assert not [name for name in figures if name.endswith("missed")]
    assert figures["plain_false_exits_per_guard_day"] > 100
    assert figures["false_exits_per_guard_day"] <= 1
    assert 0 < figures["detection_delay_fixes_median"] < 10
