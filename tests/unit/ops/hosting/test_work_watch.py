from collections.abc import Callable

import eventlet
import pytest

from ops.hosting.work_watch import WorkWatch
from services.platform.config import SupervisionSettings
from services.supervision import sd_notify, work_in_hand
from services.supervision.work_in_hand import PartWork

LIMITS = SupervisionSettings(stall_timeout_s=10, work_timeout_s=60)


class Watched:
    """A watch over one part of work, with the test's clock."""

    def __init__(self) -> None:
        self.parts = {"process_guard_gps": PartWork("8 process_guard_gps", 7)}
        self.away: list[str] = []
        self.ended: list[tuple[int, str]] = []
        self.said: list[str] = []
        self._now_s = 0
        self._watch = WorkWatch(
            LIMITS, away=lambda: self.away, end=lambda why: self.ended.append((self._now_s, why))
        )

    def run(self, seconds: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        for _ in range(seconds):
            meanwhile()
            self._watch.look(self._now_s)
            eventlet.sleep(0)  # the green thread that asks the servers
            if self.ended:
                return
            self._now_s += 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched()
    monkeypatch.setattr(work_in_hand, "_looks", [lambda: made.parts])
    monkeypatch.setattr(sd_notify, "status", lambda text: made.said.append(text) or True)
    return made


def test_work_that_stands_still_is_named_and_then_ends_the_process(watched: Watched) -> None:
    watched.run(11)
    assert len(watched.said) == 1
    assert watched.said[0].startswith("its work has stopped since ")
    assert watched.said[0].endswith(" UTC (8 process_guard_gps)")
    watched.run(100)
    assert watched.ended == [(60, "its work stood still for 60 s (8 process_guard_gps)")]


def test_a_process_whose_server_does_not_answer_is_not_ended_however_long(watched: Watched) -> None:
    watched.away = ["postgres"]
    watched.run(3600)
    assert watched.ended == []
    assert watched.said[-1].endswith("; it waits for postgres")


def test_a_server_that_is_back_gives_the_process_its_time_to_go_on(watched: Watched) -> None:
    watched.away = ["postgres"]
    watched.run(300)
    watched.away = []
    watched.run(50)
    assert watched.ended == []
    watched.parts = {"process_guard_gps": PartWork("8 process_guard_gps", 8)}
    watched.run(1)
    assert watched.said[-1] == ""
    # But a process that still does not go on is ended.
    watched.run(200)
    assert [why for _, why in watched.ended] == ["its work stood still for 60 s (8 process_guard_gps)"]


def test_one_part_that_stands_is_not_hidden_by_another_that_goes_on(watched: Watched) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        watched.parts["calls"] = PartWork("1 calls", calls)

    watched.run(100, call)
    assert [why for _, why in watched.ended] == ["its work stood still for 60 s (8 process_guard_gps)"]


def test_a_slow_piece_of_work_below_the_limit_is_left_alone(watched: Watched) -> None:
    for finished in range(10):
        watched.parts = {"calls": PartWork("1 calls", finished)}
        watched.run(55)
    assert watched.ended == []
    assert "" in watched.said
