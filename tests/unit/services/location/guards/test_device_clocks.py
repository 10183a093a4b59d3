"""Tests of fixes of phones with wrong clocks, in seconds since noon."""

from datetime import datetime

import msgspec
import pytest

from services.contracts.families import Fix, Origin
from services.ingestion.clock_offset import RIGHT, SourceClock
from services.location.guards.device_clocks import (
    CORRECTED,
    correct,
    is_late_by_us,
    is_near,
    known_time,
    needs_no_correction,
)
from tests.support.square_site import at


def heard(recorded_s: float, received_s: float, *, suspect: bool = False, buffered: bool = False) -> Fix:
    key = f"{recorded_s} {received_s}".encode()
    origin = Origin(
        "guard-1", key, None, "t", at(recorded_s), at(received_s), suspect, ("x",), None, "{}", buffered
    )
    return Fix(origin, 1.0, 1.0, 5.0, None, None, "gps", False)


def times(fixes: list[Fix]) -> list[datetime]:
    return [fix.origin.recorded_at for fix in fixes]


def test_a_right_clock_costs_nothing_and_changes_nothing() -> None:
    fixes = [heard(n, n + 2.0) for n in range(5)]
    found, clock = correct(fixes, RIGHT, None)
    assert found == fixes
    assert clock is RIGHT


@pytest.mark.parametrize(("ahead_s", "near"), [(15, True), (-15, True), (15.1, False), (-15.1, False)])
def test_a_fix_within_a_quarter_of_a_minute_is_near(ahead_s: float, near: bool) -> None:
    origin = heard(ahead_s, 0).origin
    assert is_near(origin) is near
    assert needs_no_correction(origin, RIGHT) is near
    assert not needs_no_correction(origin, SourceClock(-360.0))


def test_a_time_that_is_not_believed_teaches_nothing() -> None:
    fixes = [heard(-1000, n, suspect=True) for n in range(5)]
    assert correct(fixes, RIGHT, None) == (fixes, RIGHT)


def test_a_slow_clock_is_corrected_from_the_third_fix_on() -> None:
    found, clock = correct([heard(n - 360, n) for n in range(5)], RIGHT, None)
    assert times(found) == [at(-360), at(-359), at(2), at(3), at(4)]
    assert clock.offset_s == -360.0
    assert [CORRECTED in fix.origin.quality for fix in found] == [False, False, True, True, True]
    assert all(fix.origin.quality[0] == "x" for fix in found)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_fixes_are_taken_in_the_order_of_receipt_and_given_back_in_their_own(order: tuple[int, ...]) -> None:
    fixes = [heard(n - 360, n) for n in range(4)]
    found, clock = correct([fixes[n] for n in order], RIGHT, None)
    expected = [at(-360), at(-359), at(2), at(3)]
    assert times(found) == [expected[n] for n in order]
    assert clock.offset_s == -360.0


def test_one_batch_or_many_come_to_the_same() -> None:
    fixes = [heard(n - 360, n) for n in range(6)]
    at_once, known = correct(fixes, RIGHT, (at(-500), at(-500)))
    clock, before, one_by_one = RIGHT, (at(-500), at(-500)), []
    for fix in fixes:
        [found], clock = correct([fix], clock, before)
        before = max(before, (found.origin.recorded_at, found.origin.received_at))
        one_by_one.append(found)
    assert (one_by_one, clock) == (at_once, known)


def test_what_was_kept_in_a_gap_is_late_and_not_of_a_slow_clock() -> None:
    # The last fix before the gap was ten minutes ago. Then the phone sends from there on.
    fixes = [heard(-599 + n, n) for n in range(5)]
    found, _ = correct(fixes, RIGHT, (at(-600), at(-600)))
    assert found == fixes


def test_a_buffered_fix_is_corrected_by_what_is_known_and_teaches_nothing() -> None:
    known = SourceClock(-360.0)
    [found], clock = correct([heard(-1000, 0, buffered=True)], known, None)
    assert found.origin.recorded_at == at(-640)
    assert clock == known


def test_a_fix_that_was_corrected_before_says_so_once() -> None:
    fix = heard(-360, 0)
    fix = msgspec.structs.replace(fix, origin=msgspec.structs.replace(fix.origin, quality=(CORRECTED,)))
    [found], _ = correct([fix], SourceClock(-360.0), None)
    assert found.origin.quality == (CORRECTED,)


@pytest.mark.parametrize(
    ("fix", "offset_s", "expected_s"),
    [
        (heard(-360, 0), None, -360),
        (heard(-360, 0), -360.0, 0),
        (heard(-1000, 0), -360.0, -640),
        (heard(240, 0), 200.0, 0),
        (heard(-5, 0), -360.0, -5),
        (heard(-360, 0, suspect=True), -360.0, -360),
    ],
)
def test_what_is_known_already_gives_a_time(fix: Fix, offset_s: float | None, expected_s: float) -> None:
    assert known_time(fix.origin, SourceClock(offset_s)) == at(expected_s)


@pytest.mark.parametrize(
    ("recorded_s", "received_s", "late_by_us"),
    [(9, 9, True), (9, 11, False), (11, 9, False), (9, 10, False)],
    ids=["overtaken here", "sent late", "of another order", "received at once with it"],
)
def test_a_fix_is_late_by_us_when_a_newer_one_that_came_after_it_was_judged_before_it(
    recorded_s: float, received_s: float, late_by_us: bool
) -> None:
    heard = at(10), at(10)
    assert is_late_by_us(at(recorded_s), at(received_s), heard) is late_by_us
    assert not is_late_by_us(at(recorded_s), at(received_s), None)
