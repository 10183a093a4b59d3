"""Tests that many callers who ask at once cost one answer."""

import eventlet
import pytest
from eventlet.event import Event

from gateway.noc.api.shared_answers import RecentResult, SharedAnswer


def test_it_is_made_once_until_it_is_too_old() -> None:
    now, made = [100.0], []

    def make() -> int:
        made.append(now[0])
        return len(made)

    recent = RecentResult(make, max_age_s=1.0, clock=lambda: now[0])
    assert [recent.get() for _ in range(50)] == [1] * 50
    now[0] += 0.99
    assert recent.get() == 1
    now[0] += 0.01
    assert [recent.get(), recent.get()] == [2, 2]


def test_a_failure_is_not_kept() -> None:
    answers = iter([OSError("no directory"), 7])

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return int(answer)

    recent = RecentResult(make, max_age_s=1.0, clock=lambda: 0.0)
    with pytest.raises(OSError, match="no directory"):
        recent.get()
    assert recent.get() == 7


def test_who_asks_while_it_is_made_waits_for_the_same_answer() -> None:
    made, begun = [], Event()

    def make() -> int:
        made.append(1)
        begun.wait()
        return 7

    shared = SharedAnswer[int](max_age_s=1.0)
    asking = [eventlet.spawn(shared.get, make) for _ in range(20)]
    eventlet.sleep(0)
    begun.send(None)
    assert [one.wait() for one in asking] == [7] * 20
    assert made == [1]


def test_what_making_it_raises_is_raised_for_all_who_wait_and_not_kept() -> None:
    now, begun = [0.0], Event()

    def fail() -> int:
        begun.wait()
        raise OSError("no directory")

    shared = SharedAnswer[int](max_age_s=1.0, clock=lambda: now[0])
    asking = [eventlet.spawn(shared.get, fail) for _ in range(3)]
    eventlet.sleep(0)
    begun.send(None)
    for one in asking:
        with pytest.raises(OSError, match="no directory"):
            one.wait()
    assert shared.get(lambda: 1) == 1
    now[0] += 0.9
    assert shared.get(lambda: 2) == 1
    now[0] += 0.2
    assert shared.get(lambda: 3) == 3
