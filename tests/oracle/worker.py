"""A location process for tests: `python -m tests.oracle.worker`.

Its parent sends what would come from the queue, and says when to die. The process hosts the real
service. Only RabbitMQ is replaced, by a pair of pipes. Each message is four bytes of length and
MessagePack. Events go up the pipe as they would go to RabbitMQ: an event that was written is
published, whatever happens afterwards.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import msgspec
from sqlalchemy import Connection

from services.contracts.families import FixBatch
from services.ingestion.effects import Event
from services.location.service import LocationParts, LocationService
from services.location.store import GuardOutcome, LocationStore
from services.platform import config


class Order(msgspec.Struct):
    """A batch, or no batch for the timers' work.

    `dies` is the point of death: within the transaction, after the commit, after publishing. `held`
    marks fixes of a guard that waited while its track was repaired.
    """

    batch: FixBatch | None = None
    dies: str = ""
    held: bool = False


class Told(msgspec.Struct):
    """An event that was published, or the end of an order, which is its acknowledgement."""

    event: str = ""
    body: bytes = b""
    done: bool = False


def send(pipe: IO[bytes], message: Any) -> None:
    body = msgspec.msgpack.encode(message)
    pipe.write(len(body).to_bytes(4, "big") + body)
    pipe.flush()


def receive(pipe: IO[bytes], kind: Any) -> Any:
    """Return the next message, or None at the end, even in the middle of a message."""
    length = _read(pipe, 4)
    body = None if length is None else _read(pipe, int.from_bytes(length, "big"))
    return None if body is None else msgspec.msgpack.decode(body, type=kind)


def _read(pipe: IO[bytes], count: int) -> bytes | None:
    """Return exactly `count` bytes, or None at the end of the pipe.

    A read of a pipe may return fewer bytes than were requested.
    """
    data = b""
    while len(data) < count:
        more = pipe.read(count - len(data))
        if not more:
            return None
        data += more
    return data


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Wire:
    """The receiver of the service's events."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self.order = Order()

    def publish_all(self, events: Sequence[Event]) -> None:
        if self.order.dies == "after the commit":
            die()
        for name, body in events:
            send(self._pipe, Told(name, msgspec.msgpack.encode(body)))
        if self.order.dies == "after publishing":
            die()


@contextmanager
def dying_within(dies: bool) -> Iterator[None]:
    """Die when the last rows of the transaction are written and none is committed."""
    real = LocationStore.put_states

    def put_and_die(self: LocationStore, connection: Connection, outcomes: Sequence[GuardOutcome]) -> None:
        real(self, connection, outcomes)
        die()

    if dies:
        LocationStore.put_states = put_and_die  # type: ignore[method-assign]
    yield
    LocationStore.put_states = real  # type: ignore[method-assign]


def main() -> None:
    settings = config.load()
    # The timer finds at once the work that it would find after seconds.
    location = msgspec.structs.replace(settings.location, settle_s=0.01)
    service: Any = LocationService()
    service.parts = LocationParts(msgspec.structs.replace(settings, location=location))
    # Other output to standard output is not a message.
    orders, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    service.events = wire = Wire(told)
    while (order := receive(orders, Order)) is not None:
        wire.order = order
        if order.batch is None:
            service.parts.store.owed.publish_overdue(wire.publish_all, older_than_s=0)
            service.tell_settled()
        else:
            with dying_within(order.dies == "within the transaction"):
                if order.held:
                    service.process_held_fixes([order.batch])
                else:
                    service.process_guard_gps([order.batch])
        send(told, Told(done=True))


if __name__ == "__main__":
    main()
