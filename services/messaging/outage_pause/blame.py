"""Detection of a message that brings a server down, among those that only wait for it. Pure.

An outage is no message's fault. A message that meets one waits, and the outage costs it no try. A
statement that crashes PostgreSQL looks the same. A message that is in hand at outages again and
again is to blame, and loses tries.
"""

from __future__ import annotations

TIMES = 3
REMEMBERED = 10_000
"""Messages that are remembered, the newest ones."""


class OutageBlame:
    """The outages that messages of one queue met. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._last_success_s = float("-inf")
        self._met: dict[str, tuple[float, int]] = {}

    @property
    def is_watching(self) -> bool:
        """Return whether any message has met an outage and not yet succeeded."""
        return bool(self._met)

    def meet(self, message_id: str, now_s: float, *, alone: bool) -> bool:
        """Note that a message met an outage; return True when it is to blame for it.

        A message is suspected in two cases. Others have succeeded since its last outage. Or the
        server was there, was given this message `alone`, and hung up. After `TIMES` suspicions the
        message is to blame, and is forgotten.
        """
        last_s, suspicions = self._met.pop(message_id, (None, 0))
        if alone or (last_s is not None and self._last_success_s > last_s):
            suspicions += 1
        if suspicions >= TIMES:
            return True
        self._met[message_id] = (now_s, suspicions)
        if len(self._met) > REMEMBERED:
            del self._met[next(iter(self._met))]
        return False

    def succeed(self, message_id: str, now_s: float) -> None:
        """Note that a message was handled, with whatever result."""
        self._met.pop(message_id, None)
        self._last_success_s = now_s
