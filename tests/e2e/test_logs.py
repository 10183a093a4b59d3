"""Tests of the logs.

Each line is one JSON object, whatever devices send. One trace leads from the device's message to
the websocket session.
"""

import json
from pathlib import Path
from typing import Any

from tests.support.outside_clients import OutsideClients

NASTY = 'help\x1b[2J\r\n{"event": "forged"}\u2028 \u202e\x07'


def lines(outside: OutsideClients, process: str) -> list[dict[str, Any]]:
    text = (outside.stack.home / "log" / f"{process}.log").read_bytes()
    assert not any(byte < 0x20 and byte != 0x0A for byte in text), "a control character stands in the log"
    return [json.loads(line) for line in text.decode().split("\n") if line]


def traced(outside: OutsideClients, process: str, event: str, **facts: str) -> list[str]:
    """Return the trace ids of a process's events with these facts."""
    found = [line for line in lines(outside, process) if line["event"] == event]
    return [li["trace_id"] for li in found if all(li.get(name) == value for name, value in facts.items())]


def test_a_panic_is_one_trace_from_the_gateway_to_the_screen(outside: OutsideClients) -> None:
    source = f"guard-{outside.run}"
    screen = outside.screen()
    screen.wait("snapshot")
    for _ in range(2):  # the same message sent twice has one trace
        outside.publish(f"alert/panic/{source}", {"msg_id": f"m-{outside.run}", "message": NASTY})
    _, frame = screen.wait("critical_alert", lambda frame: frame["data"]["source_id"] == source)
    screen.close()
    trace = frame["trace"]
    assert outside.until(
        lambda: len(traced(outside, "mqtt_gateway-alert", "alert_published", source_id=source)) == 2
    )
    assert set(traced(outside, "mqtt_gateway-alert", "alert_published", source_id=source)) == {trace}
    assert trace in traced(outside, "alerts", "alert_stored", source_id=source)
    assert trace in traced(outside, "noc_gateway", "alert_broadcast")


def test_every_line_of_every_process_is_one_json_object_with_who_and_when(outside: OutsideClients) -> None:
    outside.publish(f"guard/{NASTY.encode().hex()}/gps", {"lat": 1, "lon": 1, "note": NASTY})
    for path in sorted(Path(outside.stack.home / "log").glob("*.log")):
        if path.stem in {process.name for process in outside.stack.supervisor.processes} - set(SERVERS):
            for line in lines(outside, path.stem):
                assert {"event", "level", "timestamp", "service"} <= set(line)


SERVERS = ("postgres", "epmd", "rabbitmq", "redis", "mosquitto", "haproxy", "simulator")
