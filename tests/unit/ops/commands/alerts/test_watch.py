from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from ops.commands.alerts.watch import BlindnessReporter

SINCE = "2026-01-05T21:14:03Z"
REDIS = {"part": "redis", "since": SINCE, "hides_alarms": True, "reason": "Redis does not answer."}
WATCHDOG = {
    "part": "watchdog",
    "since": SINCE,
    "hides_alarms": False,
    "reason": "The watchdog does not answer.",
}


def heartbeat(*away: dict[str, Any]) -> dict[str, Any]:
    return {"type": "heartbeat", "blind": bool(away), "since": SINCE if away else None, "away": list(away)}


class Said:
    def __init__(self) -> None:
        self._out = io.StringIO()
        self.sight = BlindnessReporter(Console(file=self._out, soft_wrap=True))

    @property
    def lines(self) -> list[str]:
        return self._out.getvalue().splitlines()


@pytest.fixture
def said() -> Said:
    return Said()


def test_a_feed_that_sees_says_nothing(said: Said) -> None:
    for frame in ({"type": "connected"}, heartbeat(), {"type": "positions"}, heartbeat()):
        said.sight.take(frame)
    said.sight.look(datetime.now(UTC) + timedelta(seconds=8))
    assert said.lines == []


def test_what_is_away_is_said_once_with_its_time_its_reason_and_what_to_do(said: Said) -> None:
    for _ in range(3):
        said.sight.take(heartbeat(REDIS))
    [line] = said.lines
    at = datetime.fromisoformat(SINCE).astimezone()
    assert f"Alarms may not arrive since {at:%H:%M:%S}. Redis does not answer." in line
    assert "call every guard" in line
    assert "Call the person on call" in line


def test_what_hides_no_alarm_does_not_send_anybody_to_the_telephone(said: Said) -> None:
    said.sight.take(heartbeat(WATCHDOG))
    [line] = said.lines
    assert "works in part" in line
    assert "call every guard" not in line


def test_another_part_that_goes_is_said_and_the_end_too(said: Said) -> None:
    for frame in (heartbeat(REDIS), heartbeat(REDIS, WATCHDOG), heartbeat(), heartbeat()):
        said.sight.take(frame)
    assert len(said.lines) == 3
    assert "The watchdog does not answer." in said.lines[1]
    assert "Vigil works again" in said.lines[2]


def test_silence_is_said_once_by_the_own_clock_and_ends_with_a_heartbeat(said: Said) -> None:
    # Given
    said.sight.take(heartbeat())
    later = datetime.now(UTC) + timedelta(seconds=9.5)

    # When
    said.sight.look(later)
    said.sight.look(later + timedelta(seconds=30))

    # Then
    [line] = said.lines
    assert "may not arrive since" in line
    assert "No frame has arrived" in line
    said.sight.take({"type": "connected"})
    assert len(said.lines) == 1  # the connection alone says nothing about the rest
    said.sight.take(heartbeat())
    assert "works again" in said.lines[1]


def test_a_link_that_is_back_and_hears_that_a_part_is_away_says_so(said: Said) -> None:
    said.sight.look(datetime.now(UTC) + timedelta(seconds=10))
    said.sight.take(heartbeat(REDIS))
    assert "Redis does not answer." in said.lines[1]
