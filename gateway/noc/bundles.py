"""Frames of positions that go to many websocket sessions together. Pure: time comes in.

Each write to a session costs the same, for one frame or for five. With few sessions each frame goes at once. With
many, frames of positions wait for one another, so that writes take no more than a part of the time.
"""

from __future__ import annotations

from typing import NamedTuple

WRITE_S = 0.00005
"""What a write to one session costs the gateway."""
WRITES_SHARE = 0.2
"""The part of the time that writes of positions may take."""
AT_ONCE_S = 0.005
"""A shorter pause is none."""
LONGEST_PAUSE_S = 0.25
MOST_BYTES = 131_072
"""A larger bundle goes at once: a quarter of what may wait for a session."""


def pause_s(sessions: int) -> float:
    """Return the pause between two bundles to so many sessions."""
    found = sessions * WRITE_S / WRITES_SHARE
    return 0.0 if found < AT_ONCE_S else min(found, LONGEST_PAUSE_S)


class Bundle(NamedTuple):
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


class Bundles:
    """The frames of positions that wait, by tenant."""

    def __init__(self) -> None:
        self._held: dict[int, Bundle] = {}
        self._due_s: dict[int, float] = {}

    def add(self, tenant_id: int, frame_id: int, wire: bytes) -> None:
        """Hold a frame. `due` returns it when its time has come, at once after a pause."""
        held = self._held.setdefault(tenant_id, Bundle([], []))
        held.ids.append(frame_id)
        held.wires.append(wire)

    def take(self, tenant_id: int, *, sessions: int, now_s: float) -> Bundle | None:
        """Return what is held of a tenant, whether it is due or not; None when there is nothing."""
        held = self._held.pop(tenant_id, None)
        if held is not None:
            self._due_s[tenant_id] = now_s + pause_s(sessions)
        return held

    def due(self, *, now_s: float) -> list[int]:
        """Return the tenants whose frames are due."""
        return [
            tenant_id
            for tenant_id, held in self._held.items()
            if now_s >= self._due_s.get(tenant_id, now_s) or sum(map(len, held.wires)) >= MOST_BYTES
        ]

    def rest_s(self, *, now_s: float) -> float | None:
        """Return the seconds until something is due; None when nothing is held."""
        dues_s = [self._due_s.get(tenant_id, now_s) for tenant_id in self._held]
        return max(0.0, min(dues_s) - now_s) if dues_s else None

    def drop(self, tenant_id: int) -> None:
        """Forget a tenant: nobody of it is there any more."""
        self._held.pop(tenant_id, None)
        self._due_s.pop(tenant_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
        self._due_s.clear()
