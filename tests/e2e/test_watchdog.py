"""Tests of the watchdog.

Test messages come through. A break in the pipeline is named by its place, and the control room
is notified.
"""

import json
import urllib.request

from ops.checks.health import RUNBOOK
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients


def lane_test(outside: OutsideClients, lane: str) -> dict[str, object]:
    [found] = json.loads(run_vigil(outside.env, "watchdog", "test", "--lane", lane, "--json", check=False))
    return dict(found)


def exposition(outside: OutsideClients) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{outside.base}/metrics/export/", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (li.rsplit(" ", 1) for li in lines if li[0] != "#")}


WANTED = (
    'vigil_watchdog_last_success_timestamp_seconds{lane="alert"}',
    'vigil_watchdog_last_success_timestamp_seconds{lane="bulk"}',
    # the broker publishes this every ten seconds
    'vigil_mqtt_broker_connected_clients{broker="mqtt"}',
    'vigil_database_size_bytes{database="vigil"}',
    'vigil_queue_depth{queue="vigil.dead"}',
)


def test_messages_of_both_lanes_come_through_and_are_shown_to_prometheus(outside: OutsideClients) -> None:
    outside.until(lambda: set(WANTED) <= set(exposition(outside)), timeout_s=40)
    shown = exposition(outside)
    servers = ("mqtt", "amqp", "redis", "postgres")
    assert {shown[f'vigil_dependency_up{{dependency="{name}"}}'] for name in servers} == {1.0}
    assert shown['vigil_mqtt_broker_connected_clients{broker="mqtt"}'] >= 3
    assert shown['vigil_mqtt_broker_dropped_messages{broker="mqtt"}'] == 0
    assert shown['vigil_database_size_bytes{database="vigil"}'] > 1e6


def test_nobody_is_told_of_a_test_message_and_no_other_tenant_sees_it(outside: OutsideClients) -> None:
    screen = outside.screen()
    screen.wait("snapshot")
    assert lane_test(outside, "alert")["lost"] is None
    assert lane_test(outside, "bulk")["lost"] is None
    assert not [f for f in screen.seen() if "vigil-watchdog" in json.dumps(f.get("data"), default=str)]
    assert outside.rows("SELECT count(*) FROM notification WHERE tenant_id = 0") == [(0,)]
    assert outside.rows(
        "SELECT alert_type, source_id FROM mqtt_device_alert WHERE tenant_id = 0 AND closed_at IS NULL"
    ) == [("UNKNOWN", "vigil-watchdog")]
    assert "vigil-watchdog" not in run_vigil(outside.env, "latest", "alert", "--json", "--limit", "1000")
    screen.close()


def test_a_frozen_location_service_is_found_behind_the_broker(outside: OutsideClients) -> None:
    with outside.frozen("location"):
        checks = json.loads(run_vigil(outside.env, "health", "--json", check=False))
    path = next(check for check in checks if check["name"] == "message-path-bulk")
    assert not path["ok"]
    assert "not to PostgreSQL; look at mqtt_gateway-bulk, RabbitMQ, location" in path["detail"]
    assert path["runbook"] == f"{RUNBOOK}vigilblind"
    outside.until(lambda: lane_test(outside, "bulk")["lost"] is None)


def test_a_frozen_gateway_of_screens_is_found_behind_the_feed(outside: OutsideClients) -> None:
    with outside.frozen("noc_gateway"):
        found = lane_test(outside, "alert")
    assert found["lost"] == "redis"
    assert "check noc_gateway" in str(found["detail"])
    outside.until(lambda: lane_test(outside, "alert")["lost"] is None)


def test_heartbeats_say_that_the_control_room_is_not_blind(outside: OutsideClients) -> None:
    screen = outside.screen()
    screen.wait("snapshot")
    # The tests before may have frozen a process and lost a test message. The next message comes
    # through within seconds.
    screen.send(type="heartbeat")
    frame = screen.wait("heartbeat", lambda frame: frame["blind"] is False, timeout_s=20)[1]
    assert (frame["since"], frame["away"]) == (None, [])
    screen.close()
