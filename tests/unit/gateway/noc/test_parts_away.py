from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.noc.parts_away import HIDE_NO_ALARM, PATHS, PROCESSES, REASONS, SERVERS, PartsAway, reason_of
from ops.checks.dependencies import DEPENDENCIES
from ops.processes import PROCESSES as HOSTED
from ops.watchdog.probe import ROADS
from services.supervision.process_heartbeats import HEARTBEATS, PartFault

NOW = datetime(2026, 1, 5, 2, 13, 5, 900_000, tzinfo=UTC)


def test_every_part_of_vigil_has_its_words() -> None:
    assert set(HOSTED) == PROCESSES
    assert set(DEPENDENCIES) == SERVERS
    assert {f"message-path-{lane}" for lane in ROADS} == set(PATHS)
    assert set(REASONS) == PROCESSES | SERVERS | set(PATHS) | {HEARTBEATS}
    assert HIDE_NO_ALARM < PROCESSES


@pytest.mark.parametrize("part", REASONS)
def test_the_words_are_sentences_and_name_no_address(part: str) -> None:
    words = reason_of(part)
    assert words[0].isupper()
    assert words.endswith(".")
    assert "://" not in words
    assert len(words) < 120


def test_a_part_nobody_knows_is_named_as_it_is() -> None:
    assert reason_of("something new") == "something new does not work."


def test_nothing_away_is_not_blind() -> None:
    blindness = PartsAway()
    assert not blindness.update([], now=NOW)
    assert (blindness.is_blind, blindness.since, blindness.away) == (False, None, ())


def test_the_beginning_stays_while_the_clock_moves_on() -> None:
    # Given
    blindness = PartsAway()
    assert blindness.update([PartFault("redis", 7.2)], now=NOW)
    before = blindness.away
    assert before[0].since == datetime(2026, 1, 5, 2, 12, 58, tzinfo=UTC)

    # When: the same fault is found again, with slightly different figures
    changed = blindness.update([PartFault("redis", 11.9)], now=NOW + timedelta(seconds=5))

    # Then: nothing on the page changes
    assert not changed
    assert blindness.away == before


def test_the_gravest_is_named_first_and_the_oldest_gives_the_time() -> None:
    blindness = PartsAway()
    blindness.update([PartFault("watchdog", 60), PartFault("mqtt", 5), PartFault("alerts", 20)], now=NOW)
    assert [away.part for away in blindness.away] == ["mqtt", "alerts", "watchdog"]
    assert [away.hides_alarms for away in blindness.away] == [True, True, False]
    assert blindness.since == (NOW - timedelta(seconds=60)).replace(microsecond=0)


def test_a_lost_test_message_is_named_only_when_nothing_explains_it() -> None:
    blindness = PartsAway()
    blindness.update([PartFault(PATHS[0], 70)], now=NOW)
    assert [away.part for away in blindness.away] == [PATHS[0]]
    assert blindness.update([PartFault(PATHS[0], 71), PartFault("postgres", 10)], now=NOW)
    assert [away.part for away in blindness.away] == ["postgres"]


def test_the_end_is_a_change_and_forgets_the_beginning() -> None:
    blindness = PartsAway()
    blindness.update([PartFault("redis", 10)], now=NOW)
    assert blindness.update([], now=NOW)
    later = NOW + timedelta(minutes=5)
    blindness.update([PartFault("redis", 3)], now=later)
    assert blindness.since == (later - timedelta(seconds=3)).replace(microsecond=0)
