"""Tests that fixes are sent when they are due, with their times moved.

The replay goes on until its end, or until somebody stops it.
"""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.simulation.recordings.fixes import RecordedFix
from ops.simulation.replay import player as player_module
from ops.simulation.replay.player import RecordingPlayer, StopRequest

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
FIXES = [
    RecordedFix(track="a", at=BEGAN, lat=1.5, lon=2.5, accuracy=6.0, mock=True),
    RecordedFix(track="b", at=BEGAN + timedelta(seconds=60), lat=1.0, lon=2.0, speed=1.0, heading=9.0),
    RecordedFix(track="a", at=BEGAN + timedelta(seconds=600), lat=1.0, lon=2.0),
]


class Clock:
    """A clock that advances only while the line listens."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sent: list[tuple[float, str, str, dict[str, Any]]] = []
        self.on_listen = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def of(self, source_id: str) -> "Clock":
        self._source_id = source_id
        return self

    def publish(self, topic: str, payload: bytes) -> None:
        self.sent.append((self.now_s, self._source_id, topic, json.loads(payload)))

    def listen(self, *, wait_s: float) -> None:
        assert wait_s <= player_module.LOOK_S
        self.now_s += wait_s
        self.on_listen()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


def player(stop: StopRequest, speed: float = 60) -> RecordingPlayer:
    names = {"a": "replay-x-1", "b": "replay-x-2"}
    return RecordingPlayer(FIXES, names, by=timedelta(days=365), speed=speed, run="x", stop=stop)


def test_each_is_sent_when_it_is_due_by_its_own_guard_with_its_time_moved(clock: Clock) -> None:
    made = player(StopRequest())
    said: list[float] = []
    made.play(clock, lambda playing: said.append(playing.position_s))
    assert [(round(at - 100, 6), source) for at, source, _, _ in clock.sent] == [
        (0, "replay-x-1"),
        (1, "replay-x-2"),
        (10, "replay-x-1"),
    ]
    assert [topic for _, _, topic, _ in clock.sent][:2] == ["guard/replay-x-1/gps", "guard/replay-x-2/gps"]
    assert clock.sent[0][3] == {
        "lat": 1.5,
        "lon": 2.5,
        "accuracy": 6.0,
        "mock": True,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "msg_id": "x-0",
    }
    assert clock.sent[1][3]["timestamp"] == "2026-01-01T00:01:00+00:00"
    assert (made.sent, made.length_s, made.position_s) == (3, 600.0, 600.0)
    assert said[0] == 0.0
    assert said == sorted(said)


def test_who_stops_it_stops_it_between_two_messages_and_soon(clock: Clock) -> None:
    stop = StopRequest()
    made = player(stop, speed=1)

    def stop_it() -> None:
        stop.asked = made.sent == 2 and clock.now_s > 170

    clock.on_listen = stop_it
    made.play(clock, lambda _: None)
    assert (made.sent, made.position_s) == (2, 60.0)
    assert clock.now_s < 171
