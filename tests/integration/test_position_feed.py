"""Tests of positions on their way to a real Redis.

The first one goes at once. Each process has its own pace, and none is lost.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import eventlet
import msgspec

from services.contracts.events import FeedPosition
from services.feed.encryption import PlainSealer
from services.feed.stream import FeedReader, FeedWriter
from services.location.live_positions.position_feed import PositionFeed
from services.platform import metrics, redis_client
from services.platform.config import Config

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = 1


def writer(config: Config) -> FeedWriter:
    return FeedWriter(
        redis_client.make_redis(config), PlainSealer(), prefix=config.redis.key_prefix, max_frames=10_000
    )


def process(config: Config, *, longest_s: float = 0.25) -> PositionFeed:
    """Return the feed that one location process publishes positions with."""
    return PositionFeed(writer(config), shortest_s=0.03, longest_s=longest_s)


@contextmanager
def running(*feeds: PositionFeed) -> Iterator[None]:
    threads = [eventlet.spawn(feed.run) for feed in feeds]
    try:
        with eventlet.Timeout(20):
            yield
    finally:
        for thread in threads:
            thread.kill()


def position(guard: str, second: int) -> FeedPosition:
    at = NOW + timedelta(seconds=second)
    return FeedPosition(guard, 1.0, 2.0, None, None, None, at, at, True, False)


def shown(config: Config, tenant_id: int = TENANT) -> list[list[tuple[str, str]]]:
    """Return the frames of positions, in order, with guard and time of each position."""
    found = FeedReader.from_config(config).read({tenant_id: 0}, count=10_000)
    return [
        [(item["guard_id"], item["recorded_at"]) for item in json.loads(frame)["data"]]
        for _, _, _, frame in found
    ]


def wait_for(config: Config, frames: int, tenant_id: int = TENANT) -> list[list[tuple[str, str]]]:
    while len(found := shown(config, tenant_id)) < frames:
        eventlet.sleep(0.002)
    return found


def test_a_lone_position_is_shown_at_once_and_those_that_follow_soon_go_together(config: Config) -> None:
    # Given a process that has published nothing for a while, and whose next round is long after
    # a round
    feed = process(config, longest_s=0.5)
    feed._pace._shortest_s = 0.5
    with running(feed):
        # When a position comes, then it is published without any other one
        feed.put(TENANT, position("a", 1))
        assert [len(frame) for frame in wait_for(config, 1)] == [1]

        # When several come after it, then they are published together, the newest of each guard
        for second in (2, 3):
            feed.put(TENANT, position("a", second))
            feed.put(TENANT, position("b", second))
        frames = wait_for(config, 2)
    assert sorted(guard for guard, _ in frames[1]) == ["a", "b"]
    assert all(at.startswith("2026-01-01T00:00:03") for _, at in frames[1])
    assert len(frames) == 2


def test_two_processes_show_what_each_has_stored_and_none_waits_for_the_other(config: Config) -> None:
    # Given two processes, and one of them has positions to publish all the time
    busy, other = process(config), process(config)
    with running(busy, other):
        for turn in range(10):
            # When both store a position
            busy.put(TENANT, position("busy", turn))
            other.put(TENANT, position("other", turn))

            # Then both are published before the next ones come
            wanted = {("busy", turn), ("other", turn)}
            while True:
                seen = {(guard, int(at[17:19])) for frame in shown(config) for guard, at in frame}
                if wanted <= seen:
                    break
                eventlet.sleep(0.002)


def test_no_tenant_s_positions_wait_for_another_tenant_s(config: Config) -> None:
    feed = process(config)
    with running(feed):
        for tenant_id in (1, 2, 3):
            feed.put(tenant_id, position("a", 1))
        for tenant_id in (1, 2, 3):
            assert len(wait_for(config, 1, tenant_id)) == 1


def test_positions_that_redis_did_not_take_are_shown_when_it_is_back(config: Config) -> None:
    # Given a Redis that is away
    away = msgspec.structs.replace(
        config, redis=msgspec.structs.replace(config.redis, url="redis://127.0.0.1:1/0")
    )
    feed = process(away)
    failures = metrics.task_failure.labels("show_positions", "Outage")
    before = failures._value.get()
    with running(feed):
        feed.put(TENANT, position("a", 1))
        while failures._value.get() == before:
            eventlet.sleep(0.005)

        # When a newer position of one guard and one of another come meanwhile, and Redis is back
        feed.put(TENANT, position("a", 2))
        feed.put(TENANT, position("b", 1))
        feed._feed = writer(config)
        frames = wait_for(config, 1)

    # Then the newest of each is published
    assert sorted((guard, at[17:19]) for guard, at in frames[0]) == [("a", "02"), ("b", "01")]


def test_what_waits_when_the_process_stops_is_shown(config: Config) -> None:
    feed = process(config)
    feed.put(TENANT, position("a", 1))
    feed.close()
    assert [len(frame) for frame in shown(config)] == [1]
    feed.close()
    assert len(shown(config)) == 1
