"""Several location processes at one queue, as RabbitMQ would have it.

An order that was not acknowledged is delivered again.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ops.environment import PROJECT
from services.contracts.families import FixBatch
from tests.oracle.worker import Order, Told, receive, send

SILENT_S = 60.0
Hears = Callable[[Told], None]


class Worker:
    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.oracle.worker"]
        # The directory for counts of processes is the stack's, and this process is not part of
        # the stack.
        own = {name: value for name, value in environment.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=own, cwd=Path(PROJECT)
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._orders, self.told = self._child.stdin, self._child.stdout
        self.doing: Order | None = None

    def give(self, order: Order) -> None:
        self.doing = order
        send(self._orders, order)

    def hear(self) -> Told | None:
        """Return the worker's next message, or None when the worker is dead."""
        return receive(self.told, Told)

    def stop(self) -> int:
        self._orders.close()
        self.told.close()
        self._child.kill()
        return self._child.wait(timeout=SILENT_S)


class Queue:
    """A queue with `count` workers.

    A free worker takes the next order.

    The order of a dead worker is delivered again, to any worker.
    """

    def __init__(self, environment: Mapping[str, str], *, count: int, hears: Hears) -> None:
        self._environment = environment
        self._hears = hears
        self._workers = [Worker(environment) for _ in range(count)]
        self.deaths = 0

    def work_off(self, orders: list[Order]) -> None:
        """Give out the orders until all are acknowledged."""
        waiting = deque(orders)
        while waiting or any(worker.doing for worker in self._workers):
            for worker in self._workers:
                if waiting and worker.doing is None:
                    worker.give(waiting.popleft())
            busy = [worker for worker in self._workers if worker.doing is not None]
            ready, _, _ = select.select([worker.told for worker in busy], [], [], SILENT_S)
            assert ready, f"no worker has said anything for {SILENT_S:.0f} s"
            for worker in [worker for worker in busy if worker.told in ready]:
                self._hear(worker, waiting)

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def _hear(self, worker: Worker, waiting: deque[Order]) -> None:
        told = worker.hear()
        if told is None:
            assert worker.doing is not None
            assert worker.doing.dies, (
                "a worker died that was not told to: look at its words on standard error"
            )
            waiting.appendleft(Order(worker.doing.batch, held=worker.doing.held))
            worker.stop()
            self._workers[self._workers.index(worker)] = Worker(self._environment)
            self.deaths += 1
        elif told.done:
            worker.doing = None
        elif told.event == "guard_fixes_held":
            waiting.append(Order(msgspec.msgpack.decode(told.body, type=FixBatch), held=True))
        else:
            self._hears(told)


def orders_of(batches: list[FixBatch], deaths: Mapping[int, str]) -> list[Order]:
    """Return an order for each batch.

    `deaths` has the batches at which a worker dies, and the point in its work.
    """
    return [Order(batch, deaths.get(nth, "")) for nth, batch in enumerate(batches)]
