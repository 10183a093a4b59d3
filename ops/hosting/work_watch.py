"""Ends a process that has work in hand and finishes none of it, although its loop turns.

Green threads may wait for each other, or for a helper that has died. The process then looks well:
connected, ready, with fresh metrics. The only sign is that no work is finished
(`services/supervision/work_in_hand`).

Each single wait has its own limit (statements, publishes, calls), so work that fails is finished
too. Only a frozen server can hold work for longer. Then the process waits, reports the server, and
is not ended. A restart would not help, and would be repeated for as long as the server does not
answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import eventlet
import structlog

from services.platform.config import SupervisionSettings
from services.supervision import sd_notify, work_in_hand

log = structlog.get_logger(__name__)

ASK_EVERY_S = 5.0


class WorkWatch:
    """The watch over the work of this process. `look` is called about once a second.

    `away` returns the servers that do not answer, and may take seconds. `end` ends the process,
    with the reason.
    """

    def __init__(
        self, limits: SupervisionSettings, *, away: Callable[[], list[str]], end: Callable[[str], None]
    ) -> None:
        self._limits = limits
        self._away = away
        self._end = end
        self._standing: dict[str, work_in_hand.StalledTime] = {}
        self._excused_s: dict[str, float] = {}
        self._asked_s = float("-inf")
        self._asking = False
        self._waits_for: list[str] = []
        self._said = ""

    def look(self, now_s: float) -> None:
        """Report work that stands still, and end the process when it is the cause itself."""
        parts = work_in_hand.parts()
        # A part that is not named has nothing in hand.
        self._standing = {name: self._standing.get(name, work_in_hand.StalledTime()) for name in parts}
        standing = {name: self._stood_s(name, part, now_s) for name, part in parts.items()}

        name, stood_s = max(standing.items(), key=lambda item: item[1], default=("", 0.0))
        if stood_s < min(self._limits.stall_timeout_s, self._limits.work_timeout_s):
            self._waits_for = []
            self._say("")
            return

        what = f"its work has stopped since {_since(stood_s)} ({parts[name].in_hand})"
        self._say(f"{what}; it waits for {', '.join(self._waits_for)}" if self._waits_for else what)

        if now_s - self._asked_s >= ASK_EVERY_S and not self._asking:
            self._asked_s, self._asking = now_s, True
            eventlet.spawn_n(self._ask)

        blamed = [
            part for part in standing if standing[part] - self._excused_s[part] >= self._limits.work_timeout_s
        ]
        for part in blamed:
            self._end(f"its work stood still for {standing[part]:.0f} s ({parts[part].in_hand})")

    def _stood_s(self, name: str, part: work_in_hand.PartWork, now_s: float) -> float:
        stood_s = self._standing[name].look(part, now_s)
        self._excused_s[name] = min(self._excused_s.get(name, 0.0), stood_s)
        return stood_s

    def _ask(self) -> None:
        try:
            self._waits_for = self._away()
        finally:
            self._asking = False
        if self._waits_for:
            self._excused_s = {name: standing.stood_s for name, standing in self._standing.items()}

    def _say(self, text: str) -> None:
        if text == self._said:
            return
        if text:
            log.warning("work_stalled", problem=text)
        else:
            log.info("work_resumed")
        if sd_notify.status(text):
            self._said = text


def _since(stood_s: float) -> str:
    return f"{datetime.now(UTC) - timedelta(seconds=stood_s):%H:%M} UTC"
