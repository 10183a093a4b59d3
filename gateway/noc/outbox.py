"""What one socket still has to send: bounded in frames and bytes, and never short of an alert. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SUPERSEDED = frozenset({"positions"})
"""Frames that a later one makes old: dropped first when there is no room."""


class Entry(NamedTuple):
    """One frame, framed for the wire already: all sockets share it. `id` is None for what is not of the feed."""

    type: str
    id: int | None
    wire: bytes


class Outbox:
    """First in, first out. When full, the oldest superseded frames go; without one, the socket must go.

    An empty outbox takes a frame of any size. So does `begin`, whatever waits: a snapshot may be larger than all that
    may wait, all sockets share its bytes, and it does not count.
    """

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        if max_frames < 1 or max_bytes < 1:
            raise ValueError("an outbox holds at least one frame of one byte")
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._entries: deque[tuple[Entry, int]] = deque()
        self.size_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_roomy(self) -> bool:
        """Whether more than half of it is free: whoever is being caught up waits for that."""
        return 2 * len(self._entries) < self._max_frames and 2 * self.size_bytes < self._max_bytes

    def begin(self, snapshot: Entry) -> None:
        """Where the client starts from: what waits stays before it."""
        self._entries.append((snapshot, 0))

    def put(self, entry: Entry) -> bool:
        """False when nothing may be dropped for it: the socket is too slow, and resumes later."""
        while not self._fits(entry):
            if not self._drop_oldest():
                self.dropped += entry.type in SUPERSEDED
                return entry.type in SUPERSEDED
        self._entries.append((entry, len(entry.wire)))
        self.size_bytes += len(entry.wire)
        return True

    def take(self) -> Entry | None:
        if not self._entries:
            return None
        entry, counted_bytes = self._entries.popleft()
        self.size_bytes -= counted_bytes
        return entry

    def clear(self) -> None:
        self._entries.clear()
        self.size_bytes = 0

    def _fits(self, entry: Entry) -> bool:
        if not self._entries:
            return True
        return len(self._entries) < self._max_frames and self.size_bytes + len(entry.wire) <= self._max_bytes

    def _drop_oldest(self) -> bool:
        """Whether there was a superseded frame to drop."""
        for index, (waiting, counted_bytes) in enumerate(self._entries):
            if waiting.type in SUPERSEDED:
                del self._entries[index]
                self.size_bytes -= counted_bytes
                self.dropped += 1
                return True
        return False
