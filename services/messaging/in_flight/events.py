"""The events that a process has in hand, and the fate of one that the process does not survive.

RabbitMQ delivers an event again when its process ends, twenty times at most
(`amqp.delivery_limit`). Until then all events behind it wait. A note of each event in hand outlives
the process (`services/supervision/crash_marker`). An event in whose handling the process ended is
handled alone from then on. After `POISON_STRIKES` ends it goes to the dead letters.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import eventlet
import structlog
from eventlet.event import Event
from nameko.extensions import SharedExtension

from services.contracts.errors import InvalidMessage
from services.messaging.in_flight.suspects import SuspectTurns
from services.supervision import poison, restarts
from services.supervision.crash_marker import MOST_HANDS, CrashMarker

log = structlog.get_logger(__name__)

POISON_STRIKES = 3
"""Ends after which an event goes to the dead letters.

The first end leaves several suspects; at the next two, each was alone. One such end may be a kill
from outside.
"""


class InFlightNotes:
    """The notes and turns of one file of notes.

    All services of a process share them, so that a suspect is alone in the process.
    """

    def __init__(self, path: Path | None) -> None:
        self.marker = CrashMarker(path)
        self.turns = SuspectTurns()
        self.free = list(range(MOST_HANDS))


_notes: weakref.WeakValueDictionary[Path, InFlightNotes] = weakref.WeakValueDictionary()


def _notes_of(path: Path | None) -> InFlightNotes:
    found = InFlightNotes(path) if path is None else _notes.get(path) or InFlightNotes(path)
    if path is not None:
        _notes[path] = found
    return found


class InFlightEvents(SharedExtension):
    """The process's notes and turns, shared by all its handlers."""

    def setup(self) -> None:
        self._notes = _notes_of(restarts.own_path("handling"))
        self._marker, self._turns, self._free = self._notes.marker, self._notes.turns, self._notes.free

    def take(
        self, queue: str, message: Any, run: Callable[[Callable[[], None]], None]
    ) -> InvalidMessage | None:
        """Call `run` when the event may be handled, with the function to call at the end.

        Returns:
            None, or the fault when the process has ended too often while it handled this event.
        """
        digest = poison.digest(queue, _identity(message))
        strikes = self._marker.strikes_of(digest)
        if strikes >= POISON_STRIKES:
            # The dead letters keep the event. An operator who sends it from there wants it to be
            # tried again.
            self._marker.forget(digest)
            return InvalidMessage(
                "poison",
                f"the process ended {strikes} times while it handled this event; it was not handled again",
            )

        def start() -> None:
            hand = self._free.pop() if self._free else None
            if hand is not None:
                self._marker.take(digest, hand)
            run(partial(self._done, digest, hand))

        if strikes:
            log.warning("event_isolated", queue=queue, strikes=strikes)

        self._turns.enter(start, alone=bool(strikes))
        return None

    def is_suspect(self, queue: str, message: Any) -> bool:
        """Return whether the process has ended before while it handled this event."""
        if not self._marker.has_strikes:
            return False
        return bool(self._marker.strikes_of(poison.digest(queue, _identity(message))))

    @contextmanager
    def together(self, events: Sequence[tuple[str, Any]]) -> Iterator[None]:
        """Note events (queue, message) that are handled together, until they are settled.

        None of them is a suspect.
        """
        ready = Event()
        self._turns.enter(ready.send, alone=False)
        ready.wait()

        hands = [self._free.pop() for _ in events[: len(self._free)]]
        for hand, (queue, message) in zip(hands, events, strict=False):
            self._marker.take(poison.digest(queue, _identity(message)), hand)

        try:
            yield
        finally:
            for hand in hands:
                self._marker.release(hand)
            self._free.extend(hands)
            eventlet.spawn_n(self._turns.leave)

    def _done(self, digest: bytes, hand: int | None) -> None:
        if hand is not None:
            self._marker.release(hand)
            self._free.append(hand)
        self._marker.forget(digest)
        # Not from here: the next event may have to wait for the worker that calls this.
        eventlet.spawn_n(self._turns.leave)


def _identity(message: Any) -> bytes:
    """Return the message id, which all deliveries and tries of an event share; else its bytes."""
    message_id = message.properties.get("message_id") or ""
    return message_id.encode() or bytes(message.body)
