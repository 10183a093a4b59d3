"""Tell a message that brings a server down from those that only wait for it. Pure.

An outage is nobody's fault, so what meets one waits and costs its message no try. A statement that crashes PostgreSQL
looks the same: a message that is found at the scene again and again is to blame, and costs itself its tries.
"""

from __future__ import annotations

TIMES = 3
REMEMBERED = 10_000
"""So many messages are remembered, the newest of them."""


class Blame:
    """What messages of one queue met. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._last_success_s = float("-inf")
        self._met: dict[str, tuple[float, int]] = {}

    @property
    def is_watching(self) -> bool:
        """Return whether any message has met an outage and not yet succeeded."""
        return bool(self._met)

    def meet(self, message_id: str, now_s: float, *, alone: bool) -> bool:
        """Note that a message met an outage; return True when it is to blame for it.

        It is suspected when others have succeeded since its last outage, and when the server was there, was given
        this message `alone`, and hung up. After `TIMES` suspicions it is to blame, and forgotten.
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
        """Note that a message was handled, whatever came of it."""
        self._met.pop(message_id, None)
        self._last_success_s = now_s
