"""Tests of devices with an outbox.

They cover receipts of refusals, silent receipts, messages that come again, and the simulated fleet.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from vigil_device import Kind, Outbox, State, Update
from vigil_device.store import MEMORY

from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

RECEIPT_S = 30.0
OCCURRENCES = (
    "SELECT o.msg_id FROM alert_occurrence o JOIN mqtt_device_alert a USING (alert_id) WHERE a.source_id = %s"
)


class Device:
    """A guard's phone with an outbox, and the receipts that it got."""

    def __init__(self, outside: OutsideClients, *, path: str = MEMORY) -> None:
        self.source_id = f"guard-outbox-{outside.run}"
        self.updates: list[Update] = []
        self.outbox = Outbox(
            path,
            source_id=self.source_id,
            host="127.0.0.1",
            port=int(outside.env["MQTT_BROKER_PORT"]),
            on_update=self.updates.append,
        )

    def states(self, msg_id: str) -> list[State]:
        return [update.state for update in self.updates if update.msg_id == msg_id]


@pytest.fixture
def device(outside: OutsideClients) -> Iterator[Device]:
    made = Device(outside)
    yield made
    made.outbox.close()


def test_a_device_hears_that_its_message_is_refused_and_why_and_sends_it_once(
    outside: OutsideClients, device: Device
) -> None:
    # Given a position without a place, and one that claims another tenant
    broken = device.outbox.send(
        f"guard/{device.source_id}/gps", {"accuracy": 5, "lat": 12.9}, kind=Kind.POSITION
    )
    impostor = device.outbox.send_position(12.97, 77.59, client_id=987_654)
    good = device.outbox.send_position(12.97, 77.59)

    # When all receipts are there
    assert device.outbox.wait(RECEIPT_S)
    outside.until(lambda: len([u for u in device.updates if u.state in (State.REFUSED, State.STORED)]) == 3)

    # Then the device knows the result of each, and has sent each once
    reasons = {update.msg_id: update.reason for update in device.updates if update.state is State.REFUSED}
    assert reasons == {broken: "missing_field", impostor: "identity_mismatch"}
    assert device.states(good)[-1] is State.STORED
    assert device.outbox.sends == 3
    assert {kept.message.msg_id: kept.reason for kept in device.outbox.set_aside()} == reasons


@pytest.mark.parametrize("protocol", [3, 5])
def test_a_device_with_its_credential_over_tls_hears_its_own_receipts(
    outside: OutsideClients, tmp_path: Path, protocol: int
) -> None:
    # Given a guard with a credential, as the operator makes one
    name = f"guard-tls{protocol}-{outside.run}"
    added = json.loads(run_vigil(outside.env, "guard", "add", name, "--json"))
    credential = added[0] if isinstance(added, list) else added

    # When its phone sends over TLS, by name and password
    with Outbox(
        tmp_path / "outbox.db",
        source_id=name,
        host="localhost",
        port=int(outside.stack.addresses()["mqtts"].rpartition(":")[2]),
        username=name,
        password=canary(credential["password"]),
        tls=outside.stack.home / "mosquitto" / "tls" / "ca.pem",
        protocol=protocol,
    ) as outbox:
        outbox.send_position(12.97, 77.59)
        outbox.send_alert("PANIC")

        # Then each message has its receipt, at the first send
        assert outbox.wait(RECEIPT_S)
        assert outbox.sends == 2


def test_an_outbox_empties_itself_of_a_silent_alert_and_shows_nothing(
    outside: OutsideClients, device: Device
) -> None:
    # Given a duress alert, and a press of the panic button that shall be silent
    sent = [device.outbox.send_alert("DURESS"), device.outbox.send_alert("PANIC", silent=True)]

    # Then both are stored, the outbox is empty, and no update names them
    assert device.outbox.wait(RECEIPT_S)
    assert {msg_id for (msg_id,) in outside.rows(OCCURRENCES, device.source_id)} == set(sent)
    assert device.updates == []
    assert device.outbox.sends == 2


def test_a_silent_alert_of_a_device_without_an_outbox_has_no_receipt(outside: OutsideClients) -> None:
    # Given a device that subscribes to its receipts, and makes no promise
    source = f"guard-plain-{outside.run}"
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"plain-{outside.run}")
    assert client.subscribe(f"receipt/{source}")
    stamp = datetime.now(UTC).isoformat()

    # When it sends a silent alert, a refused one that may have been silent, and then a loud one
    for topic, body in (
        (f"alert/duress/{source}", {"msg_id": "silent"}),
        (f"alert/intrusion/{source}", {"msg_id": "refused", "guard_id": "guard-another"}),
        (f"alert/fire/{source}", {"msg_id": "loud"}),
    ):
        client.publish(topic, json.dumps({**body, "timestamp": stamp}).encode())
    client.until(lambda: any(b'"loud"' in payload for _, payload, _ in client.heard), RECEIPT_S)
    outside.until(lambda: outside.rows("SELECT 1 FROM rejected_message WHERE source_id = %s", source))

    # Then only the loud message has a receipt
    named = {json.loads(payload)["msg_id"] for _, payload, _ in client.heard}
    assert named <= {"loud", None}
    client.close()


def test_a_press_that_an_outbox_sends_again_after_it_was_resolved_is_no_second_press(
    outside: OutsideClients,
) -> None:
    # Given a press two minutes ago whose receipt was lost, and which was resolved meanwhile
    source = f"guard-again-{outside.run}"
    stamp = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    body = {"msg_id": f"press-{outside.run}", "timestamp": stamp, "outbox": True}
    outside.publish(f"alert/panic/{source}", body)
    [(alert_id,)] = outside.until(
        lambda: outside.rows("SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s", source)
    )
    status, answer = outside.request(
        "POST", f"/api/v1/alerts/{alert_id}/resolve", {"note": "seen to"}, token=outside.token()
    )
    assert status == 200, answer

    # When the device sends the same bytes again, and then another press
    outside.publish(f"alert/panic/{source}", body)
    outside.publish(f"alert/panic/{source}", {**body, "msg_id": f"next-{outside.run}"})
    outside.until(lambda: len(outside.rows(OCCURRENCES, source)) == 2)

    # Then the repeat raised nothing
    found = [msg_id for (msg_id,) in outside.rows(OCCURRENCES, source)]
    assert sorted(found) == [f"next-{outside.run}", f"press-{outside.run}"]


def test_the_simulated_fleet_sends_at_its_next_start_what_it_could_not(
    outside: OutsideClients, tmp_path: Path
) -> None:
    # Given a fleet whose broker is away
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = {**outside.env, "MQTT_BROKER_PORT": str(probe.getsockname()[1])}
    fleet = [
        "simulate",
        "--guards",
        "2",
        "--rate",
        "20",
        "--json-progress",
        "--outbox",
        str(tmp_path / "fleet"),
    ]
    before = facts(run_vigil(closed, *fleet, "--duration", "1", "--settle", "0"))
    assert before["pending"] == before["sent"] > 0

    # When it is started again, and the broker is up
    after = facts(run_vigil(outside.env, *fleet, "--duration", "1"))

    # Then all messages of both runs are stored
    assert after["pending"] == 0
    assert after["stored"] == before["sent"] + after["sent"]


def facts(said: Any) -> dict[str, Any]:
    """Return the last line of counts."""
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    found: dict[str, Any] = [line for line in lines if "sent" in line][-1]
    return found
