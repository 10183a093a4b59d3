"""Tests of a rotation of the feed's keys while the feed flows.

No frame is lost, and every frame can be decrypted.
"""

import json
import time

import pytest
import redis

from services.feed.stream import stream_key
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients


def test_a_rotation_under_load_loses_no_frame_and_the_old_key_opens_until_it_is_removed(
    outside: OutsideClients,
) -> None:
    old = next(iter(outside.ring.of_tenant(1)))
    screen = outside.screen()
    screen.wait("snapshot")
    start = screen.last_id
    source = f"guard-{outside.run}"
    rotated_s = None
    sent = 0
    began_s = time.monotonic()
    while rotated_s is None or len(screen.kids) < 2 or time.monotonic() - rotated_s < 8:
        assert time.monotonic() - began_s < 40, screen.kids
        sent += 1
        outside.publish(f"alert/panic/{source}-{sent}", {"severity": "critical"})
        outside.publish(f"guard/{source}/gps", {"lat": 12.9716, "lon": 77.5946, "accuracy": 5})
        if rotated_s is None and sent == 10:
            assert "in front" in run_vigil(outside.env, "keys", "rotate")
            rotated_s = time.monotonic()
    new = next(iter(outside.ring.of_tenant(1)))
    assert {old, new} <= screen.kids
    alerts = {f"{source}-{number}" for number in range(1, sent + 1)}
    outside.until(
        lambda: alerts <= {str(frame["data"]["source_id"]) for frame in screen.seen("critical_alert")}
    )
    held = [
        int(entry.split(b"-")[0])
        for entry, _ in outside.redis().xrange(stream_key("vigil", 1), min=start + 1)
    ]
    outside.until(lambda: screen.last_id >= held[-1])
    opened = [frame["id"] for frame in screen.seen() if frame.get("id") and frame["type"] != "snapshot"]
    assert [frame_id for frame_id in opened if frame_id in set(held)] == held

    listed = json.loads(run_vigil(outside.env, "keys", "list", "--json"))
    assert [key["kid"] for key in listed][:2] == [new, old]
    assert (listed[0]["use"], listed[1]["use"]) == ("seals and opens", "opens")
    assert "seals" in run_vigil(outside.env, "keys", "remove", new, check=False)
    run_vigil(outside.env, "keys", "remove", old)
    token = outside.token()
    outside.until(lambda: old not in outside.request("GET", "/api/v1/feed-keys", token=token)[1]["feed_keys"])
    screen.close()


def test_redis_holds_nothing_that_could_be_read(outside: OutsideClients) -> None:
    word = f"secret-{outside.run}"
    screen = outside.screen()
    screen.wait("snapshot")
    outside.publish(f"alert/panic/guard-{outside.run}", {"message": word})
    screen.wait("critical_alert", lambda frame: frame["data"]["message"] == word)
    client = outside.redis()
    for key in client.scan_iter("*"):
        try:
            held = client.dump(key)
        except redis.RedisError as error:
            pytest.fail(str(error))
        assert held is None or word.encode() not in held
