"""Send queue of one socket, limited in frames and bytes. It never drops an alert. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SUPERSEDED = frozenset({"positions"})
"""Frames that a later frame replaces. They are dropped first when there is no room."""


class QueuedFrame(NamedTuple):
    """One frame, already framed for the wire and shared by all sockets.

    `id` is None for a frame that is not of the feed.
    """

    type: str
    id: int | None
    wire: bytes


class SendQueue:
    """First-in, first-out queue. A full queue drops its oldest superseded frames.

    When there is none to drop, the socket must close. An empty queue takes a frame of any size.
    `begin` always takes its snapshot and does not count it: a snapshot may be larger than the
    limit, and all sockets share its bytes.
    """

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        if max_frames < 1 or max_bytes < 1:
            raise ValueError("an outbox holds at least one frame of one byte")
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._entries: deque[tuple[QueuedFrame, int]] = deque()
        self.size_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_roomy(self) -> bool:
        """Return True when more than half of the queue is free.

        A socket that catches up waits for this.
        """
        return 2 * len(self._entries) < self._max_frames and 2 * self.size_bytes < self._max_bytes

    def begin(self, snapshot: QueuedFrame) -> None:
        """Add the snapshot that the client starts from, behind the waiting frames."""
        self._entries.append((snapshot, 0))

    def put(self, entry: QueuedFrame) -> bool:
        """Add an entry. Return False when nothing may be dropped for it: the socket is too slow.

        The client then resumes later. A superseded frame that does not fit is dropped, and the
        result is True.
        """
        while not self._fits(entry):
            if not self._drop_oldest():
                self.dropped += entry.type in SUPERSEDED
                return entry.type in SUPERSEDED
        self._entries.append((entry, len(entry.wire)))
        self.size_bytes += len(entry.wire)
        return True

    def take(self) -> QueuedFrame | None:
        if not self._entries:
            return None
        entry, counted_bytes = self._entries.popleft()
        self.size_bytes -= counted_bytes
        return entry

    def clear(self) -> None:
        self._entries.clear()
        self.size_bytes = 0

    def _fits(self, entry: QueuedFrame) -> bool:
        if not self._entries:
            return True
        return len(self._entries) < self._max_frames and self.size_bytes + len(entry.wire) <= self._max_bytes

    def _drop_oldest(self) -> bool:
        """Drop the oldest superseded frame. Return False when there is none."""
        for index, (waiting, counted_bytes) in enumerate(self._entries):
            if waiting.type in SUPERSEDED:
                del self._entries[index]
                self.size_bytes -= counted_bytes
                self.dropped += 1
                return True
        return False
