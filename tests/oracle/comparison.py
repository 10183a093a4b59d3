"""Comparison of the oracle with the production judge on the tracks of random worlds.

It returns the places where they differ.
"""

from dataclasses import replace
from random import Random
from unittest.mock import patch

from services.geofencing.rule import late_fixes
from services.geofencing.rule.track import Judge, ZoneSubject
from tests.oracle.production import fix_of, row_of
from tests.oracle.record import Record, deliver, unordered
from tests.oracle.verdicts import Oracle
from tests.oracle.words import Fix, Row
from tests.oracle.worlds import Guard, World, guard, world

TIE_M = 1e-6
"""Distance to a threshold below which rounding decides. Such a track is made again."""
GUARDS_A_WORLD = 20
LONG, LONG_SHARE = 200, 0.002
Judged = tuple[Guard, list[Row], int]
"""A guard, the oracle's rows, and the number of tracks that were discarded for ties."""


def judged(place: World, who: Guard) -> tuple[list[Row], float]:
    oracle = Oracle(place.zones, place.rules, who.guard_id, who.groups)
    return oracle.judge(list(who.fixes)), oracle.slack


def untied(random: Random, place: World, guard_id: str, length: int | None = None) -> Judged:
    """Return a guard for whom rounding decides nothing.

    The result has the guard, the oracle's rows, and the number of discarded tracks.
    """
    for thrown in range(20):
        who = guard(random, place, guard_id, length)
        rows, slack = judged(place, who)
        if slack > TIE_M:
            return who, rows, thrown
    raise AssertionError(f"no track without a tie in the world at {place.lat}, {place.lon}")


def deliveries(random: Random, fixes: tuple[Fix, ...]) -> list[list[Fix]]:
    """Return the fixes in batches, some late, some twice, in the order of a bad network."""
    arriving = list(fixes)
    disorder = random.choice((0, 0, 3, 15, len(fixes)))
    arriving = sorted(arriving, key=lambda f: fixes.index(f) + random.uniform(0, disorder))
    arriving += random.sample(arriving, len(arriving) // 5)
    if disorder == len(fixes):
        random.shuffle(arriving)
    cuts = sorted(random.randint(0, len(arriving)) for _ in range(random.choice((0, 1, 2, 4))))
    return [arriving[a:b] for a, b in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]


def differences(who: Guard, road: str, expected: list[Row], found: list[Row]) -> list[str]:
    lines = []
    for nth, (right, got) in enumerate(zip(expected, found, strict=True)):
        if replace(right, error_radius_m=None) != replace(got, error_radius_m=None) or not alike(right, got):
            lines.append(f"{who.guard_id}, {road}, fix {nth} of {len(expected)}:\n  {right}\n  {got}")
    return lines[:1]


def alike(right: Row, got: Row) -> bool:
    """Return whether two rows are alike.

    The record does not keep the error radius, so a missing one fits any other.
    """
    if right.error_radius_m is None or got.error_radius_m is None:
        return True
    return abs(right.error_radius_m - got.error_radius_m) < TIE_M


def without_order(rows: list[Row]) -> list[Row]:
    return [replace(row, changes=unordered(row.changes)) for row in rows]


def made(random: Random) -> tuple[World, list[Judged]]:
    """Return a world and guards in it, as the oracle judges them."""
    place = world(random)
    return place, [
        untied(random, place, f"guard-{nth % 8}", LONG if random.random() < LONG_SHARE else None)
        for nth in range(GUARDS_A_WORLD)
    ]


def at_once(judge: Judge, guards: list[Judged]) -> list[str]:
    """Return the differences when each track is judged as a whole."""
    found = []
    tracks = [
        (
            ZoneSubject(who.guard_id, who.groups),
            None,
            sorted(map(fix_of, who.fixes), key=lambda f: (f.recorded_at, f.key)),
        )
        for who, _, _ in guards
    ]
    for (who, rows, _), (_, steps) in zip(guards, judge.judge_many(tracks), strict=True):
        found += differences(who, "at once", rows, [row_of(step) for step in steps])
    return found


def bit_by_bit(random: Random, judge: Judge, guards: list[Judged]) -> list[str]:
    """Return the differences in the final record when fixes come permuted, late and twice."""
    records = [Record(who.guard_id, who.groups) for who, _, _ in guards]
    arrivals = [deliveries(random, who.fixes) for who, _, _ in guards]
    # The walks are short, so checkpoints have to be nearer to each other than those of
    # whole shifts.
    with (
        patch.object(late_fixes, "CHECKPOINT_INTERVAL_S", random.choice((30.0, 120.0, 900.0))),
        patch.object(late_fixes, "CHECKPOINT_FIXES", random.choice((3, 12, 250))),
    ):
        for nth in range(max(map(len, arrivals))):
            deliver(judge, records, [batches[nth] if nth < len(batches) else [] for batches in arrivals])
    found = []
    for (who, rows, _), record in zip(guards, records, strict=True):
        found += differences(who, "bit by bit", without_order(rows), record.rows())
    return found
