"""A question with a deadline of its own: whoever asks has an answer or an error in time, whatever the library does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import eventlet
from eventlet.event import Event

from services.errors import Unavailable

T = TypeVar("T")


def within(limit_s: float, ask: Callable[[], T]) -> T:
    """Return what `ask` returns, or raise what it raises. Raises `Unavailable` when that takes longer than `limit_s`.

    `ask` runs in a green thread of its own, which is ended at the deadline. A library that catches the timeouts of its
    caller, or waits while it closes a connection, holds up nobody but that thread.
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
