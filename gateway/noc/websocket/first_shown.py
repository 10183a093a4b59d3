"""Times at which alerts were first shown in a session. Pure.

A time is noted when the alert's frame is written, and reported to the alerts service soon after.
The service may commit the number of a frame after the frame was written. So a frame that the
service does not know yet is reported again.
"""

from __future__ import annotations

from datetime import datetime

SHOWING = frozenset({"critical_alert", "alert_created"})
"""Frames that show an alert for the first time."""
TELLINGS = 5
"""Number of reports of a frame before its alert is taken for gone."""
REMEMBERED = 10_000


class FirstShown:
    """Frames that were written to a session, by tenant. Each frame is noted once."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, tuple[datetime, int]]] = {}
        self._seen: dict[tuple[int, int], None] = {}

    def note(self, tenant_id: int, kind: str, frame_id: int, *, at: datetime) -> None:
        """Record that a frame was written to a user who can handle alerts."""
        key = (tenant_id, frame_id)
        if kind not in SHOWING or key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._waiting.setdefault(tenant_id, {})[frame_id] = (at, 0)

    def take(self) -> dict[int, dict[int, datetime]]:
        """Return the frames to report now, with the time of each write, by tenant.

        Call `settle` afterwards.
        """
        return {
            tenant_id: {frame_id: at for frame_id, (at, _) in frames.items()}
            for tenant_id, frames in self._waiting.items()
            if frames
        }

    def settle(self, tenant_id: int, told: dict[int, datetime], *, unknown: list[int]) -> None:
        """Record reported frames.

        Frames that the service does not know yet are reported again, a few times.
        """
        frames = self._waiting.get(tenant_id, {})
        for frame_id in told:
            at, tellings = frames.pop(frame_id, (told[frame_id], TELLINGS))
            if frame_id in unknown and tellings + 1 < TELLINGS:
                frames[frame_id] = (at, tellings + 1)
