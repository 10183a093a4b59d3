"""Tests of the README's lines, typed by hand with stock tools, on a development stack."""

import json
import time
import urllib.request
from datetime import UTC, datetime

import pytest

from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients, ReceiptSubscriber


def now() -> str:
    return datetime.now(UTC).isoformat()


def of_source(outside: OutsideClients, kind: str, source: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        run_vigil(outside.env, "latest", kind, "--source", source, "--json")
    )
    return found


def test_device_telemetry_is_shown_by_vigil_latest(outside: OutsideClients) -> None:
    source = f"test-sensor-{outside.run}"
    outside.publish(
        f"device/{source}/telemetry", {"battery": 85, "signal": -65, "temperature": 25.5, "timestamp": now()}
    )
    [row] = outside.until(lambda: of_source(outside, "telemetry", source))
    assert (row["battery"], row["signal"], row["temperature"], row["tenant_id"]) == (85, -65, 25.5, 1)


def test_a_fix_is_stored_with_its_verdict_and_one_alert_is_raised_outside(
    outside: OutsideClients,
) -> None:
    number = int(outside.run, 16)
    guard = f"guard-{number}"

    fix = {"lat": 12.9759, "lon": 77.5946, "accuracy": 10.5, "guard_id": number, "client_id": 1}
    outside.publish(f"guard/{guard}/gps", {**fix, "timestamp": now()})
    [row] = outside.until(lambda: of_source(outside, "location", guard))
    assert (row["in_geofence"], row["geofence_violation"]) == (True, False)
    for _ in range(3):
        outside.publish(f"guard/{guard}/gps", {**fix, "lat": 12.9764, "timestamp": now()})
    query = "SELECT alert_type, occurrences FROM mqtt_device_alert WHERE source_id = %s"
    outside.until(lambda: outside.rows(query, guard) == [("GEOFENCE_VIOLATION", 1)])
    assert of_source(outside, "location", guard)[0]["geofence_violation"] is True


def test_a_panic_is_on_the_screen_in_under_200_ms_and_acknowledged_from_another(
    outside: OutsideClients,
) -> None:
    guard = f"guard-{outside.run}"
    first, second = outside.screen(), outside.screen(name="second desk")
    for screen in (first, second):
        assert screen.wait("connected")[1]["resumed"] is False
        screen.wait("snapshot")
    sent_s = time.monotonic()
    outside.publish(
        f"alert/panic/{guard}",
        {"severity": "critical", "message": "help", "msg_id": "p1", "timestamp": now()},
    )
    came_s, frame = first.wait("critical_alert", lambda f: f["data"]["source_id"] == guard)
    assert came_s - sent_s < 0.2
    alert = frame["data"]
    assert (alert["alert_type"], alert["severity"], alert["status"]) == ("PANIC", "CRITICAL", "NEW")

    second.send(type="acknowledge_alert", alert_id=alert["id"], note="on my way", ref="r1")
    assert second.wait("ack")[1]["ref"] == "r1"
    _, updated = first.wait(
        "alert_updated", lambda f: f["data"]["id"] == alert["id"] and f["data"]["status"] == "ACKNOWLEDGED"
    )
    assert updated["data"]["acknowledged_by"] == "second desk"
    assert updated["data"]["timeline"][0]["note"] == "on my way"
    first.send(type="acknowledge_alert", alert_id=alert["id"], ref="r2")
    assert "second desk has this alert" in first.wait("error", lambda f: f["ref"] == "r2")[1]["message"]
    assert [row["source_id"] for row in of_source(outside, "alert", guard)] == [guard]


def test_a_device_is_told_what_became_of_its_message(outside: OutsideClients) -> None:
    source = f"guard-{outside.run}"
    device = ReceiptSubscriber(outside, f"receipt/{source}")
    outside.publish(
        f"guard/{source}/gps", {"lat": 12.9716, "lon": 77.5946, "msg_id": "f1", "timestamp": now()}
    )
    outside.publish(f"alert/sos/{source}", {"msg_id": "a1", "timestamp": now()})
    query = "SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s"
    [(alert_id,)] = outside.until(lambda: outside.rows(query, source))
    screen = outside.screen()
    screen.wait("snapshot")
    screen.send(type="acknowledge_alert", alert_id=alert_id)
    told = {(receipt["msg_id"], receipt["status"]): receipt for receipt in device.receive(3)}
    assert set(told) == {("f1", "stored"), ("a1", "stored"), ("a1", "acknowledged")}
    assert told["a1", "acknowledged"]["by"] == "tester"
    assert told["a1", "stored"]["alert_id"] == alert_id


def test_metrics_of_all_processes_are_exported(outside: OutsideClients) -> None:
    outside.publish(f"device/{outside.run}/telemetry", {"battery": 50})
    screen = outside.screen()
    screen.wait("snapshot")
    outside.publish(f"alert/panic/guard-{outside.run}", {"severity": "critical"})
    screen.wait("critical_alert")

    def metrics() -> str:
        with urllib.request.urlopen(f"http://{outside.base}/metrics/export/", timeout=10) as answer:
            return str(answer.read().decode())

    for wanted in (
        'vigil_mqtt_message_processed_total{qos="1",topic_prefix="device"}',
        "vigil_websocket_broadcast_success_total{",
        'vigil_task_success_total{task_name="process_device_alert"}',
        'vigil_mqtt_connected{lane="alert"} 1.0',
        "vigil_websocket_connections{",
    ):
        outside.until(lambda wanted=wanted: wanted in metrics())
    assert outside.run not in metrics()


def test_health_is_told_by_the_gateway_and_by_the_command(outside: OutsideClients) -> None:
    with urllib.request.urlopen(f"http://{outside.base}/readyz", timeout=10) as answer:
        assert json.load(answer)["ready"] is True
    checks = {check["name"]: check["ok"] for check in json.loads(run_vigil(outside.env, "health", "--json"))}
    assert {"postgres", "redis", "amqp", "mqtt", "http", "migrations", "disk"} <= set(checks)
    assert all(checks.values()), checks


BAD = [
    ("guard/{}/gps", b"\xff\xfe", "invalid_utf8"),
    ("guard/{}/gps", b"{broken", "broken_json"),
    ("guard/{}/gps", b"[1,2]", "not_an_object"),
    ("guard/{}/gps", b'{"lat":1,"lon":1,"x":"' + b"a" * 1_048_576 + b'"}', "too_large"),
    ("guard/{}/gps", b"[" * 100_000, "too_deep"),
    ("guard/{}/gps", b'{"lat":NaN,"lon":1}', "broken_json"),
    ("guard/{}/gps", b'{"lon":1}', "missing_field"),
    ("guard/{}/gps", b'{"lat":999,"lon":1}', "field_out_of_range"),
    ("guard/{}/elsewhere", b"{}", "topic_shape"),
    ("device/{}", b"{}", "topic_shape"),
    ("sensor/{}/dance", b"{}", "topic_shape"),
    ("system/{}/x", b"{}", "topic_shape"),
    ("alert/{}", b"{}", "topic_shape"),
    ("guard/{}/gps", b'{"lat":1,"lon":1,"client_id":99}', "identity_mismatch"),
]


@pytest.mark.parametrize(("topic", "payload", "reason"), BAD)
def test_bad_input_is_kept_with_its_reason_and_the_next_good_message_arrives(
    outside: OutsideClients, topic: str, payload: bytes, reason: str
) -> None:
    source = f"bad-{outside.run}"
    outside.publish(topic.format(source), payload)
    query = "SELECT reason, payload FROM rejected_message WHERE topic = %s"
    [(found, kept)] = outside.until(lambda: outside.rows(query, topic.format(source)))
    assert found == reason
    assert bytes(kept) == payload
    outside.publish(f"device/good-{outside.run}/telemetry", {"battery": 50})
    outside.until(
        lambda: outside.rows(
            "SELECT 1 FROM mqtt_device_telemetry WHERE device_id = %s", f"good-{outside.run}"
        )
    )


def test_a_panic_with_a_broken_place_and_time_is_still_an_alert(outside: OutsideClients) -> None:
    guard = f"guard-{outside.run}"
    outside.publish(f"alert/panic/{guard}", {"location": {"lat": "x"}, "timestamp": "never", "severity": 3})
    query = "SELECT alert_type, severity, location, flags FROM mqtt_device_alert WHERE source_id = %s"
    [(kind, severity, location, flags)] = outside.until(lambda: outside.rows(query, guard))
    assert (kind, severity, location) == ("PANIC", "CRITICAL", None)
    assert {"location", "timestamp", "severity"} <= set(flags)


def test_an_unreadable_panic_is_refused_and_an_alert_all_the_same(outside: OutsideClients) -> None:
    guard = f"guard-{outside.run}"
    outside.publish(f"alert/panic/{guard}", b"\x00\xffgarbage")
    query = (
        "SELECT a.alert_type, a.severity, o.unreadable"
        " FROM mqtt_device_alert a JOIN alert_occurrence o USING (alert_id)"
    )
    found = outside.until(lambda: outside.rows(query + " WHERE a.source_id = %s", guard))
    assert [(kind, severity, bytes(raw)) for kind, severity, raw in found] == [
        ("UNREADABLE_ALERT", "CRITICAL", b"\x00\xffgarbage")
    ]
    assert outside.rows("SELECT reason FROM rejected_message WHERE source_id = %s", guard) == [
        ("invalid_utf8",)
    ]
