"""Bundles of position frames for many websocket sessions. Pure: time comes in.

A write to a session costs the same for one frame as for five. With few sessions each frame leaves
at once. With many sessions, position frames wait for one another, so that writes take only a part
of the time.
"""

from __future__ import annotations

from typing import NamedTuple

WRITE_S = 0.00005
"""Cost of a write to one session, in seconds."""
WRITES_SHARE = 0.2
"""Part of the time that writes of positions may take."""
AT_ONCE_S = 0.005
"""A shorter pause counts as none, in seconds."""
LONGEST_PAUSE_S = 0.25
MOST_BYTES = 131_072
"""A larger bundle leaves at once. It is a quarter of the bytes that may wait for a session."""


def pause_s(sessions: int) -> float:
    """Return the pause between two bundles to so many sessions, in seconds."""
    found = sessions * WRITE_S / WRITES_SHARE
    return 0.0 if found < AT_ONCE_S else min(found, LONGEST_PAUSE_S)


class PositionBundle(NamedTuple):
    """Frames of one tenant, framed for the wire, in the order of their ids."""

    ids: list[int]
    wires: list[bytes]

    @property
    def first_id(self) -> int:
        return self.ids[0]

    @property
    def last_id(self) -> int:
        return self.ids[-1]

    @property
    def wire(self) -> bytes:
        return b"".join(self.wires)


class PositionBundles:
    """Position frames that wait, by tenant."""

    def __init__(self) -> None:
        self._held: dict[int, PositionBundle] = {}
        self._due_s: dict[int, float] = {}

    def add(self, tenant_id: int, frame_id: int, wire: bytes) -> None:
        """Hold a frame.

        `due` lists its tenant when the pause is over: at once after a quiet time.
        """
        held = self._held.setdefault(tenant_id, PositionBundle([], []))
        held.ids.append(frame_id)
        held.wires.append(wire)

    def take(self, tenant_id: int, *, sessions: int, now_s: float) -> PositionBundle | None:
        """Return the frames that are held for a tenant, due or not; None when there are none."""
        held = self._held.pop(tenant_id, None)
        if held is not None:
            self._due_s[tenant_id] = now_s + pause_s(sessions)
        return held

    def due(self, *, now_s: float) -> list[int]:
        """Return the tenants with frames that are due."""
        return [
            tenant_id
            for tenant_id, held in self._held.items()
            if now_s >= self._due_s.get(tenant_id, now_s) or sum(map(len, held.wires)) >= MOST_BYTES
        ]

    def rest_s(self, *, now_s: float) -> float | None:
        """Return the seconds until a bundle is due; None when no frame is held."""
        dues_s = [self._due_s.get(tenant_id, now_s) for tenant_id in self._held]
        return max(0.0, min(dues_s) - now_s) if dues_s else None

    def drop(self, tenant_id: int) -> None:
        """Drop a tenant that has no websocket session any more."""
        self._held.pop(tenant_id, None)
        self._due_s.pop(tenant_id, None)

    def clear(self) -> None:
        """Drop all tenants."""
        self._held.clear()
        self._due_s.clear()
