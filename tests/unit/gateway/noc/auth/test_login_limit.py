"""Tests of turns for expensive work: they are bounded and shared, and holders take turns."""

from __future__ import annotations

import eventlet
import pytest
from eventlet.event import Event

from gateway.noc.auth.login_limit import TurnQueue
from services.contracts.errors import TooMany


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


def test_a_queue_that_others_fill_has_a_place_for_somebody_new_and_holders_take_turns() -> None:
    # Given four holders that fill the queue, and one at work
    queue, until, done = TurnQueue("log-ins", at_once=1, waiting=16, wait_s=60), Event(), list[str]()
    holders = [f"greedy {n % 4}" for n in range(17)]
    threads = [eventlet.spawn(holding, queue, holder, until, done) for holder in holders]
    eventlet.sleep(0)
    assert done == []

    # When a new holder comes
    threads += [eventlet.spawn(holding, queue, "modest", until, done)]
    eventlet.sleep(0)

    # Then the newest request of a holder with the most is dropped, and the newcomer's turn comes
    # before their second ones
    eventlet.sleep(0)
    assert len(done) == 1
    assert done[0].startswith("greedy")
    assert done[0].endswith("refused")
    until.send(None)
    for thread in threads:
        thread.wait()
    assert done.index("modest") <= 6
    assert len(done) == 18


def test_a_queue_full_of_holders_with_one_request_each_refuses_the_next() -> None:
    queue, until, done = TurnQueue("log-ins", at_once=1, waiting=4, wait_s=60), Event(), list[str]()
    threads = [eventlet.spawn(holding, queue, f"holder {n}", until, done) for n in range(6)]
    eventlet.sleep(0)
    assert done == ["holder 5 refused"]
    until.send(None)
    for thread in threads:
        thread.wait()
    assert done[1:] == [f"holder {n}" for n in range(5)]


def test_whoever_did_not_fail_of_late_comes_before_those_who_did_and_has_a_place_among_equals() -> None:
    # Given five holders whose work failed, one at work while the others fill the queue, and an
    # honest one
    queue, until, done = TurnQueue("log-ins", at_once=1, waiting=4, wait_s=60), Event(), list[str]()
    for number in range(5):
        with pytest.raises(ValueError), queue.turn(f"busy {number}"):
            raise ValueError
    for _ in range(10):
        with queue.turn("honest"):
            pass
    threads = [eventlet.spawn(holding, queue, f"busy {number}", until, done) for number in range(5)]
    eventlet.sleep(0)

    # When the honest one comes again
    threads += [eventlet.spawn(holding, queue, "honest", until, done)]
    eventlet.sleep(0)
    until.send(None)
    for thread in threads:
        thread.wait()

    # Then it has the next turn, in the place of one of them
    assert [one for one in done if one.endswith("refused")] == ["busy 1 refused"]
    assert [one for one in done if not one.endswith("refused")][:2] == ["busy 0", "honest"]


def test_holders_that_never_fail_take_turns() -> None:
    queue, until, done = TurnQueue("files", at_once=1, waiting=16, wait_s=60), Event(), list[str]()
    holders = ["first", *["many"] * 4, "one", "other"]
    threads = [eventlet.spawn(holding, queue, holder, until, done) for holder in holders]
    eventlet.sleep(0)
    until.send(None)
    for thread in threads:
        thread.wait()
    assert done == ["first", "many", "one", "other", "many", "many", "many"]


def test_a_request_that_is_given_up_while_it_waits_leaves_its_place_and_keeps_no_turn() -> None:
    queue, until, done = TurnQueue("log-ins", at_once=1, waiting=8, wait_s=60), Event(), list[str]()

    # Given one that waits and is killed before its turn, and one that is killed at the moment when
    # its turn comes
    with queue.turn("first"):
        before, at_its_turn = (eventlet.spawn(holding, queue, "killed", until, done) for _ in range(2))
        eventlet.sleep(0)
        before.kill()
    at_its_turn.kill()

    # Then the turn is free for the next
    with eventlet.Timeout(5), queue.turn("next"):
        assert done == []
