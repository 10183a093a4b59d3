"""Tests of one device that sends expensive payloads to both lanes.

Panics of others, log-ins and reads go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients
from tests.torture.attacks.figures import (
    BACK_S,
    Figure,
    Figures,
    check_honest,
    running,
    seconds_until_as_before,
)
from tests.torture.attacks.honest import Honest

pytestmark = pytest.mark.long
SECONDS = 8.0
PAUSE_S = 0.2
"""Pause in seconds: five megabytes a second. Their content is to be expensive, not their number."""
SIZE = 1_000_000
PAYLOADS: dict[str, Callable[[], bytes]] = {
    "escaped quotes": lambda: b'"' + b'\\"' * (SIZE // 2) + b"[" * 40,
    "escaped backslashes": lambda: b'"' + b"\\" * SIZE + b"[" * 40,
    "open brackets": lambda: b"[" * SIZE,
    "open members": lambda: b'{"a":' * (SIZE // 5),
    "equal members": lambda: b"{" + b'"a":1,' * (SIZE // 6) + b'"a":1}',
    "members": lambda: b"{" + b",".join(b'"%d":0' % number for number in range(SIZE // 10)) + b"}",
    "digits": lambda: b'{"lat":' + b"9" * SIZE + b"}",
    "exponents": lambda: b'{"lat":' + b"1e" * (SIZE // 2) + b"}",
    "spaces": lambda: b" " * SIZE,
    "no text": lambda: b"\xff\xfe" * (SIZE // 2),
    "surrogates": lambda: b'{"message":"' + b"\\ud800" * (SIZE // 6) + b'"}',
    "numbers in text": lambda: b'{"timestamp":"' + b"1" * SIZE + b'"}',
}
TOPICS = ("alert/panic/{}", "guard/{}/gps", "sensor/{}/alarm", "device/{}/telemetry")


class Whole(NamedTuple):
    """The stack's own gateway."""

    bases: list[str]
    fronts: list[str]


@pytest.mark.parametrize("name", PAYLOADS)
def test_honest_work_goes_on_beside_payloads_that_are_dear_to_read(
    outside: OutsideClients, figures: Figures, name: str
) -> None:
    processes = running(outside)
    attacker = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"attacker-{outside.run}")
    evil, payload = f"guard-evil-{outside.run}", PAYLOADS[name]()
    ended = threading.Event()
    sent = 0

    def attack() -> None:
        nonlocal sent
        while not ended.wait(PAUSE_S):
            attacker.publish(TOPICS[sent % len(TOPICS)].format(evil), payload)
            sent += 1

    whole: Any = Whole([outside.base], [outside.base])
    honest = Honest(outside, whole, name.replace(" ", "-"))
    thread = threading.Thread(target=attack)
    try:
        alone = honest.work(3.0)
        started_s = time.monotonic()
        thread.start()
        beside = honest.work(SECONDS)
        ended.set()
        thread.join()
        back_s = seconds_until_as_before(honest, alone)
    finally:
        ended.set()
        honest.close()
        attacker.close()
    told = beside._replace(attack={"answers": {f"messages of {len(payload) / 1e6:.1f} MB": sent}})
    figures.note(Figure(f"payload: {name}", SECONDS, alone, told, 0, back_s))
    assert sent >= 0.5 * SECONDS / PAUSE_S, f"only {sent} were sent in {time.monotonic() - started_s:.0f} s"
    check_honest(alone, beside)
    assert back_s <= BACK_S
    assert running(outside) == processes, "a process was killed, or ended"
    # And a payload that raised nothing else on the alarm topic has raised the alert that says so
    kinds = outside.until(
        lambda: outside.rows("SELECT DISTINCT alert_type FROM mqtt_device_alert WHERE source_id = %s", evil)
    )
    assert {kind for (kind,) in kinds} <= {"PANIC", "UNREADABLE_ALERT"}
