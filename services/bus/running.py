"""What runs without a message: timers, loops, and the resources that methods work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import eventlet
import structlog
from eventlet.event import Event
from nameko.extensions import DependencyProvider, Entrypoint
from nameko.timer import Timer

from services import metrics
from services.config import Config

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
HEALTHY_AFTER_S = 30.0


class Resource(DependencyProvider, Generic[T]):
    """Injects what `factory(config)` made once, at set-up; closed at stop when it can be."""

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


class MeasuredTimer(Timer):
    """A timer whose errors are counted and logged, and end nothing."""

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
        handled: tuple[Any, Any] = super().handle_result(worker_ctx, result, exc_info)
        return handled


class Loop(Entrypoint):
    """Runs a method for the service's whole life; back again with back-off when it raised or returned."""

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
            log.error("loop_ended", task=self.method_name, error=repr(error), again_in_s=pause_s)
            eventlet.sleep(pause_s)

    def _run_once(self) -> BaseException | None:
        ended = Event()

        def handle_result(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            ended.send(exc_info[1] if exc_info else None)
            return result, exc_info

        context = self.container.spawn_worker(self, (), {}, handle_result=handle_result)
        self._worker = self.container._worker_threads[context]
        return cast("BaseException | None", ended.wait())


def timer(interval_s: float, *, eager: bool = False) -> Callable[[F], F]:
    """Call the method every `interval_s` seconds, and with `eager` once at the start; never twice at once."""
    decorator: Callable[[F], F] = MeasuredTimer.decorator(interval=interval_s, eager=eager)
    return decorator


def loop(method: F) -> F:
    """Run the method for as long as the service lives; `GreenletExit` ends it at stop."""
    decorated: F = Loop.decorator(method)
    return decorated
