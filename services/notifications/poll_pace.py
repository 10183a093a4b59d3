"""Polling for due notifications: often while some are due, rarely while none is known. Pure."""

from __future__ import annotations

import heapq

POLL_S = 0.5
REST_S = 5.0
"""Seconds between polls for notifications that another process left."""
RESTLESS_S = 5.0
"""Seconds after the last due notification during which polls are frequent."""


class PollPace:
    """Polls of one channel. Times are seconds of one monotonic clock."""

    def __init__(self, *, now_s: float) -> None:
        self._restless_until_s = now_s + RESTLESS_S
        self._known_s: list[float] = []

    def found(self, *, now_s: float) -> None:
        """Note that something was due, or may be."""
        self._restless_until_s = max(self._restless_until_s, now_s + RESTLESS_S)

    def expect(self, at_s: float) -> None:
        """Note that something is due at a time."""
        heapq.heappush(self._known_s, at_s)

    def pause_s(self, *, now_s: float) -> float:
        """Return the seconds to wait after a poll that found nothing."""
        while self._known_s and self._known_s[0] <= now_s:
            self.found(now_s=heapq.heappop(self._known_s))
        if now_s < self._restless_until_s:
            return POLL_S
        return min([REST_S, *(at_s - now_s for at_s in self._known_s[:1])])
