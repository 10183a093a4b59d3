"""Timers, loops, and the resources that methods work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import eventlet
import structlog
from eventlet.event import Event
from nameko.extensions import DependencyProvider, Entrypoint, SharedExtension
from nameko.timer import Timer

from services.messaging.timer_pace import TimerPace
from services.platform import metrics
from services.platform.config import Config

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
HEALTHY_AFTER_S = 30.0


class Resource(DependencyProvider, Generic[T]):
    """Dependency that injects the object that `factory(config)` made once, at set-up.

    The object is closed at stop when it has `close`.
    """

    def __init__(self, factory: Callable[[Config], T]) -> None:
        self._factory = factory
        self._made: T | None = None

    def setup(self) -> None:
        self._made = self._factory(self.container.config["vigil"])

    def stop(self) -> None:
        close = getattr(self._made, "close", None)
        if close is not None:
            close()

    def get_dependency(self, worker_ctx: Any) -> T:  # noqa: ARG002 - Nameko's signature
        return cast(T, self._made)


class ServiceActivity(SharedExtension):
    """The time at which this service last handled an event or a call. It wakes resting timers."""

    def __init__(self) -> None:
        super().__init__()
        self.last_s = float("-inf")
        self._resting: list[Any] = []

    def note(self) -> None:
        """Note that something was handled now: it may have left work for a timer."""
        self.last_s = time.monotonic()
        if self._resting:
            self.wake()

    def wake(self) -> None:
        """End every rest."""
        resting, self._resting = self._resting, []
        for event in resting:
            event.send(None)

    def rest(self, timeout_s: float) -> bool:
        """Wait until something is handled; return False when nothing was within this time."""
        event = Event()
        self._resting.append(event)
        with eventlet.Timeout(timeout_s, False):
            event.wait()
            return True
        self._resting = [other for other in self._resting if other is not event]
        return False


class MeasuredTimer(Timer):
    """A timer whose errors are counted and logged, and end nothing.

    With `rest_s`, its method returns how many seconds it knows of nothing to do, `NOTHING_DUE` at
    most. It returns None when it did something. After a number the timer rests, for `rest_s` at
    most, until the service handles an event or a call.
    """

    activity = ServiceActivity()

    def __init__(
        self,
        interval: float,
        eager: bool = False,
        *,
        rest_s: float | None = None,
        awake_s: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._pace = None if rest_s is None else TimerPace(interval, rest_s, awake_s=awake_s)
        self._free_s: float | None = None
        super().__init__(interval, eager, **kwargs)

    def stop(self) -> None:
        self.should_stop.send(True)
        self.activity.wake()
        self.gt.wait()

    def _run(self) -> None:
        if self._pace is None:
            super()._run()
            return

        due_s = time.monotonic() + (0.0 if self.eager else self.interval)
        while not self._is_stopped_before(due_s):
            ran_s = time.monotonic()
            self.handle_timer_tick()
            self.worker_complete.wait()
            self.worker_complete.reset()
            due_s = self._rest(self._pace, ran_s)

    def _is_stopped_before(self, due_s: float) -> bool:
        with eventlet.Timeout(max(0.0, due_s - time.monotonic()), False):
            self.should_stop.wait()
        return bool(self.should_stop.ready())

    def _rest(self, pace: TimerPace, ran_s: float) -> float:
        """Return the time of the next run, once it is at the interval or a rest is over."""
        due_s = pace.next_s(ran_s=ran_s, active_s=self.activity.last_s, free_s=self._free_s)
        at_interval_s = ran_s + pace.interval_s
        if due_s > at_interval_s and self.activity.rest(due_s - time.monotonic()):
            return at_interval_s
        return due_s

    def handle_timer_tick(self) -> None:
        self._started = time.perf_counter()
        super().handle_timer_tick()

    def handle_result(self, worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        metrics.task_duration.labels(self.method_name).observe(time.perf_counter() - self._started)
        if exc_info is None:
            metrics.task_success.labels(self.method_name).inc()
        else:
            metrics.task_failure.labels(self.method_name, exc_info[0].__name__).inc()
            log.warning("timer_failed", task=self.method_name, error=str(exc_info[1]))

        self._free_s = None if exc_info else result
        if self._pace is not None and self._free_s is None:
            self.activity.note()  # the result of one timer may be work for another

        handled: tuple[Any, Any] = super().handle_result(worker_ctx, result, exc_info)
        return handled


class Loop(Entrypoint):
    """Entrypoint that runs a method for the service's whole life.

    When the method raised or returned, it is run again with back-off.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._runner: Any = None
        self._worker: Any = None
        self._stopping = False
        super().__init__(**kwargs)

    def start(self) -> None:
        self._runner = self.container.spawn_managed_thread(self._run)

    def stop(self) -> None:
        self._stopping = True
        if self._worker is not None:
            self._worker.kill()
        self._runner.kill()

    kill = stop

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            error = self._run_once()
            failures = 1 if time.monotonic() - started > HEALTHY_AFTER_S else failures + 1
            pause_s = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
            metrics.task_failure.labels(self.method_name, type(error).__name__).inc()
            log.error("loop_ended", task=self.method_name, error=repr(error), retry_in_s=pause_s)
            eventlet.sleep(pause_s)

    def _run_once(self) -> BaseException | None:
        ended = Event()

        def handle_result(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            ended.send(exc_info[1] if exc_info else None)
            return result, exc_info

        context = self.container.spawn_worker(self, (), {}, handle_result=handle_result)
        self._worker = self.container._worker_threads[context]
        return cast("BaseException | None", ended.wait())


def timer(
    interval_s: float, *, eager: bool = False, rest_s: float | None = None, awake_s: float = 0.0
) -> Callable[[F], F]:
    """Call the method every `interval_s` seconds, never twice at once.

    With `eager`, call it once at the start too. With `rest_s`, the timer rests while there is
    nothing to do (`MeasuredTimer`). It does not rest within `awake_s` after an event or a call.
    """
    decorator: Callable[[F], F] = MeasuredTimer.decorator(
        interval=interval_s, eager=eager, rest_s=rest_s, awake_s=awake_s
    )
    return decorator


def loop(method: F) -> F:
    """Run the method for as long as the service lives; `GreenletExit` ends it at stop."""
    decorated: F = Loop.decorator(method)
    return decorated
