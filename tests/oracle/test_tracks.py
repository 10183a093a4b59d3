"""Tests that the production judge and the oracle agree on random tracks in random zones."""

from collections import Counter
from random import Random

from tests.oracle.comparison import at_once, bit_by_bit, made
from tests.oracle.production import judge_of
from tests.oracle.words import Row


def compare(seed: int, wanted: int, seen: Counter[str]) -> list[str]:
    """Judge worlds from this seed until enough tracks were judged or the two differ.

    Returns the differences.
    """
    random = Random(seed)
    while seen["tracks"] < wanted:
        place, guards = made(random)
        judge = judge_of(place.zones, place.rules)
        found = [*at_once(judge, guards), *bit_by_bit(random, judge, guards)]
        for _, rows, thrown in guards:
            count(seen, rows, thrown)
        if found:
            where = f"seed {seed}, world at {place.lat}, {place.lon}, {place.rules}"
            return [f"{where}: oracle and production differ in", *found]
    return []


def count(seen: Counter[str], rows: list[Row], thrown: int) -> None:
    seen.update(tracks=1, fixes=len(rows), ties=thrown)
    seen.update(change.kind for row in rows for change in row.changes)
    seen.update(row.implausible for row in rows if row.implausible)


def test_every_track_comes_to_what_the_oracle_says(seed: int, tracks_a_seed: int) -> None:
    seen: Counter[str] = Counter()
    found = compare(seed, tracks_a_seed, seen)
    assert not found, "\n".join(found)
    # A thousand tracks without any event would agree about nothing.
    assert seen["ties"] <= 0.005 * seen["tracks"], seen
    for kind in ("entered", "exited", "violation_began", "violation_ended", "teleport", "mock", "no_fix"):
        assert seen[kind] >= 20, (kind, seen)
    assert seen["speeding_began"] + seen["speeding_ended"] > 0, seen
