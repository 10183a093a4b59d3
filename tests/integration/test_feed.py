"""Tests of the feed on a real Redis.

It is in order, has several writers, and says so when it no longer holds a frame.
"""

import json
import threading

import pytest

from services.contracts.errors import Unavailable
from services.feed.encryption import PlainSealer
from services.feed.stream import FeedReader, FeedWriter, stream_key
from services.platform import redis_client
from services.platform.config import Config


def writer(config: Config, **changes: object) -> FeedWriter:
    options = {"prefix": config.redis.key_prefix, "max_frames": 1000, **changes}
    return FeedWriter(redis_client.make_redis(config), PlainSealer(), **options)  # type: ignore[arg-type]


def read_all(config: Config, tenant_id: int = 1) -> list[tuple[int, int]]:
    found = FeedReader.from_config(config).read({tenant_id: 0}, count=10_000)
    return [(frame_id, json.loads(frame)["data"]) for _, frame_id, _, frame in found]


def test_frames_of_several_writers_have_growing_ids_and_none_is_lost(config: Config) -> None:
    def write(start: int) -> None:
        own = writer(config)
        for number in range(start, start + 100):
            own.publish(1, "t", number)

    threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frames = read_all(config)
    assert sorted(data for _, data in frames) == list(range(300))
    ids = [frame_id for frame_id, _ in frames]
    assert ids == sorted(set(ids))


def test_a_writer_whose_clock_is_behind_catches_up(config: Config) -> None:
    ahead = writer(config, clock=lambda: 2_000_000_000.0).publish(1, "t", "ahead")
    assert writer(config, clock=lambda: 1_700_000_000.0).publish(1, "t", "behind") == ahead + 1


def test_a_reader_knows_what_is_held_and_what_is_not(config: Config) -> None:
    frames = writer(config)
    reader = FeedReader.from_config(config)
    reader.begin(reader.server())
    first = frames.publish(1, "t", 1)
    assert reader.holds(1, first)
    assert not reader.holds(1, first - 1)
    assert not reader.holds(2, first)
    assert reader.last_id(1) == first
    assert reader.last_id(2) == 0
    feed_id = reader.feed_id(1, fresh="a")
    redis_client.make_redis(config).delete(stream_key(config.redis.key_prefix, 1))
    assert not reader.holds(1, first)
    assert reader.feed_id(1, fresh="b") == feed_id == "a"


def test_nobody_goes_on_from_a_frame_of_the_time_before_another_server_took_over(config: Config) -> None:
    frames, reader = writer(config), FeedReader.from_config(config)
    reader.begin(reader.server())
    before = frames.publish(1, "t", 1)
    assert reader.holds(1, before)
    reader.begin(reader.server())
    assert not reader.holds(1, before), "frames between this one and the next may have been lost"
    assert reader.holds(1, frames.publish(1, "t", 2))


def test_redis_holds_no_plain_feed_data_when_sealed(config: Config) -> None:
    sealed = FeedWriter.from_config(config)
    sealed.publish(1, "critical_alert", {"message": "a very secret thing"})
    client = redis_client.make_redis(config)
    for key in client.scan_iter(f"{config.redis.key_prefix}:*"):
        assert b"very secret" not in client.dump(key)  # type: ignore[operator]


def test_an_absent_redis_is_unavailable(config: Config) -> None:
    import msgspec

    away = msgspec.structs.replace(
        config, redis=msgspec.structs.replace(config.redis, url="redis://127.0.0.1:1/0")
    )
    with pytest.raises(Unavailable):
        FeedWriter.from_config(away).publish(1, "t", 1)
    with pytest.raises(Unavailable):
        FeedReader.from_config(away).last_id(1)
