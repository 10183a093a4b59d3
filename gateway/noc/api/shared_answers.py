"""Answers that are expensive to make and may be a little old. Concurrent callers share one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from eventlet.event import Event

T = TypeVar("T")


class RecentResult(Generic[T]):
    """Result of `make`, not older than `max_age_s`.

    An exception of `make` is raised and not kept.
    """

    def __init__(
        self, make: Callable[[], T], *, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._max_age_s = max_age_s
        self._clock = clock
        self._kept: tuple[float, T] | None = None

    def get(self) -> T:
        now_s = self._clock()
        if self._kept is None or now_s - self._kept[0] >= self._max_age_s:
            self._kept = now_s, self._make()
        return self._kept[1]


class SharedAnswer(Generic[T]):
    """Answer that blocks while it is made.

    Requests that come meanwhile wait for the same answer.
    """

    def __init__(self, *, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_age_s = max_age_s
        self._clock = clock
        self._kept: tuple[float, T] | None = None
        self._at_work: Event | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return the result of `make`, not older than `max_age_s`.

        An exception of `make` is raised for all waiting callers.
        """
        if self._kept is not None and self._clock() - self._kept[0] < self._max_age_s:
            return self._kept[1]
        if self._at_work is not None:
            shared: T = self._at_work.wait()
            return shared

        self._at_work = at_work = Event()
        try:
            made = make()
        except BaseException as error:
            at_work.send_exception(error)
            raise
        else:
            self._kept = self._clock(), made
            at_work.send(made)
            return made
        finally:
            self._at_work = None
