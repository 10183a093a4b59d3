"""Tests of timers that rest until something is handled, or until the rest is over."""

from __future__ import annotations

from collections.abc import Iterator

import eventlet
import pytest
from nameko.containers import ServiceContainer

from services.messaging import NOTHING_DUE, timer
from services.messaging.timers import MeasuredTimer, ServiceActivity

INTERVAL_S = 0.05


class Resting:
    name = "resting"

    def __init__(self) -> None:
        pass

    @timer(INTERVAL_S, eager=True, rest_s=600)
    def look(self) -> float | None:
        RUNS.append(FREE_S[0])
        return FREE_S[0]


RUNS: list[float | None] = []
FREE_S: list[float | None] = [NOTHING_DUE]


@pytest.fixture
def container() -> Iterator[ServiceContainer]:
    RUNS.clear()
    FREE_S[0] = NOTHING_DUE
    made = ServiceContainer(Resting, {"AMQP_URI": "memory://"})
    made.start()
    yield made
    with eventlet.Timeout(5):
        made.stop()


def await_runs(count: int) -> None:
    with eventlet.Timeout(5):
        while len(RUNS) < count:
            eventlet.sleep(0.01)


def activity_of(container: ServiceContainer) -> ServiceActivity:
    [found] = [entrypoint for entrypoint in container.entrypoints if isinstance(entrypoint, MeasuredTimer)]
    return found.activity


def await_rest(container: ServiceContainer) -> None:
    with eventlet.Timeout(5):
        while not activity_of(container)._resting:
            eventlet.sleep(0.01)


def test_a_timer_with_nothing_to_do_rests_until_something_is_handled(container: ServiceContainer) -> None:
    await_runs(1)
    await_rest(container)
    assert len(RUNS) == 1
    activity_of(container).note()
    await_runs(2)


def test_a_timer_that_did_something_goes_on_at_its_interval(container: ServiceContainer) -> None:
    await_rest(container)
    FREE_S[0] = None
    activity_of(container).note()
    await_runs(5)
    FREE_S[0] = NOTHING_DUE
    await_rest(container)


def test_what_is_due_earlier_ends_the_rest(container: ServiceContainer) -> None:
    await_rest(container)
    FREE_S[0] = 2 * INTERVAL_S
    activity_of(container).note()
    await_runs(4)


def test_a_service_whose_timer_rests_stops_at_once(container: ServiceContainer) -> None:
    await_rest(container)
    with eventlet.Timeout(5):
        container.stop()
