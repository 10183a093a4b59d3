"""Tests of all sources of one tenant that press at once, while its sessions are busy.

Another tenant's panics are shown as before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from ops.environment import PROJECT
from services.feed.stream import FeedWriter
from services.platform import config as configuration
from tests.support.commands import run_vigil
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import FeedSession, OutsideClients
from tests.torture.attacks.figures import QUIET_S, TIMES, Figure, Figures
from tests.torture.attacks.honest import Measured, p

pytestmark = pytest.mark.long
"""The times mean something on a quiet machine only."""
PRESSES = 40
QUIET_PRESSES = 20
PAUSE_S = 0.05
ALERT = {"id": "a", "message": "x" * 1_000}
"""About as large as an alert."""
COUNTED = "SELECT count(*) FROM mqtt_device_alert WHERE tenant_id = %s AND alert_type = 'PANIC'"


class Tenant(NamedTuple):
    number: int
    sources: list[str]


@pytest.fixture
def add_tenant(outside: OutsideClients) -> Callable[..., Tenant]:
    numbers = iter(range(70_000_000 + int(outside.run, 16) % 9_000_000, 90_000_000))

    def add(letter: str, *, guards: int) -> Tenant:
        made = Tenant(next(numbers), [f"guard-{letter}{outside.run}-{n}" for n in range(guards)])
        run_vigil(outside.env, "tenant", "add", str(made.number), f"Tenant {made.number}")
        outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) SELECT unnest(%s::text[]), %s, 'one of many'",
            made.sources,
            made.number,
        )
        return made

    return add


class Presser:
    """A tenant's guards, who press once each while somebody watches the tenant's session."""

    def __init__(self, outside: OutsideClients, tenant: Tenant) -> None:
        self._client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"honest-{tenant.number}")
        self._screen: FeedSession = outside.screen(tenant_id=tenant.number, name=f"honest-{tenant.number}")
        self._screen.wait("snapshot", timeout_s=60)
        self._left = iter(tenant.sources)

    def press(self) -> float:
        """Return the seconds until the next guard's panic reaches the session."""
        source = next(self._left)
        started_s = time.monotonic()
        self._client.publish(f"alert/panic/{source}", b'{"message": "help"}')
        came_s, _ = self._screen.wait(
            "critical_alert", lambda frame: frame["data"]["source_id"] == source, timeout_s=120
        )
        return float(came_s - started_s)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def presser(outside: OutsideClients, add_tenant: Callable[..., Tenant]) -> Iterator[Presser]:
    made = Presser(outside, add_tenant("h", guards=2_000))
    yield made
    made.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [200, 1_000])
def test_first_presses_of_one_tenants_sources_delay_no_other_tenants_panic(
    outside: OutsideClients,
    add_tenant: Callable[..., Tenant],
    presser: Presser,
    figures: Figures,
    count: int,
) -> None:
    # Given a control room that watches its tenant, and the time of a press without an attack
    attacker = add_tenant("a", guards=count)
    watched = outside.screen(tenant_id=attacker.number, name=f"attacker-{attacker.number}")
    watched.wait("snapshot", timeout_s=60)
    quiet = [presser.press() for _ in range(QUIET_PRESSES)]

    # When all sources of another tenant press at once, and guards go on pressing until all of these
    # alerts are shown
    def flood() -> None:
        client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"attacker-{attacker.number}")
        for source in attacker.sources:
            client.publish(f"alert/panic/{source}", json.dumps({"message": "all at once"}).encode())
        client.settle(count)
        client.close()

    attack = threading.Thread(target=flood)
    began_s = time.monotonic()
    attack.start()
    took: list[float] = []
    back_s = 0.0
    while len(took) < PRESSES or not back_s:
        took.append(presser.press())
        if not back_s and outside.rows(COUNTED, attacker.number) == [(count,)]:
            back_s = time.monotonic() - began_s
        time.sleep(PAUSE_S)
    attack.join()
    beside = Measured(took, [], [], {"answers": {"first presses": count}})
    figures.note(
        Figure("first presses of one tenant", back_s, Measured(quiet, [], [], {}), beside, None, None)
    )

    # Then each panic reached its session as soon as it does without them
    assert p(took, 0.99) <= TIMES * max(QUIET_S, p(quiet, 0.99)), beside.says()

    # And each of the attacker's own reached that tenant's session, once
    outside.until(lambda: len(watched.seen("critical_alert")) >= count, 60)
    shown = [frame["data"]["source_id"] for frame in watched.seen("critical_alert")]
    assert sorted(shown) == sorted(attacker.sources)


WATCHERS = 5
FRAMES = 1_000
FURTHER = 20


@pytest.mark.timeout(300)
def test_a_thousand_frames_of_one_tenant_delay_no_frame_of_another(
    outside: OutsideClients, add_tenant: Callable[..., Tenant], figures: Figures
) -> None:
    # Given websocket sessions of two tenants
    crowded, quiet = add_tenant("a", guards=1), add_tenant("b", guards=1)
    feed = FeedWriter.from_config(configuration.load(environ=outside.env))
    screen = outside.screen(tenant_id=quiet.number, name=f"quiet-{quiet.number}")
    screen.wait("snapshot", timeout_s=60)
    token = outside.token(name=f"crowded-{crowded.number}", tenant_id=crowded.number)
    command = [sys.executable, "-m", "tests.torture.attacks.watchers", outside.base, token]
    command += [str(WATCHERS), str(FRAMES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as watchers:
        assert watchers.stdout is not None
        assert watchers.stdout.readline() == "open\n"

        def show() -> float:
            started_s = time.monotonic()
            frame_id = feed.publish(quiet.number, "alert_updated", ALERT)
            came_s, _ = screen.wait("alert_updated", lambda frame: frame["id"] == frame_id, timeout_s=60)
            return float(came_s - started_s)

        alone = [show() for _ in range(QUIET_PRESSES)]

        # When a thousand frames of one tenant come at once, and some of the other right behind them
        for _ in range(FRAMES):
            feed.publish(crowded.number, "alert_updated", ALERT)
        took = [show() for _ in range(FURTHER)]
        seen = json.loads(watchers.communicate(timeout=60)[0])

    # Then these are shown as soon as without the others, and no session has missed a frame
    beside = Measured(took, [], [], {"answers": {"frames": FRAMES}})
    figures.note(Figure("frames of one tenant", sum(took), Measured(alone, [], [], {}), beside, None, None))
    assert max(took) <= TIMES * max(QUIET_S, p(alone, 0.99)), beside.says()
    assert seen == [FRAMES] * WATCHERS
