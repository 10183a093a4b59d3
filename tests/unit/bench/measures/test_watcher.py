from datetime import UTC, datetime, timedelta

from bench.measures import watcher
from bench.measures.watcher import ShownItem, ShownItems

START = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fix(guard: str, recorded_s: float, received_s: float | None = None) -> ShownItem:
    return ShownItem(guard, at(recorded_s), None if received_s is None else at(received_s))


def test_a_position_is_shown_by_itself_or_by_a_newer_one_of_its_guard() -> None:
    seen = ShownItems()
    for number, guard in enumerate(["a", "a", "b", "a"]):
        seen.expect(str(number), guard, at(number))
    seen.take([fix("a", 1)], at_s=5.0, now_s=0.0)
    assert seen.came_s == {"0": 5.0, "1": 5.0}
    seen.take([fix("a", 3), fix("b", 2)], at_s=6.0, now_s=0.0)
    assert seen.came_s == {"0": 5.0, "1": 5.0, "2": 6.0, "3": 6.0}


def test_an_older_position_after_a_newer_one_went_back_and_a_repeated_one_did_not() -> None:
    seen = ShownItems()
    for seconds in (1, 3, 3, 2, 4):
        seen.take([fix("a", seconds)], at_s=0.0, now_s=0.0)
    assert seen.went_back == 1
    assert seen.newest == {"a": at(4)}


def test_guards_whose_newest_position_never_came_are_named() -> None:
    seen = ShownItems()
    seen.take([fix("a", 1), fix("b", 1)], at_s=0.0, now_s=0.0)
    assert seen.not_shown({"a": at(1), "b": at(2), "c": at(1)}) == ["b", "c"]


def test_the_age_of_a_marker_counts_from_its_receipt() -> None:
    seen = ShownItems()
    seen.take([fix("a", 0, received_s=1), fix("a", 0.5)], at_s=0.0, now_s=at(1.25).timestamp())
    assert seen.ages_s == [0.25]


def test_an_alert_is_known_by_its_source_when_it_first_came() -> None:
    seen = ShownItems()
    seen.take([ShownItem("guard-1")], at_s=1.0, now_s=0.0)
    seen.take([ShownItem("guard-1")], at_s=2.0, now_s=0.0)
    assert seen.came_s == {"alert:guard-1": 1.0}


def test_items_of_frames_are_positions_when_they_have_a_place() -> None:
    times = {"recorded_at": START.isoformat(), "received_at": at(1).isoformat()}
    assert watcher.item_of({"guard_id": "a", "lat": 1.0, **times}) == ShownItem("a", START, at(1))
    assert watcher.item_of({"source_id": "a", "severity": "HIGH"}) == ShownItem("a")
    assert watcher.is_snapshot('{"type":"snapshot","data":[]}')
    assert not watcher.is_snapshot('{"type":"positions","id":1,"data":"x"}')
