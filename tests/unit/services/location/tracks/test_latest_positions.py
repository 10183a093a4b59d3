from datetime import UTC, datetime

from services.contracts.events import FeedPosition
from services.location.tracks.latest_positions import LatestPositions


def position(guard: str, second: int) -> FeedPosition:
    at = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
    return FeedPosition(guard, 1.0, 2.0, None, None, None, at, at, True, False)


def test_only_the_newest_of_each_guard_is_handed_out_and_only_once() -> None:
    newest = LatestPositions()
    for item in (position("a", 1), position("a", 3), position("a", 2), position("b", 1)):
        newest.put(1, item)
    assert newest.tenants() == [1]
    assert sorted((p.guard_id, p.recorded_at.second) for p in newest.take(1)) == [("a", 3), ("b", 1)]
    assert newest.take(1) == []
    assert newest.tenants() == []


def test_what_could_not_be_sent_waits_again_unless_something_newer_came() -> None:
    newest = LatestPositions()
    newest.put(1, position("a", 5))
    newest.put_back(1, [position("a", 1), position("b", 1)])
    assert sorted((p.guard_id, p.recorded_at.second) for p in newest.take(1)) == [("a", 5), ("b", 1)]
