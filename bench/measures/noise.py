"""False exits of a guard who stands still, and the delay until a true exit is noticed.

The site is 200 m by 200 m. A stationary guard is 10 m inside its east edge for days. A leaving
guard walks from 100 m inside straight out at 1.4 m/s. There is a fix each 10 s. Vigil judges by its
defaults (config.yaml). The plain rule is "the point is outside the polygon: alarm". A false exit is
a violation that begins. For the plain rule, it is each change to outside.

Each noise model has its own seeded chance. All errors are in metres, east and north alike:
- urban: multipath among buildings. The error is an Ornstein-Uhlenbeck walk (a random walk that is
  held back) of sigma 5 m and a correlation time of 60 s. So a guard who stands sees the same
  reflections for a minute. White noise of 2 m is added. The claimed accuracy is the true 68 %
  radius of both, give or take a fifth.
- overconfident: the same noise, and a tenth of that accuracy is claimed.
- timid: the same noise, and ten times that accuracy is claimed.
- gaps: urban, and every 5 minutes on average nothing is heard for 30 s.
- teleports: urban, and every 10 minutes on average one to three fixes lie 250 m to 5 km away.
- mixed: gaps and teleports, and each hour a device claims a tenth, the truth, or ten times.

A chip that smooths more errs more slowly, and higher buildings make wider errors: see `--sigma` and
`--correlation`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from shapely.geometry import box

from services.contracts.zone_parameters import Confirmation
from services.geofencing.geometry import METRES_A_DEGREE, Geofence, ZoneIndex
from services.geofencing.rule.track import Judge, TrackFix, ZoneSubject
from services.platform import config

INTERVAL_S = 10
A_DAY = 86_400 // INTERVAL_S
HALF_M = 100.0
INSIDE_M = 10.0
WALK_MPS = 1.4
LEAVES_AT_M = -100.0
LEFT_AT_M = 250.0
SIGMA_M = 5.0
CORRELATION_S = 60.0
WHITE_M = 2.0
RADIUS_68 = math.sqrt(-2 * math.log(1 - 0.68))
"""Radius that holds 68 % of a round Gaussian in two dimensions, in standard deviations of one."""
GAP_S = 30
GAP_EVERY_S = 300
TELEPORT_EVERY_S = 600
TELEPORT_M = (250.0, 5_000.0)
T0 = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 20
EXITS = 60
PIECE = 2_000

Floats = npt.NDArray[np.float64]


class NoiseModel(NamedTuple):
    """Noise model. `claims` are factors on the true accuracy, one an hour."""

    claims: tuple[float, ...] = (1.0,)
    gaps: bool = False
    teleports: bool = False


MODELS = {
    "urban": NoiseModel(),
    "overconfident": NoiseModel(claims=(0.1,)),
    "timid": NoiseModel(claims=(10.0,)),
    "gaps": NoiseModel(gaps=True),
    "teleports": NoiseModel(teleports=True),
    "mixed": NoiseModel(claims=(0.1, 1.0, 10.0), gaps=True, teleports=True),
}


class ReceivedFixes(NamedTuple):
    """Fixes that a phone sends.

    They hold seconds, metres east of the edge and north of its middle, and the claimed accuracy.
    """

    at_s: Floats
    east_m: Floats
    north_m: Floats
    accuracy_m: Floats


class NoiseWeather(NamedTuple):
    """Size and slowness of the error."""

    sigma_m: float = SIGMA_M
    correlation_s: float = CORRELATION_S


USUAL = NoiseWeather()


def received_fixes(
    east_m: Floats, model: NoiseModel, chance: np.random.Generator, weather: NoiseWeather = USUAL
) -> ReceivedFixes:
    """Return fixes of a guard at these places, one each ten seconds, with the noise of a model."""
    count = len(east_m)
    at_s = np.arange(count, dtype=float) * INTERVAL_S
    error = np.column_stack([_wander(count, chance, weather) for _ in range(2)])
    error += chance.normal(0, WHITE_M, error.shape)
    true_m = RADIUS_68 * math.hypot(weather.sigma_m, WHITE_M)
    factor = np.array([model.claims[chance.integers(len(model.claims))] for _ in range(count // 360 + 1)])
    claimed = true_m * np.repeat(factor, 360)[:count] * chance.uniform(0.8, 1.2, count)

    if model.teleports:
        _teleport(error, chance)

    kept = _without_gaps(at_s, chance) if model.gaps else np.ones(count, dtype=bool)
    return ReceivedFixes(at_s[kept], (east_m + error[:, 0])[kept], error[kept, 1], claimed[kept])


def _wander(count: int, chance: np.random.Generator, weather: NoiseWeather) -> Floats:
    """Return a sampled Ornstein-Uhlenbeck walk.

    x' = a x + sqrt(1 - a²) sigma n, a = exp(-dt / tau).
    """
    a = math.exp(-INTERVAL_S / weather.correlation_s)
    steps = chance.normal(0, weather.sigma_m * math.sqrt(1 - a * a), count)
    steps[0] = chance.normal(0, weather.sigma_m)
    found = np.empty(count)
    x = 0.0
    for n, step in enumerate(steps.tolist()):
        x = a * x + step
        found[n] = x
    return found


def _teleport(error: Floats, chance: np.random.Generator) -> None:
    starts = np.flatnonzero(chance.random(len(error)) < INTERVAL_S / TELEPORT_EVERY_S)
    for start in starts:
        angle, away = chance.uniform(0, 2 * math.pi), chance.uniform(*TELEPORT_M)
        lasting = chance.integers(1, 4)
        error[start : start + lasting] += (away * math.cos(angle), away * math.sin(angle))


def _without_gaps(at_s: Floats, chance: np.random.Generator) -> npt.NDArray[np.bool_]:
    kept = np.ones(len(at_s), dtype=bool)
    for start in np.flatnonzero(chance.random(len(at_s)) < INTERVAL_S / GAP_EVERY_S):
        kept[start + 1 : start + GAP_S // INTERVAL_S] = False
    return kept


def fixes_of(told: ReceivedFixes) -> Iterator[TrackFix]:
    """Yield the same data as fixes at the equator, with the edge on the meridian of Greenwich."""
    for number, (at_s, east, north, accuracy) in enumerate(
        zip(*(part.tolist() for part in told), strict=True)
    ):
        at = T0 + timedelta(seconds=at_s)
        yield TrackFix(
            number.to_bytes(16, "big"), at, at, north / METRES_A_DEGREE, east / METRES_A_DEGREE, accuracy
        )


def site(settings: config.LocationSettings) -> ZoneIndex:
    usual = Confirmation(settings.confirm_fixes, settings.confirm_s)
    size = HALF_M / METRES_A_DEGREE
    area = box(-2 * size, -size, 0.0, size)
    return ZoneIndex([Geofence(zone_id=1, kind="required", area=area, enter=usual, exit=usual)])


def violations(told: ReceivedFixes, settings: config.LocationSettings) -> list[float]:
    """Return the times, in seconds, at which Vigil confirmed that the guard was outside."""
    judge, belief, found = Judge(site(settings), settings), None, []
    fixes = list(fixes_of(told))
    for start in range(0, len(fixes), PIECE):
        belief, steps = judge.judge(ZoneSubject("guard-1"), belief, fixes[start : start + PIECE])
        found += [
            (transition.confirmed_at - T0).total_seconds()
            for step in steps
            for transition in step.transitions
            if transition.kind == "violation_began"
        ]

    return found


def plain_exits(told: ReceivedFixes) -> list[float]:
    """Return the times at which the plain rule changed from inside to outside."""
    outside = (told.east_m > 0) | (told.east_m < -2 * HALF_M) | (np.abs(told.north_m) > HALF_M)
    before = np.concatenate([[False], outside[:-1]])
    return told.at_s[outside & ~before].tolist()


def stationary(
    model: NoiseModel, chance: np.random.Generator, days: int, weather: NoiseWeather
) -> ReceivedFixes:
    return received_fixes(np.full(days * A_DAY, -INSIDE_M), model, chance, weather)


def delay_fixes(
    model: NoiseModel, chance: np.random.Generator, settings: config.LocationSettings, weather: NoiseWeather
) -> float | None:
    """Return the fix intervals from the step over the edge to the confirmed violation.

    Returns:
        None when no violation was confirmed after the step over the edge.
    """
    start_m = LEAVES_AT_M - chance.uniform(0, WALK_MPS * INTERVAL_S)
    count = int((LEFT_AT_M - start_m) / (WALK_MPS * INTERVAL_S))
    east: Floats = start_m + WALK_MPS * INTERVAL_S * np.arange(count, dtype=np.float64)
    found = violations(received_fixes(east, model, chance, weather), settings)
    crossed_s = -start_m / WALK_MPS
    after = [at_s - crossed_s for at_s in found if at_s >= crossed_s]
    return after[0] / INTERVAL_S if after else None


def measure(
    *, seed: int = 1, days: int = DAYS, exits: int = EXITS, weather: NoiseWeather = USUAL
) -> dict[str, float]:
    """Return false exits a guard-day and the median delay, over all models and of each."""
    settings = config.load(environ={}).location
    figures: dict[str, float] = {}
    false, plain = 0, 0
    delays: list[float] = []
    for number, (name, model) in enumerate(MODELS.items()):
        chance = np.random.default_rng([seed, number])
        told = stationary(model, chance, days, weather)
        mine, theirs = len(violations(told, settings)), len(plain_exits(told))
        walked = [delay_fixes(model, chance, settings, weather) for _ in range(exits)]
        noticed = [delay for delay in walked if delay is not None]
        if len(noticed) < exits:
            figures[f"{name}_exits_missed"] = exits - len(noticed)
        figures |= _figures(f"{name}_", mine / days, theirs / days, noticed)
        false, plain, delays = false + mine, plain + theirs, delays + noticed

    total = days * len(MODELS)
    return {**_figures("", false / total, plain / total, delays), "guard_days": total, **figures}


def _figures(prefix: str, false: float, plain: float, delays: Sequence[float]) -> dict[str, float]:
    return {
        f"{prefix}false_exits_per_guard_day": round(false, 4),
        f"{prefix}plain_false_exits_per_guard_day": round(plain, 1),
        f"{prefix}detection_delay_fixes_median": round(statistics.median(delays), 2) if delays else math.inf,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.measures.noise", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS, help="of each model")
    parser.add_argument("--exits", type=int, default=EXITS, help="of each model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sigma", type=float, default=SIGMA_M, help="metres")
    parser.add_argument("--correlation", type=float, default=CORRELATION_S, help="seconds")
    chosen = parser.parse_args()
    weather = NoiseWeather(chosen.sigma, chosen.correlation)
    print(
        json.dumps(measure(seed=chosen.seed, days=chosen.days, exits=chosen.exits, weather=weather), indent=1)
    )


if __name__ == "__main__":
    main()
