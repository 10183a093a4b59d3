"""Tests that a message on an alarm topic always raises an alert.

A message that no rule understands, or that is refused, is described in plain words.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

ALERTS = "SELECT alert_type, severity, dedup_key, message FROM mqtt_device_alert WHERE source_id = %s"
CLEARED = "SELECT alert_type FROM mqtt_device_alert WHERE source_id = %s AND cleared_at IS NOT NULL"

WITHOUT_MEANING: dict[str, dict[str, Any]] = {
    "a motion detector": {"type": "MOTION", "state": "DETECTED"},
    "a door": {"type": "DOOR", "state": "OPEN"},
    "a temperature": {"type": "TEMPERATURE", "value": 81.5},
    "a humidity": {"type": "HUMIDITY", "value": 99},
    "a type that nobody knows": {"type": "RADIATION", "level": "high"},
    "TTN v3": {"end_device_ids": {"device_id": "x"}, "uplink_message": {"f_port": 1, "frm_payload": "AQ=="}},
    "ChirpStack v4": {"deduplicationId": "3ac7", "deviceInfo": {"devEui": "0101"}, "data": "qg=="},
    "Tasmota": {"SENSOR": {"Switch1": "ACTION"}},
    "nothing at all": {},
}


@pytest.mark.parametrize("what", WITHOUT_MEANING)
def test_an_alarm_without_a_known_meaning_is_raised_in_plain_words(
    outside: OutsideClients, what: str
) -> None:
    source = f"sensor-{secrets.token_hex(6)}"
    outside.publish(f"sensor/{source}/alarm", WITHOUT_MEANING[what])
    [(alert_type, severity, dedup_key, message)] = outside.until(lambda: outside.rows(ALERTS, source))
    assert (alert_type, severity) == ("UNREADABLE_ALERT", "HIGH")
    assert dedup_key == f"UNREADABLE_ALERT:{source}:alarm"
    assert message.startswith("Alarm without a known meaning: type ")
    outside.publish(f"sensor/{source}/status", {"type": "DOOR", "state": "CLOSED"})
    outside.until(lambda: outside.rows(CLEARED, source))


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        ("alarm", {"type": "SMOKE", "state": "NORMAL"}),
        ("alarm", {"type": "DOOR", "state": "CLOSED"}),
        ("alarm", {"type": "UNKNOWN", "state": "CLEAR"}),
        ("alarm", {"type": "SMOKE", "value": 12}),
        ("status", {"type": "MOTION", "state": "DETECTED"}),
        ("reading", {"type": "TEMPERATURE", "value": 81}),
    ],
)
def test_what_is_calm_or_no_alarm_raises_nothing(
    outside: OutsideClients, word: str, sent: dict[str, Any]
) -> None:
    source, marker = f"sensor-{secrets.token_hex(6)}", f"sensor-{secrets.token_hex(6)}"
    outside.publish(f"sensor/{source}/{word}", sent)
    stored = "SELECT 1 FROM mqtt_sensor_reading WHERE sensor_id = %s"
    outside.until(lambda: outside.rows(stored, source))
    outside.publish(f"sensor/{marker}/alarm", {"type": "SMOKE", "state": "ALARM"})
    outside.until(lambda: outside.rows(ALERTS, marker))
    assert outside.rows(ALERTS, source) == []


@pytest.mark.parametrize("client_id", [999, "999", "somebody else", 0, 2])
def test_an_alarm_that_is_refused_for_its_claim_is_kept_and_told(
    outside: OutsideClients, client_id: object
) -> None:
    source = f"sensor-{secrets.token_hex(6)}"
    sent = {"type": "SMOKE", "state": "ALARM", "client_id": client_id}
    outside.publish(f"sensor/{source}/alarm", sent)
    [(alert_type, _, dedup_key, message)] = outside.until(lambda: outside.rows(ALERTS, source))
    assert (alert_type, dedup_key) == ("UNREADABLE_ALERT", f"UNREADABLE_ALERT:{source}:alarm")
    assert message.startswith("Alarm refused (identity mismatch): type SMOKE, state ALARM")
    kept = "SELECT reason FROM rejected_message WHERE source_id = %s"
    assert outside.rows(kept, source) == [("identity_mismatch",)]


def test_an_alarm_of_a_sensor_that_a_person_disabled_is_kept_and_raises_nothing(
    outside: OutsideClients,
) -> None:
    source, marker = f"sensor-{secrets.token_hex(6)}", f"sensor-{secrets.token_hex(6)}"
    run_vigil(outside.env, "device", "add", source, "--family", "sensor", "--no-credential")
    run_vigil(outside.env, "device", "disable", source, "--no-credential")
    outside.publish(f"sensor/{source}/alarm", {"type": "SMOKE", "state": "ALARM"})
    kept = "SELECT reason FROM rejected_message WHERE source_id = %s"
    outside.until(lambda: outside.rows(kept, source) == [("source_disabled",)])
    outside.publish(f"sensor/{marker}/alarm", {"type": "SMOKE", "state": "ALARM"})
    outside.until(lambda: outside.rows(ALERTS, marker))
    assert outside.rows(ALERTS, source) == []
