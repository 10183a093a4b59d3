"""Tests of the queues that hold too much: a few messages are too many where an alarm waits."""

from ops.servers.queues.depths import by_handler, is_alert_lane, overfull

ALERT = "evt-mqtt_gateway-device_alert_received--alerts.process_device_alert"
BULK = "evt-mqtt_gateway-guard_gps_received--location.process_guard_gps"


def test_alarms_wait_in_the_queues_of_alerts_conditions_and_requests() -> None:
    assert is_alert_lane(ALERT)
    assert is_alert_lane("evt-telemetry-alert_condition_met--alerts.open_for_telemetry")
    assert is_alert_lane("evt-alerts-notification_requested--notifications.write_notifications")
    assert not is_alert_lane(BULK)


def test_a_queue_is_overfull_by_the_measure_of_its_lane() -> None:
    assert overfull({ALERT: 50, BULK: 1000, "vigil.dead": 9999}, alert=50, bulk=1000) == []
    assert overfull({BULK: 1001, ALERT: 51}, alert=50, bulk=1000) == [
        f"{ALERT} holds 51",
        f"{BULK} holds 1001",
    ]


def test_the_queues_of_all_shards_are_as_one() -> None:
    found = {
        f"{BULK}.0": 400,
        f"{BULK}.10": 500,
        f"{BULK}": 101,
        ALERT: 7,
        "vigil.dead": 1,
        "vigil.delay.5s": 2,
    }
    assert by_handler(found) == {BULK: 1001, ALERT: 7, "vigil.dead": 1, "vigil.delay.5s": 2}
    assert overfull(found, alert=50, bulk=1000) == [f"{BULK} holds 1001"]
