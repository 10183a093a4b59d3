"""Tests that one phone whose fixes come late, into a dense track, delays no other guard's fixes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.field.test_one_source_floods import FIXES, Flood
from tests.providers import Provider
from tests.support.customer import Customer
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

DENSE = 4_000
DURING = timedelta(minutes=15)
LATE = 24
LATE_EVERY_S = 0.25
WITHIN_S = 0.3
LOADED = 3
"""Factor on the time of a fix before the late ones.

On a machine that is busy already, a fix may take so many times as long.
"""
REPAIRED = "SELECT count(*) FROM track_checkpoint WHERE guard_id = %s"


@pytest.fixture
def house(outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]) -> Iterator[Customer]:
    made = Customer(outside, tmp_path, outer, more_guards=2)
    yield made
    made.close()


def written(at: datetime, number: int) -> bytes:
    """Return a fix of a guard who walks to and fro."""
    body = {"lat": 12.9 + (number % 50) * 1e-5, "lon": 77.6, "accuracy": 5, "timestamp": at.isoformat()}
    return json.dumps(body | {"msg_id": f"f{number}"}).encode()


def test_late_fixes_of_one_phone_delay_no_other_guards_fixes(house: Customer, tmp_path: Path) -> None:
    # Given a phone that has sent thousands of fixes of one quarter of an hour, and one of now
    outside, (phone, other) = house.outside, house.more
    began = datetime.now(UTC) - DURING - timedelta(minutes=5)
    dense = [json.loads(written(began + DURING * n / DENSE, n)) for n in range(DENSE)]
    flood = Flood(outside, f"guard/{phone}/gps", dense, tmp_path)
    outside.until(lambda: outside.rows(FIXES, phone) == [(DENSE,)], 60)
    assert flood.is_over
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"late-{outside.run}")
    assert client.subscribe(f"receipt/{other}")
    client.publish(f"guard/{phone}/gps", written(datetime.now(UTC), DENSE))
    alone_s = sorted(_time_of_a_fix(client, other, number) for number in range(10))

    # When it sends four late fixes a second
    chance, took_s, late = random.Random(7), [], 0
    ends_s = time.monotonic() + LATE * LATE_EVERY_S
    while (left_s := ends_s - time.monotonic()) > 0:
        while late < LATE - left_s / LATE_EVERY_S:
            late += 1
            at = began + timedelta(seconds=chance.uniform(0, DURING.total_seconds()))
            client.publish(f"guard/{phone}/gps", written(at, DENSE + late))
        took_s.append(_time_of_a_fix(client, other, 100 + len(took_s)))

    # Then another guard's fixes are stored as soon as before
    took_s.sort()
    assert took_s[len(took_s) * 95 // 100] < max(WITHIN_S, LOADED * alone_s[-1]), (alone_s, took_s)

    # And all late ones are stored in the end
    outside.until(lambda: outside.rows(FIXES, phone) == [(DENSE + 1 + late,)], 30)
    assert outside.rows(REPAIRED, phone)[0][0] >= DENSE / 250 - 1
    client.close()


def _time_of_a_fix(client: MqttClient, guard: str, number: int) -> float:
    """Return the seconds from a fix to its receipt."""
    began_s = time.monotonic()
    client.publish(f"guard/{guard}/gps", written(datetime.now(UTC), number))
    client.until(
        lambda: any(json.loads(payload)["msg_id"] == f"f{number}" for _, payload, _ in client.heard),
        timeout_s=30,
    )
    client.heard.clear()
    return time.monotonic() - began_s
