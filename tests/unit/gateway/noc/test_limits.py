"""Turns for dear work: bounded, shared out, first come first served."""

from __future__ import annotations

import eventlet
import pytest
from eventlet.event import Event

from gateway.noc.limits import TurnQueue
from services.errors import TooMany


def holding(queue: TurnQueue, holder: str, until: Event, done: list[str]) -> None:
    try:
        with queue.turn(holder):
            until.wait()
            done.append(holder)
    except TooMany:
        done.append(f"{holder} refused")


def test_beyond_those_at_work_a_quarter_of_the_queue_is_for_one_holder_and_the_rest_is_refused_at_once() -> (
    None
):
    queue, until, done = TurnQueue("files", at_once=1, waiting=8, wait_s=60), Event(), list[str]()
    threads = [eventlet.spawn(holding, queue, "greedy", until, done) for _ in range(6)]
    threads += [eventlet.spawn(holding, queue, "modest", until, done)]
    eventlet.sleep(0)
    assert done == ["greedy refused"] * 3
    until.send(None)
    for thread in threads:
        thread.wait()
    assert sorted(done[3:]) == ["greedy", "greedy", "greedy", "modest"]


def test_whoever_waits_too_long_is_refused_and_the_turn_goes_to_the_next() -> None:
    queue, until, done = TurnQueue("files", at_once=1, waiting=8, wait_s=0.01), Event(), list[str]()
    first = eventlet.spawn(holding, queue, "first", until, done)
    eventlet.sleep(0)
    with pytest.raises(TooMany, match="too many files at once") as refused, queue.turn("late"):
        pass
    assert refused.value.retry_after_s > 0
    until.send(None)
    first.wait()
    with queue.turn("late"):
        assert done == ["first"]


def test_a_turn_is_given_back_by_work_that_fails() -> None:
    queue = TurnQueue("files", at_once=1, waiting=0, wait_s=1)
    for _ in range(3):
        with pytest.raises(ValueError), queue.turn("a"):
            raise ValueError
