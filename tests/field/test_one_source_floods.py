"""Tests of one source that sends as fast as it can.

It harms no other source, and the record of its messages is complete.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.providers import Provider
from tests.support.customer import Customer
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

SENT = 3_000
GUARDS = 10
PRESSES = 3
PAUSE_S = 0.05
"""Seconds between two presses.

Beside the flood, a small machine can do no more than twenty a second.
"""
WITHIN_S = 0.5
LOADED = 5
"""Factor on the time of the slowest press before the flood.

On a machine that is busy already, a press may take so many times as long.
"""
IN_TIME = 9, 10
"""Share of presses that keep the limit: 9 of 10.

One press may wait for the disk, at the moment at which the servers flush the data of the flood.
"""
SLOWEST_S = 5.0
"""Seconds that no press exceeds.

Without shares for sources, most presses behind such a flood take minutes.
"""
OPEN = "status IN ('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS')"
OCCURRENCES = "SELECT occurrences FROM mqtt_device_alert WHERE source_id = %s AND alert_type = %s"
FLOODS = f"""
    SELECT source_id, message, {OPEN} FROM mqtt_device_alert
    WHERE source_id = ANY(%s) AND alert_type = 'EQUIPMENT_FAILURE' ORDER BY received_at
"""
ROWS = "SELECT count(*) FROM alert_timeline JOIN mqtt_device_alert USING (alert_id) WHERE source_id = %s"
FIXES = "SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s"
REFUSED = (
    "SELECT coalesce(sum(occurrences), 0), count(*) FROM rejected_message"
    " WHERE source_id = %s AND reason = 'rate_limited'"
)


class Flood:
    """The stock client, which sends lines of a file as fast as the broker takes them."""

    def __init__(
        self, outside: OutsideClients, topic: str, payloads: list[dict[str, Any]], directory: Path
    ) -> None:
        file = directory / topic.replace("/", "-")
        file.write_text("".join(json.dumps(payload) + "\n" for payload in payloads))
        port = outside.env["MQTT_BROKER_PORT"]
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", topic, "-l"]
        with file.open() as lines:
            self._process = subprocess.Popen(command, stdin=lines)

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def house(outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]) -> Iterator[Customer]:
    made = Customer(outside, tmp_path, outer, more_guards=GUARDS + 7)
    yield made
    made.close()


def fixes(count: int, *, within: timedelta = timedelta(seconds=2)) -> list[dict[str, Any]]:
    """Return fixes of a guard who stands. The last fix is of now."""
    began = datetime.now(UTC) - within
    return [
        {"lat": 12.9, "lon": 77.6, "timestamp": (began + within * (n + 1) / count).isoformat()}
        for n in range(count)
    ]


def test_a_flood_of_panics_and_one_of_fixes_delay_no_other_guards_panic(
    house: Customer, tmp_path: Path
) -> None:
    # Given a device that presses as fast as it can, and a phone that sends fixes as fast as it can
    outside, (presser, phone, *guards) = house.outside, house.more
    guards, others = guards[:GUARDS], guards[GUARDS:]
    alone_s = _press(outside, others)
    panics = [{"message": f"press {number}", "msg_id": f"m{number}"} for number in range(SENT)]
    floods = [
        Flood(outside, f"alert/panic/{presser}", panics, tmp_path),
        Flood(outside, f"guard/{phone}/gps", fixes(SENT), tmp_path),
    ]
    outside.until(lambda: outside.rows(OCCURRENCES, presser, "PANIC"))

    # When ten other guards press, some of them again
    took_s = _press(outside, guards)
    outside.until(lambda: all(flood.is_over for flood in floods), 20)

    # Then each press has its receipt at once
    assert len(took_s) == GUARDS * PRESSES
    kept, of = IN_TIME
    assert took_s[len(took_s) * kept // of - 1] < max(WITHIN_S, LOADED * alone_s[-1]), (alone_s, took_s)
    assert took_s[-1] < SLOWEST_S, took_s

    # And each press of the flood counts, on one alert with a short record
    outside.until(lambda: outside.rows(OCCURRENCES, presser, "PANIC") == [(SENT,)], 20)
    [(rows,)] = outside.rows(ROWS, presser)
    assert rows < 60

    # And the fixes within the rate are stored, and the others are counted beside one of them
    def accounted() -> bool:
        [(stored,)], [(refused, kept)] = outside.rows(FIXES, phone), outside.rows(REFUSED, phone)
        return stored >= 500 and stored + refused == SENT and kept <= 2

    outside.until(accounted, 20)

    # And both floods are alerts that end with them
    sources = [presser, phone]
    outside.until(lambda: {row[0] for row in outside.rows(FLOODS, sources)} == set(sources))
    for source, message, _ in outside.rows(FLOODS, sources):
        assert message.startswith(f"Source {source} sends ")
        assert "limit 50. Repeats are counted, others refused." in message
    outside.until(lambda: not any(row[2] for row in outside.rows(FLOODS, sources)), 30)
    assert len(outside.rows(FLOODS, sources)) == len(sources)


def _press(outside: OutsideClients, guards: list[str]) -> list[float]:
    """Press for all guards in turn; return the seconds until each receipt, in order."""
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"guards-{outside.run}")
    assert all(client.subscribe(f"receipt/{guard}") for guard in guards)
    sent_s: dict[tuple[str, str], float] = {}
    took_s: dict[tuple[str, str], float] = {}
    for number in range(PRESSES):
        for guard in guards:
            sent_s[guard, f"p{number}"] = time.monotonic()
            client.publish(
                f"alert/panic/{guard}", json.dumps({"message": "help", "msg_id": f"p{number}"}).encode()
            )
            _hear(client, sent_s, took_s, wait_s=PAUSE_S)
    client.until(lambda: _hear(client, sent_s, took_s) == len(sent_s), timeout_s=30)
    client.close()
    return sorted(took_s.values())


def _hear(
    client: MqttClient,
    sent_s: dict[tuple[str, str], float],
    took_s: dict[tuple[str, str], float],
    *,
    wait_s: float = 0.0,
) -> int:
    client.listen(wait_s=wait_s)
    for topic, payload, _ in client.heard:
        receipt = json.loads(payload)
        name = topic.removeprefix("receipt/"), receipt["msg_id"]
        if receipt["status"] == "stored" and name in sent_s:
            took_s.setdefault(name, time.monotonic() - sent_s[name])
    client.heard.clear()
    return len(took_s)


def test_a_phone_that_was_offline_may_send_all_that_it_kept(house: Customer, tmp_path: Path) -> None:
    # Given a phone that was offline for hours, and kept more than a burst
    outside, phone = house.outside, house.more[-1]

    # When it sends all of it as fast as it can
    flood = Flood(outside, f"guard/{phone}/gps", fixes(1_500, within=timedelta(hours=3)), tmp_path)

    # Then all of it is stored, and the phone is not a flood
    outside.until(lambda: outside.rows(FIXES, phone) == [(1_500,)], 30)
    assert flood.is_over
    assert outside.rows(REFUSED, phone) == [(0, 0)]
    assert outside.rows(FLOODS, [phone]) == []


def test_words_that_are_no_alert_type_cannot_be_used_to_raise_any_number_of_alerts(house: Customer) -> None:
    # Given a device whose alerts have a different word each
    outside, device = house.outside, house.more[-2]
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"words-{outside.run}")

    # When it sends more of them than it may, and a panic among them
    for number in range(1_200):
        client.publish(f"alert/word-{number}/{device}", b"{}")
        if number == 1_100:
            client.publish(f"alert/panic/{device}", b'{"message": "help"}')
    client.settle(1_201)

    # Then the panic is there, and the messages beyond the rate are refused and counted
    outside.until(lambda: outside.rows(OCCURRENCES, device, "PANIC") == [(1,)])
    raised = "SELECT count(*) FROM mqtt_device_alert WHERE source_id = %s AND alert_type = 'UNKNOWN'"

    def accounted() -> bool:
        [(found,)], [(refused, _)] = outside.rows(raised, device), outside.rows(REFUSED, device)
        return found + refused == 1_200 and refused > 0

    outside.until(accounted, 40)
    client.close()
