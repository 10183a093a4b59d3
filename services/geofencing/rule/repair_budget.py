"""Share of a service's time for repairs of one guard's track, and density of checkpoints. Pure.

Each guard has a budget of time for repairs. While the budget is overdrawn the guard is held: the
guard's fixes wait together elsewhere, and need one repair. The fixes of other guards do not wait
for it. Fixes that come late now and then are within the budget, also when the machine is slow.
Fixes that are held become late, and late fixes cost a repair.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

BUDGET_S = 0.5
"""Seconds that repairs of a guard who had none for a while may take before the guard is held."""
SHARE = 0.1
"""Greatest part of the time for repairs of one guard, in the long run.

Repairs of gathered fixes are not included.
"""
LONGEST_HOLD_S = 10.0
WHILE_REPAIRED_S = 30.0
"""A repair that did not end within this time has failed."""
DEAR_STRETCHES = 4
"""A repair with late fixes between this many pairs of checkpoints holds its guard at once."""
FORGOTTEN_AT_ONCE = 4
REMEMBERED = 100_000


class _Spent(NamedTuple):
    seconds: float
    at_s: float

    def left(self, now_s: float) -> float:
        """Return the seconds that still count."""
        return max(0.0, self.seconds - max(0.0, now_s - self.at_s) * SHARE)


NOTHING = _Spent(0.0, 0.0)


class RepairShare:
    """Guards that are held, and the ends of their holds."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}
        self._spent: OrderedDict[str, _Spent] = OrderedDict()

    def __bool__(self) -> bool:
        """Return True when some guard may be held. Nearly always no guard is held."""
        return bool(self._until_s)

    def is_held(self, guard_id: str, now_s: float) -> bool:
        """Return True when the guard's fixes have to wait. Forget a hold that is over."""
        until_s = self._until_s.get(guard_id)
        if until_s is None:
            return False
        if until_s <= now_s:
            del self._until_s[guard_id]
            return False
        return True

    def begin(self, guard_id: str, now_s: float) -> None:
        """Hold a guard whose repair is costly.

        Other guards must not wait for the row that the repair locks.
        """
        self._until_s[guard_id] = now_s + WHILE_REPAIRED_S

    def end(self, guard_id: str, now_s: float, *, took_s: float) -> None:
        """Charge a guard with the time that a repair took. Hold the guard while over budget."""
        self._forget(now_s)
        most_s = BUDGET_S + LONGEST_HOLD_S * SHARE
        spent_s = min(most_s, self._spent.pop(guard_id, NOTHING).left(now_s) + took_s)
        self._spent[guard_id] = _Spent(spent_s, now_s)
        if spent_s <= BUDGET_S:
            self._until_s.pop(guard_id, None)
        else:
            self._until_s[guard_id] = now_s + (spent_s - BUDGET_S) / SHARE

    def _forget(self, now_s: float) -> None:
        """Drop guards for whom nothing counts any more: they were charged longest ago."""
        for _ in range(FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._spent), None)
            if oldest is None or self._spent[oldest].left(now_s) > 0.0:
                return
            del self._spent[oldest]


class CheckpointCounter:
    """Count of the fixes of each guard since the last checkpoint.

    It is bounded, and lost at a restart.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._since: dict[str, int] = {}

    def is_due(self, guard_id: str, count: int) -> bool:
        """Add fixes of a guard. Return True when a checkpoint is due before them."""
        before = self._since.get(guard_id, 0)
        if before + count > self._most and before:
            self._since[guard_id] = count
            return True
        if len(self._since) >= REMEMBERED:
            self._since.clear()
        self._since[guard_id] = before + count
        return False
