"""How much of a service's time the repairs of one guard's track may take, and how near checkpoints must be. Pure.

Each guard has a budget of time for repairs. While it is overdrawn the guard is held: the guard's fixes wait together
elsewhere, and are one repair. Others' fixes wait for none of it. What comes late now and then is within the budget,
also when the machine is slow: to hold fixes makes them late, and what is late costs a repair.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

BUDGET_S = 0.5
"""Repairs of a guard who had none for a while may take so long before the guard is held."""
SHARE = 0.1
"""In the long run, repairs of one guard take at most this part of the time, repairs of gathered fixes apart."""
LONGEST_HOLD_S = 10.0
WHILE_REPAIRED_S = 30.0
"""A repair that did not end within this time has failed."""
DEAR_STRETCHES = 4
"""A repair that looks at the track between so many checkpoints holds its guard from its beginning."""
FORGOTTEN_AT_ONCE = 4
REMEMBERED = 100_000


class _Spent(NamedTuple):
    seconds: float
    at_s: float

    def left(self, now_s: float) -> float:
        """What of it counts still."""
        return max(0.0, self.seconds - max(0.0, now_s - self.at_s) * SHARE)


NOTHING = _Spent(0.0, 0.0)


class RepairShare:
    """Which guards are held, and until when."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}
        self._spent: OrderedDict[str, _Spent] = OrderedDict()

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
        """Hold a guard whose repair is a dear one: others must not wait for the row that the repair locks."""
        self._until_s[guard_id] = now_s + WHILE_REPAIRED_S

    def end(self, guard_id: str, now_s: float, *, took_s: float) -> None:
        """Charge a guard with what the repair of its track took, and hold it as long as that is over its budget."""
        self._forget(now_s)
        most_s = BUDGET_S + LONGEST_HOLD_S * SHARE
        spent_s = min(most_s, self._spent.pop(guard_id, NOTHING).left(now_s) + took_s)
        self._spent[guard_id] = _Spent(spent_s, now_s)
        if spent_s <= BUDGET_S:
            self._until_s.pop(guard_id, None)
        else:
            self._until_s[guard_id] = now_s + (spent_s - BUDGET_S) / SHARE

    def _forget(self, now_s: float) -> None:
        """Drop those of whom nothing counts any more: they are the ones charged longest ago."""
        for _ in range(FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._spent), None)
            if oldest is None or self._spent[oldest].left(now_s) > 0.0:
                return
            del self._spent[oldest]


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
