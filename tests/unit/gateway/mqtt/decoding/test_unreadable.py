from datetime import UTC, datetime

import pytest

from gateway.mqtt.decoding import topics, unreadable
from services.contracts.errors import InvalidMessage
from services.contracts.events import AlertType, DeviceAlert, Severity

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def alert_of(text: str, payload: bytes = b"{", reason: str = "broken_json") -> DeviceAlert | None:
    try:
        topic = topics.parse(text)
    except InvalidMessage:
        topic = None
    return unreadable.alert_of(
        text, topic, payload, error=InvalidMessage(reason, "byte 0"), received_at=NOW, key=b"0" * 16
    )


def test_an_unreadable_panic_becomes_a_critical_alert_with_its_bytes() -> None:
    alert = alert_of("alert/panic/guard-789", b"\xff")
    assert alert is not None
    assert (alert.alert_type, alert.severity) == (AlertType.UNREADABLE_ALERT, Severity.CRITICAL)
    assert (alert.unreadable, alert.flags) == (b"\xff", ("unreadable", "broken_json"))
    assert alert.message == "Unreadable panic alert from guard-789: Broken JSON: byte 0"


@pytest.mark.parametrize(
    ("text", "source", "word", "severity"),
    [
        ("alert/panic/g/", "g", "panic", Severity.CRITICAL),
        ("alert/panic/site1/g", "g", "panic", Severity.CRITICAL),
        ("alert/panic/", "alert/panic/", "panic", Severity.CRITICAL),
        ("alert/panic", "alert/panic", "panic", Severity.CRITICAL),
        ("alert/", "alert/", "alarm", None),
        ("alert/g", "g", "g", None),
        ("alert/intrusion/g/x", "x", "intrusion", None),
        ("alert/Man-Down/site1/7", "guard-7", "man-down", Severity.CRITICAL),
        ("alert/low_battery/g", "g", "low_battery", None),
        ("alert/shift_note/g", "g", "shift_note", None),
        ("alert/a/b/c/d/e", "e", "a", None),
        ("alert/" + "x/" * 200 + "panic", "x", "panic", Severity.CRITICAL),
        ("guard/g/panic", "g", "panic", Severity.CRITICAL),
        ("guard/7/SOS", "guard-7", "sos", Severity.CRITICAL),
        ("device/d/fall", "d", "fall", Severity.CRITICAL),
        ("system/health/x/fire", "x", "fire", Severity.CRITICAL),
        ("sensor/s/alarm", "s", "alarm", None),
        ("sensor/s/ALARM", "s", "alarm", None),
        ("sensor/s/alarm/", "s", "alarm", None),
        ("sensor/s/alarm/zone2", "s", "alarm", None),
        ("sensor/alarm/s", "s", "alarm", None),
        ("sensor/s/smoke", "s", "smoke", Severity.CRITICAL),
    ],
)
def test_whatever_is_refused_where_alarms_come_raises(
    text: str, source: str, word: str, severity: Severity | None
) -> None:
    alert = alert_of(text)
    assert alert is not None
    assert (alert.origin.source_id, alert.word, alert.severity) == (source, word, severity)
    assert len(alert.message) < 600


@pytest.mark.parametrize(
    "text",
    [
        "guard/g/gps",
        "guard/g/foo",
        "device/d/telemetry",
        "device/d",
        "sensor/s/status",
        "sensor/s/reading",
        "sensor/alarm/status",
        "system/health/x",
        "owntracks/7/phone",
        "other/x/y",
        "",
        "guard/panic/gps",
        "guard/g/low_battery",
    ],
)
def test_what_can_have_been_no_alarm_raises_nothing(text: str) -> None:
    assert alert_of(text) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"SMOKE!!",
        b'{"type":"smoke","source_id":"0x1"}',
        b"fire_alarm",
        b"zone-panic-1",
        b'{"sos":',
        b"f\0i\0r\0e\0",
        b"Man-Down",
        b"x" * 60_000 + b" duress",
    ],
    ids=lambda value: str(value[:20]),
)
def test_an_unreadable_sensor_alarm_that_speaks_of_life_safety_is_critical(payload: bytes) -> None:
    alert = alert_of("sensor/s/alarm", payload)
    assert alert is not None
    assert alert.severity is Severity.CRITICAL


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"open", b"firewall", b"\xff\xfe", b"x" * 70_000 + b" duress", b"a-" * 500_000]
)
def test_another_unreadable_sensor_alarm_has_the_default(payload: bytes) -> None:
    alert = alert_of("sensor/s/alarm", payload)
    assert alert is not None
    assert alert.severity is None
