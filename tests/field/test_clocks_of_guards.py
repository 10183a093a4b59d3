"""Tests of phones with a wrong clock.

A guard outside of the zone is an alarm, and late data is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from ops.local.stack import Stack
from tests.support.guard_phones import INSIDE, OUTSIDE, FinishedPhones, GuardPhones
from tests.support.outside_clients import OutsideClients

FIXES = 6
"""Number of fixes. They are a second apart."""
MINUTE, DAY = 60.0, 86_400.0


class WrongClock(NamedTuple):
    """A phone's wrong clock.

    `ahead_s` is the clock's offset at the nth fix. In the end, the quality of the fix says:
    corrected, not believed, or nothing.
    """

    name: str
    ahead_s: Callable[[int], float]
    corrected: int
    suspect: int = 0


def steady(seconds: float) -> Callable[[int], float]:
    return lambda _: seconds


CLOCKS = [
    WrongClock("right", steady(0), 0),
    WrongClock("ten seconds slow", steady(-10), 0),
    WrongClock("a minute slow", steady(-60), FIXES - 2),
    WrongClock("four minutes slow", steady(-4 * MINUTE), FIXES - 2),
    WrongClock("six minutes slow", steady(-6 * MINUTE), FIXES - 2),
    WrongClock("twenty minutes slow", steady(-20 * MINUTE), FIXES - 2),
    WrongClock("an hour slow", steady(-60 * MINUTE), FIXES - 2),
    WrongClock("five and a half hours slow", steady(-330 * MINUTE), FIXES - 2),
    WrongClock("six days slow", steady(-6 * DAY), FIXES - 2),
    WrongClock("eight days slow", steady(-8 * DAY), 0, FIXES),
    WrongClock("1024 weeks slow", steady(-1024 * 7 * DAY), 0, FIXES),
    WrongClock("20 s fast", steady(20), FIXES),
    WrongClock("four minutes fast", steady(4 * MINUTE), FIXES),
    WrongClock("six minutes fast", steady(6 * MINUTE), 0, FIXES),
    WrongClock("a day fast", steady(DAY), 0, FIXES),
    WrongClock("fast then right", lambda n: 4 * MINUTE if n < 3 else 0.0, 3),
    WrongClock("slow then right", lambda n: -6 * MINUTE if n < 3 else 0.0, 1),
    WrongClock("slow by less and less", lambda n: -6 * MINUTE + n / 10, FIXES - 2),
]


@pytest.fixture(scope="module")
def heard(stack: Stack) -> Iterator[FinishedPhones]:
    """Send the fixes of all phones at once, each for as many seconds as it sends fixes."""
    with OutsideClients(stack) as outside:
        phones = GuardPhones(outside, "clocks")
        guards = {clock.name: phones.guard(clock.name) for clock in CLOCKS}
        for nth in range(FIXES):
            for clock in CLOCKS:
                phones.send(guards[clock.name], OUTSIDE, ahead_s=clock.ahead_s(nth))
            phones.beat()
        phones.settle()
        yield FinishedPhones(phones, guards)


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: clock.name)
def test_a_guard_outside_with_a_wrong_clock_is_a_violation(heard: FinishedPhones, clock: WrongClock) -> None:
    guard = heard.guards[clock.name]
    # Given a guard outside whose phone's clock is wrong, when its fixes come one each second,
    # then there is a violation,
    [(message, _, _)] = heard.phones.violates(guard)
    assert message.startswith((f"{guard} is outside ", f"{guard} is still outside "))
    # and each fix is stored, with what was wrong with its time.
    heard.phones.outside.until(lambda: heard.phones.stored(guard) == FIXES)
    said = heard.phones.quality(guard)
    assert sum("clock_corrected" in quality for quality in said) == clock.corrected, said
    [(suspect,)] = heard.phones.outside.rows(
        "SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s AND clock_suspect", guard
    )
    assert suspect == clock.suspect
    # And it is shown with the present time.
    shown = "SELECT abs(extract(epoch FROM recorded_at - received_at)) FROM guard_state WHERE guard_id = %s"
    assert float(heard.phones.outside.rows(shown, guard)[0][0]) < 15


def test_a_clock_that_stands_still_hides_no_violation(outside: OutsideClients) -> None:
    phones = GuardPhones(outside, "still")
    stamps = ("1970-01-01T00:00:00Z", "1999-08-22T00:00:00Z", "2000-01-01T00:00:00+05:30", "not a time", "")
    guards = {phones.guard(f"still-{number}"): stamp for number, stamp in enumerate(stamps)}
    # Given guards outside, when each fix of a guard names the same time, which nobody believes,
    for nth in range(5):
        for guard, stamp in guards.items():
            phones.send(guard, OUTSIDE, timestamp=stamp, heading=nth)
        phones.beat(0.5)
    # then all are stored, and there is a violation of each guard.
    for guard in guards:
        phones.violates(guard)
        outside.until(lambda guard=guard: phones.stored(guard) == 5)  # type: ignore[misc]


class Late(NamedTuple):
    """Fixes outside with the ages `ages_s` that come at once. Then a live fix comes from inside."""

    name: str
    ages_s: list[float]
    changes: dict[str, Any] = {}


LATE = [
    Late("a shift of yesterday", [DAY + second for second in range(1_400, 0, -1)]),
    Late("an hour of each ten seconds", [10.0 * n for n in range(360, 60, -1)]),
    Late("twenty minutes", [60.0 * n for n in range(26, 5, -1)]),
    Late("turned round", [60.0 * n for n in range(7, 30)]),
    Late("one old fix", [1_000.0]),
    Late("two of one second", [1_000.0, 999.5]),
]


@pytest.fixture(scope="module")
def late_heard(stack: Stack) -> Iterator[FinishedPhones]:
    """Send the kept fixes of all phones at once, and then a fix from inside for each.

    A guard who is outside comes last.
    """
    with OutsideClients(stack) as outside:
        phones = GuardPhones(outside, "late")
        guards = {late.name: phones.guard(f"late-{number}") for number, late in enumerate(LATE)}
        marker = phones.guard("marker")
        for late in LATE:
            for age_s in late.ages_s:
                phones.send(guards[late.name], OUTSIDE, ahead_s=-age_s, **late.changes)
        phones.settle()
        for guard in guards.values():
            phones.send(guard, INSIDE)
        for _ in range(2):
            phones.send(marker, OUTSIDE)
            phones.beat(0.2)
        phones.violates(marker)
        yield FinishedPhones(phones, guards)


@pytest.mark.parametrize("late", LATE, ids=lambda late: late.name)
def test_what_is_late_raises_nothing(late_heard: FinishedPhones, late: Late) -> None:
    # Given a phone that was without a network while its guard was outside,
    # when it has sent all the fixes that it kept, and then a fix from inside,
    phones, guard = late_heard.phones, late_heard.guards[late.name]
    # then all fixes are stored, the guard is shown inside, and no alert is raised, then or later.
    phones.outside.until(lambda: phones.stored(guard) == len(late.ages_s) + 1, 30)
    phones.outside.until(lambda: phones.shown_at(guard) == (INSIDE["lat"], INSIDE["lon"]))
    phones.outside.until(lambda: phones.has_no_pending_alert(guard), 30)
    assert phones.violations(guard) == []
    assert not any("clock_corrected" in quality for quality in phones.quality(guard))


def test_a_position_is_shown_with_its_corrected_time(outside: OutsideClients) -> None:
    phones = GuardPhones(outside, "shown")
    guard = phones.guard("shown")
    # Given a control room, when the clock of a phone is twenty minutes slow,
    screen = outside.screen(tenant_id=phones.tenant_id)
    screen.wait("snapshot")
    for _ in range(5):
        phones.send(guard, INSIDE, ahead_s=-20 * MINUTE)
        phones.beat()

    # then the frame of positions has the present time.
    def is_of_now(frame: dict[str, Any]) -> bool:
        mine = [position for position in frame["data"] if position["guard_id"] == guard]
        limit = datetime.now(UTC) - timedelta(minutes=1)
        return any(datetime.fromisoformat(position["recorded_at"]) > limit for position in mine)

    screen.wait("positions", is_of_now)
