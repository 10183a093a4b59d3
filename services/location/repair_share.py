"""How much of a service's time the repairs of one guard's track may take, and how near checkpoints must be. Pure.

A guard whose track was just repaired is held for a multiple of the time that it took: meanwhile the guard's fixes wait
together elsewhere, and are one repair. Others' fixes wait for none of it.
"""

from __future__ import annotations

FREE_S = 0.02
"""A repair that took less holds nobody."""
SHARE = 0.1
"""Repairs of one guard take at most this part of the time, repairs of gathered fixes apart."""
LONGEST_HOLD_S = 10.0
WHILE_REPAIRED_S = 30.0
"""A repair that did not end within this time has failed."""
REMEMBERED = 100_000


class RepairShare:
    """Which guards are held, and until when."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether anybody may be held: nearly always nobody is, and nothing need be asked."""
        return bool(self._until_s)

    def is_held(self, guard_id: str, now_s: float) -> bool:
        """Return whether the guard's fixes have to wait; forget a hold that is over."""
        until_s = self._until_s.get(guard_id)
        if until_s is None:
            return False
        if until_s <= now_s:
            del self._until_s[guard_id]
            return False
        return True

    def begin(self, guard_id: str, now_s: float) -> None:
        """Hold a guard whose track is being repaired: others must not wait for the row that the repair locks."""
        self._until_s[guard_id] = now_s + WHILE_REPAIRED_S

    def end(self, guard_id: str, now_s: float, *, took_s: float) -> None:
        """Hold a guard by what the repair of its track took."""
        if took_s < FREE_S:
            self._until_s.pop(guard_id, None)
        else:
            self._until_s[guard_id] = now_s + min(took_s / SHARE, LONGEST_HOLD_S)


class Density:
    """Counts fixes of each guard since its last checkpoint. It is bounded, and lost at a restart."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._since: dict[str, int] = {}

    def is_due(self, guard_id: str, count: int) -> bool:
        """Add fixes of a guard; return whether there is to be a checkpoint before them."""
        before = self._since.get(guard_id, 0)
        if before + count > self._most and before:
            self._since[guard_id] = count
            return True
        if len(self._since) >= REMEMBERED:
            self._since.clear()
        self._since[guard_id] = before + count
        return False
