"""Proof that a peer reads: a ping follows every so many bytes, and its answer is the proof. Pure.

Bytes that the peer's kernel has taken prove nothing: it takes megabytes for a program that hangs. A
slow line is proof enough as long as bytes arrive at the other end.
"""

from __future__ import annotations

PROVED_EVERY_BYTES = 65_536
LOOK_INTERVAL_S = 0.5


class StallDetector:
    """Proof for one connection. Bytes are counted from its beginning."""

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
        """Return True when a ping must be sent. Only one is pending at a time."""
        return not self._is_awaited and self._sent_bytes - self._asked_at_bytes >= PROVED_EVERY_BYTES

    def ping_sent(self, *, size_bytes: int, now_s: float) -> None:
        """Record the ping that is sent next, with its size.

        Call this before the send: the answer may come before the send returns.
        """
        self._is_awaited = True
        self._asked_at_bytes = self._sent_bytes + size_bytes
        self._moved_s = now_s

    def answered(self) -> None:
        """Record a pong.

        The pong of an earlier ping is enough, because the next bytes get a new ping.
        """
        self._is_awaited = False

    def is_missing(self, *, waiting_bytes: int, now_s: float) -> bool:
        """Return True when the peer stalls.

        A peer stalls when for `timeout_s` no pong came, and no further byte before the ping
        arrived. `waiting_bytes` are the sent bytes that the peer's kernel has not confirmed.
        """
        if not self._is_awaited:
            return False
        arrived_bytes = min(self._sent_bytes - waiting_bytes, self._asked_at_bytes)
        if arrived_bytes > self._arrived_bytes:
            self._arrived_bytes, self._moved_s = arrived_bytes, now_s
        return now_s - self._moved_s >= self._timeout_s
