"""Sends the fixes of a recording as the guards' phones would, at a chosen speed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, Protocol

from ops.simulation.recordings.fixes import RecordedFix

LOOK_S = 0.2
"""Longest time until a stop is noticed."""


class PlayerConnection(Protocol):
    def publish(self, topic: str, payload: bytes) -> object: ...


class PlayerConnections(Protocol):
    """The guards' connections to the broker."""

    def of(self, source_id: str) -> PlayerConnection: ...

    def listen(self, *, wait_s: float) -> None: ...


class StopRequest:
    """Stop by Ctrl-C between two messages; a second Ctrl-C ends the command."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)


class RecordingPlayer:
    """Player of a recording, for one run.

    `guards` maps tracks to ids. `by` is added to the recorded times.
    """

    def __init__(
        self,
        fixes: Sequence[RecordedFix],
        guards: Mapping[str, str],
        *,
        by: timedelta,
        speed: float,
        run: str,
        stop: StopRequest,
    ) -> None:
        self._fixes = fixes
        self._guards = guards
        self._by = by
        self._speed = speed
        self._run = run
        self._stop = stop
        self.sent = 0

    @property
    def length_s(self) -> float:
        """Return the length of the recording by its own clock."""
        return (self._fixes[-1].at - self._fixes[0].at).total_seconds()

    @property
    def position_s(self) -> float:
        """Return the position up to which the recording has been sent."""
        if not self.sent:
            return 0.0
        return (self._fixes[self.sent - 1].at - self._fixes[0].at).total_seconds()

    def play(self, lines: PlayerConnections, say: Callable[[RecordingPlayer], None]) -> None:
        """Send all remaining fixes, until it is stopped; `say` is called often."""
        started_s, first = time.monotonic(), self._fixes[0].at
        for fix in self._fixes:
            due_s = started_s + (fix.at - first).total_seconds() / self._speed
            if not self._wait(lines, due_s, say):
                return
            guard_id = self._guards[fix.track]
            lines.of(guard_id).publish(f"guard/{guard_id}/gps", self._payload(fix))
            self.sent += 1

    def _wait(self, lines: PlayerConnections, due_s: float, say: Callable[[RecordingPlayer], None]) -> bool:
        """Wait until a fix is due; return False when the replay is stopped."""
        while True:
            if self._stop.asked:
                return False
            say(self)
            left_s = due_s - time.monotonic()
            lines.listen(wait_s=min(max(left_s, 0.0), LOOK_S))
            if left_s <= 0:
                return True

    def _payload(self, fix: RecordedFix) -> bytes:
        body: dict[str, Any] = {
            name: value
            for name in ("lat", "lon", "accuracy", "speed", "heading")
            if (value := getattr(fix, name)) is not None
        }
        if fix.mock:
            body["mock"] = True
        body |= {"timestamp": (fix.at + self._by).isoformat(), "msg_id": f"{self._run}-{self.sent}"}
        return json.dumps(body, separators=(",", ":")).encode()
