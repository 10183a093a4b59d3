"""What one socket still has to send: bounded, and never short of an alert. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SUPERSEDED = frozenset({"positions", "device_status"})
"""Frames that a later one makes old: dropped first when there is no room."""


class Entry(NamedTuple):
    """One frame, framed for the wire already. `id` is None for what is not of the feed."""

    type: str
    id: int | None
    wire: bytes


class Outbox:
    """First in, first out. When full, the oldest superseded frame goes; without one, the socket must go."""

    def __init__(self, *, max_frames: int) -> None:
        if max_frames < 1:
            raise ValueError("an outbox holds at least one frame")
        self._max_frames = max_frames
        self._entries: deque[Entry] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> bool:
        """False when nothing may be dropped for it: the socket is too slow, and resumes later."""
        if len(self._entries) >= self._max_frames and not self._make_room(entry):
            return False
        if len(self._entries) < self._max_frames:
            self._entries.append(entry)
        return True

    def take(self) -> Entry | None:
        return self._entries.popleft() if self._entries else None

    def clear(self) -> None:
        self._entries.clear()

    def _make_room(self, entry: Entry) -> bool:
        """True when there is room now, or when `entry` itself was the one to drop."""
        for index, waiting in enumerate(self._entries):
            if waiting.type in SUPERSEDED:
                del self._entries[index]
                self.dropped += 1
                return True
        if entry.type in SUPERSEDED:
            self.dropped += 1
            return True
        return False
