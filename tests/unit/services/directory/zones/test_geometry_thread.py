"""Tests that shapes are judged one at a time, beside the thread that answers."""

import time

import eventlet
import pytest

from services.contracts.errors import Refused, TooMany
from services.directory.zones.geometry_thread import MOST, GeometryThread


def hold(seconds: float) -> float:
    """Keep a native thread busy. It uses Python's own clock there, not eventlet's."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        pass
    return began


def test_the_work_s_answer_and_its_refusal_come_back() -> None:
    thread = GeometryThread()
    assert thread.of(1)(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]

    def refuse() -> None:
        raise Refused("area is nothing")

    with pytest.raises(Refused, match="area is nothing"):
        thread.of(1)(refuse)
    assert thread.of(1)(len, "free again") == 10


def test_others_go_on_while_a_shape_is_judged() -> None:
    thread = GeometryThread()
    steps: list[float] = []

    def go_on() -> None:
        while True:
            steps.append(time.perf_counter())
            eventlet.sleep(0.005)

    other = eventlet.spawn(go_on)
    try:
        began = thread.of(1)(hold, 0.3)
    finally:
        other.kill()
    assert len([step for step in steps if began < step < began + 0.3]) >= 5


def test_one_is_judged_at_a_time_and_whoever_waits_too_long_is_told_to_come_again() -> None:
    thread = GeometryThread(longest_wait_s=0.2)
    first = eventlet.spawn(thread.of(1), hold, 0.5)
    eventlet.sleep(0)
    with pytest.raises(TooMany, match="try again"):
        thread.of(1)(hold, 0.0)
    assert first.wait()
    assert thread.of(1)(len, "free") == 4


def test_who_waits_is_served_in_the_order_of_coming() -> None:
    thread = GeometryThread()
    served: list[int] = []
    waiting = [eventlet.spawn(thread.of(tenant), served.append, tenant) for tenant in range(MOST)]
    for one in waiting:
        one.wait()
    assert served == [0, 1, 2]


def test_a_tenant_that_sends_many_shapes_leaves_a_place_to_another_and_is_told_at_once() -> None:
    thread = GeometryThread(longest_wait_s=5)
    many = [eventlet.spawn(thread.of(1), hold, 0.3) for _ in range(2)]
    eventlet.sleep(0)
    began = time.perf_counter()
    with pytest.raises(TooMany):
        thread.of(1)(hold, 0.0)
    other = eventlet.spawn(thread.of(2), hold, 0.0)
    eventlet.sleep(0)
    with pytest.raises(TooMany):
        thread.of(3)(hold, 0.0)
    assert time.perf_counter() - began < 0.25
    assert many[0].wait() < many[1].wait() < other.wait()
    assert thread.of(3)(len, "free") == 4
