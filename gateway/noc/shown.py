"""When an alert first stood on a screen: noted as its frame is written, told to the alerts service soon after. Pure.

The service may commit the number of a frame after the frame was written: what it does not know yet is told again.
"""

from __future__ import annotations

from datetime import datetime

SHOWING = frozenset({"critical_alert", "alert_created"})
"""Frames that show an alert for the first time."""
TELLINGS = 5
"""So often a frame is told before it is taken for one whose alert is gone."""
REMEMBERED = 10_000


class Shown:
    """By tenant, frames that were written to a screen; each frame is noted once."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, tuple[datetime, int]]] = {}
        self._seen: dict[tuple[int, int], None] = {}

    def note(self, tenant_id: int, kind: str, frame_id: int, *, at: datetime) -> None:
        """A frame was written to somebody who can act on it."""
        key = (tenant_id, frame_id)
        if kind not in SHOWING or key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._waiting.setdefault(tenant_id, {})[frame_id] = (at, 0)

    def take(self) -> dict[int, dict[int, datetime]]:
        """What is to be told now: by tenant, when each frame was written. Follow with `settle` or `keep`."""
        return {
            tenant_id: {frame_id: at for frame_id, (at, _) in frames.items()}
            for tenant_id, frames in self._waiting.items()
            if frames
        }

    def settle(self, tenant_id: int, told: dict[int, datetime], *, unknown: list[int]) -> None:
        """These were told; those that nobody knows yet are told again, a few times."""
        frames = self._waiting.get(tenant_id, {})
        for frame_id in told:
            at, tellings = frames.pop(frame_id, (told[frame_id], TELLINGS))
            if frame_id in unknown and tellings + 1 < TELLINGS:
                frames[frame_id] = (at, tellings + 1)
