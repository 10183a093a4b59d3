"""Tests of two hundred devices of one tenant that flood together.

Another tenant's panics wait for their first presses only.
"""

from __future__ import annotations

import json
import threading
import time
from typing import NamedTuple

import pytest

from tests.support.commands import run_vigil
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

pytestmark = pytest.mark.long
"""The times mean something on a quiet machine only."""
FLOODERS = 200
PRESSES_EACH = 100
GUARDS = 10
ROUNDS = 4
PANIC_S = 1.0
FIRST_PRESS_S = 6.0
"""Seconds for a first press.

All first presses are equal: a press waits for those of two hundred earlier sources.
"""
COUNTED = (
    "SELECT sum(occurrences), count(*) FROM mqtt_device_alert WHERE tenant_id = %s AND alert_type = 'PANIC'"
)


class Tenants(NamedTuple):
    attacker: int
    honest: int
    flooders: list[str]
    guards: list[str]


@pytest.fixture
def tenants(outside: OutsideClients) -> Tenants:
    number = 60_000_000 + int(outside.run, 16) % 10_000_000
    made = Tenants(
        number,
        number + 10_000_000,
        [f"guard-f{outside.run}-{n}" for n in range(FLOODERS)],
        [f"guard-h{outside.run}-{n}" for n in range(GUARDS)],
    )
    for tenant, guards in ((made.attacker, made.flooders), (made.honest, made.guards)):
        run_vigil(outside.env, "tenant", "add", str(tenant), f"Tenant {tenant}")
        outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) SELECT unnest(%s::text[]), %s, 'one of many'",
            guards,
            tenant,
        )
    return made


def test_the_devices_of_one_tenant_delay_another_by_their_first_presses_only(
    outside: OutsideClients, tenants: Tenants
) -> None:
    # Given two hundred devices of one tenant that press as fast as they can
    port = int(outside.env["MQTT_BROKER_PORT"])
    flooder = MqttClient(port, f"flood-{outside.run}")

    def flood() -> None:
        for number in range(PRESSES_EACH):
            for source in tenants.flooders:
                flooder.publish(f"alert/panic/{source}", json.dumps({"message": str(number)}).encode())
            flooder.listen()

    attack = threading.Thread(target=flood)
    attack.start()
    outside.until(lambda: outside.rows(COUNTED, tenants.attacker)[0][1] >= FLOODERS, 60)

    # When guards of another tenant press
    guards = MqttClient(port, f"honest-{outside.run}")
    for guard in tenants.guards:
        guards.subscribe(f"receipt/{guard}")
    took_s = []
    for number in range(ROUNDS):
        for guard in tenants.guards:
            began_s = time.monotonic()
            guards.publish(f"alert/panic/{guard}", json.dumps({"msg_id": f"p{number}"}).encode())
            guards.heard.clear()
            guards.until(lambda: any(b"stored" in payload for _, payload, _ in guards.heard), timeout_s=30)
            took_s.append(time.monotonic() - began_s)

    # Then each has its receipt at once, apart from those right behind two hundred first presses
    attack.join()
    assert max(took_s[:GUARDS]) < FIRST_PRESS_S, took_s
    assert max(took_s[GUARDS:]) < PANIC_S, took_s

    # And every press of the flood is counted
    flooder.settle(FLOODERS * PRESSES_EACH)
    outside.until(
        lambda: outside.rows(COUNTED, tenants.attacker) == [(FLOODERS * PRESSES_EACH, FLOODERS)], 120
    )
    flooder.close()
    guards.close()
