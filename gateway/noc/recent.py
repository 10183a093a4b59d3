"""An answer that is dear to make and may be a little old: made once for all who ask at about the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What `make` returned, not older than `max_age_s`. What it raises is raised, and not kept."""

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
