"""The next run of a timer: at its interval while there may be work, and later otherwise. Pure."""

from __future__ import annotations

NOTHING_DUE = float("inf")
"""Returned by a resting timer's method that found no work, and knows of none due later."""


class TimerPace:
    """The pace of one timer. Times are seconds of one clock that only moves on.

    Args:
        interval_s: Seconds between two runs while there is work.
        rest_s: Most seconds between two runs while there is none.
        awake_s: Seconds after an event or a call of the service in which there may be work.
    """

    def __init__(self, interval_s: float, rest_s: float, *, awake_s: float = 0.0) -> None:
        if rest_s < interval_s:
            raise ValueError("a timer does not rest for less than its interval")
        self.interval_s = interval_s
        self._rest_s = rest_s
        self._awake_s = awake_s

    def next_s(self, *, ran_s: float, active_s: float, free_s: float | None) -> float:
        """Return the time of the next run.

        Args:
            ran_s: The time at which the last run began.
            active_s: The time at which the service last handled an event or a call.
            free_s: Seconds for which the run knows of nothing to do; None when it found work, or
                failed.
        """
        if free_s is None or active_s >= ran_s - self._awake_s:
            return ran_s + self.interval_s
        return ran_s + min(max(free_s, self.interval_s), self._rest_s)
