"""A call with a deadline of its own: it answers or fails in time, whatever the library does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import eventlet
from eventlet.event import Event

from services.contracts.errors import Unavailable

T = TypeVar("T")


def within(limit_s: float, ask: Callable[[], T]) -> T:
    """Return the result of `ask`, or raise its error.

    `ask` runs in a green thread of its own, which is ended at the deadline. A library may catch the
    timeouts of its caller, or wait while it closes a connection. It then holds up only that thread.

    Raises:
        Unavailable: `ask` takes longer than `limit_s`.
    """
    answer: Event = Event()
    thread = eventlet.spawn(_answer, ask, answer)
    with eventlet.Timeout(limit_s, False):
        found: T = answer.wait()
        return found
    thread.kill()
    raise Unavailable(f"no answer within {limit_s:g} s")


def _answer(ask: Callable[[], T], answer: Event) -> None:
    try:
        found = ask()
    except Exception as error:
        answer.send_exception(error)
    else:
        answer.send(found)
