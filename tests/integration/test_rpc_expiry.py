"""Tests of a request that no caller waits for any more.

It is not done late, and not again after its worker died over it.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import msgspec
import pytest
from nameko.containers import ServiceContainer

from ops.run import nameko_config
from services.contracts.errors import Unanswered
from services.messaging import RpcProxy, loop, rpc
from services.platform.config import Config

TIMEOUT_S = 1.0


@pytest.fixture
def start(config: Config) -> Iterator[Callable[..., ServiceContainer]]:
    running: list[ServiceContainer] = []

    def run(cls: type, *, workers: int = 1, timeout_s: float = TIMEOUT_S) -> ServiceContainer:
        amqp = msgspec.structs.replace(config.amqp, rpc_timeout_s=timeout_s)
        patient = msgspec.structs.replace(config, amqp=amqp)
        settings = nameko_config(patient, cls.name)  # type: ignore[attr-defined]
        container = ServiceContainer(cls, {**settings, "max_workers": workers})
        container.start()
        running.append(container)
        return container

    yield run
    for container in running:
        container.kill()


def worker(name: str, done: list[int], takes_s: float) -> type:
    class Worker:
        @rpc
        def work(self, *, number: int) -> int:
            done.append(number)
            eventlet.sleep(takes_s if number else 0)
            return number

    Worker.name = name  # type: ignore[attr-defined]
    return Worker


def caller(name: str, numbers: list[int], answers: list[Any]) -> type:
    """Return a caller that asks for each number at once, with a green thread each."""

    class Caller:
        other = RpcProxy(name)

        @loop
        def ask_all(self) -> None:
            def ask(number: int) -> None:
                try:
                    answers.append(self.other.work(number=number))
                except Unanswered as error:
                    answers.append(error)

            for number in numbers:
                eventlet.spawn(ask, number)
            eventlet.sleep(600)

    Caller.name = f"caller-{name}"  # type: ignore[attr-defined]
    return Caller


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        eventlet.sleep(0.02)


def test_requests_behind_a_busy_worker_are_not_done_after_their_callers_left(start: Any) -> None:
    name, done, answers, later = f"s{secrets.token_hex(4)}", [], [], []  # type: ignore[var-annotated]
    start(worker(name, done, takes_s=3 * TIMEOUT_S))
    start(caller(name, [1, 2, 3, 4, 5, 6], answers))
    wait_until(lambda: len(answers) == 6)
    assert all(isinstance(answer, Unanswered) for answer in answers)
    wait_until(lambda: _ask_once(start, name, later))
    assert done[-1] == 0
    # The first request was at work, and one more may have been on its way to the worker already.
    assert len(done) - done.count(0) <= 2, done


def _ask_once(start: Any, name: str, later: list[Any]) -> bool:
    """Ask for 0, which takes no time. Several callers wait one after the other."""
    one: list[Any] = []
    container = start(caller(name, [0], one))
    wait_until(lambda: bool(one))
    container.kill()
    if one[0] == 0:
        later.append(0)
    return bool(later)


def test_what_killed_its_worker_is_given_to_no_other_after_its_time(start: Any) -> None:
    name, done, answers = f"s{secrets.token_hex(4)}", [], []  # type: ignore[var-annotated]
    first = start(worker(name, done, takes_s=600))
    start(caller(name, [7], answers))
    wait_until(lambda: done == [7])
    wait_until(lambda: len(answers) == 1)
    first.kill()  # the request was never acknowledged: RabbitMQ has it again
    start(worker(name, done, takes_s=0))
    later: list[Any] = []
    wait_until(lambda: _ask_once(start, name, later))
    assert done.count(7) == 1


def test_what_killed_its_worker_is_done_by_another_while_its_caller_waits(start: Any) -> None:
    name, done, answers = f"s{secrets.token_hex(4)}", [], []  # type: ignore[var-annotated]
    first = start(worker(name, done, takes_s=600))
    start(caller(name, [7], answers), timeout_s=30.0)
    wait_until(lambda: done == [7])
    start(worker(name, done, takes_s=0.01))
    first.kill()
    wait_until(lambda: len(answers) == 1)
    assert (answers, done) == ([7], [7, 7])


def test_answers_that_never_come_leave_nothing_behind(start: Any) -> None:
    name, done, answers = f"s{secrets.token_hex(4)}", [], []  # type: ignore[var-annotated]
    start(worker(name, done, takes_s=600), workers=4)
    asking = start(caller(name, list(range(1, 20)), answers))
    wait_until(lambda: len(answers) == 19)
    [listener] = [one for one in asking.subextensions if hasattr(one, "_reply_events")]
    assert listener._reply_events == {}
