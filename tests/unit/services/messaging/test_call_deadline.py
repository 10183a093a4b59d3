from __future__ import annotations

import time

import eventlet
import pytest
from eventlet.event import Event

from services.contracts.errors import Unavailable
from services.messaging import within

SOON_S = 5.0
"""Upper limit in seconds.

The tested call would take for ever, and a busy machine takes its time.
"""


def test_what_is_asked_in_time_is_returned() -> None:
    assert within(5.0, lambda: 7) == 7


def test_what_is_raised_in_time_is_raised() -> None:
    def refuse() -> None:
        raise KeyError("none such")

    with pytest.raises(KeyError, match="none such"):
        within(5.0, refuse)


def test_what_takes_too_long_is_ended_though_it_catches_every_error() -> None:
    # Given: a library that takes a time-out for one of the network and tries again, for ever
    ended = Event()

    def try_for_ever() -> None:
        try:
            while True:
                try:
                    Event().wait()
                except Exception:  # noqa: BLE001, S112 - as the library does
                    continue
        finally:
            ended.send(None)

    # When
    started_s = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):
        within(0.05, try_for_ever)

    # Then
    assert time.monotonic() - started_s < SOON_S
    with eventlet.Timeout(SOON_S):
        ended.wait()


def test_what_hangs_while_it_cleans_up_holds_up_nobody() -> None:
    def hang_twice() -> None:
        try:
            Event().wait()
        finally:
            Event().wait()

    started_s = time.monotonic()
    with pytest.raises(Unavailable):
        within(0.05, hang_twice)
    assert time.monotonic() - started_s < SOON_S


def test_two_questions_do_not_wait_for_each_other() -> None:
    pool = eventlet.GreenPool()

    def hang() -> str:
        try:
            within(0.3, lambda: Event().wait())
        except Unavailable as error:
            return str(error)
        return ""

    started_s = time.monotonic()
    assert list(pool.imap(lambda _: hang(), range(100))) == ["no answer within 0.3 s"] * 100
    assert time.monotonic() - started_s < SOON_S
