"""Whether a peer reads what it is sent: behind every so many bytes goes a ping, whose answer proves it. Pure.

Bytes that the peer's kernel has taken prove nothing: it takes megabytes for a program that hangs. A slow line proves
enough as long as bytes arrive at its other end.
"""

from __future__ import annotations

PROVED_EVERY_BYTES = 65_536
LOOK_INTERVAL_S = 0.5


class Proof:
    """Of one connection. Bytes are counted from its beginning."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._sent_bytes = 0
        self._asked_at_bytes = 0
        self._is_awaited = False
        self._arrived_bytes = 0
        self._moved_s = 0.0

    @property
    def is_awaited(self) -> bool:
        return self._is_awaited

    def sent(self, size_bytes: int) -> None:
        self._sent_bytes += size_bytes

    @property
    def is_due(self) -> bool:
        """Whether a ping has to go out: one at a time."""
        return not self._is_awaited and self._sent_bytes - self._asked_at_bytes >= PROVED_EVERY_BYTES

    def asked(self, *, size_bytes: int, now_s: float) -> None:
        """A ping of this size is what is sent next. Said before: its answer may come before the sending returns."""
        self._is_awaited = True
        self._asked_at_bytes = self._sent_bytes + size_bytes
        self._moved_s = now_s

    def answered(self) -> None:
        """A pong came; that of a ping before will do, since the next bytes are asked about again."""
        self._is_awaited = False

    def is_missing(self, *, waiting_bytes: int, now_s: float) -> bool:
        """Whether the peer stalls: for `timeout_s` neither an answer, nor a byte more before the ping that arrived.

        `waiting_bytes` are those of all sent that its kernel has not confirmed.
        """
        if not self._is_awaited:
            return False
        arrived_bytes = min(self._sent_bytes - waiting_bytes, self._asked_at_bytes)
        if arrived_bytes > self._arrived_bytes:
            self._arrived_bytes, self._moved_s = arrived_bytes, now_s
        return now_s - self._moved_s >= self._timeout_s
