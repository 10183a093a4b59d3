"""Tests of a server that goes away and comes back while all services depend on it.

Messages that waited are handled at once, and no operator has to act.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ops.feed.client import FeedClient
from ops.local.stack import Stack
from services.messaging import QueueDepth, dead_letter_queue
from services.messaging.topology import delay_queue
from services.platform import config as configuration
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients
from tests.support.stack_parts import held_down

AWAY_S = 8.0
GUARDS = 20
MESSAGES = 200
BULK_BACK_S, PANIC_BACK_S, ANSWER_S = 10.0, 5.0, 3.0
ASKED = ("/api/v1/alerts", "/api/v1/guards", "/api/v1/positions", "/api/v1/device-states")
STORED = {
    "fixes": "SELECT count(*) FROM mqtt_guard_location WHERE guard_id LIKE %s",
    "readings": "SELECT count(*) FROM mqtt_device_telemetry WHERE device_id LIKE %s",
    "panics": "SELECT count(*) FROM mqtt_device_alert WHERE source_id LIKE %s AND alert_type = 'PANIC'",
}


class Site:
    """A tenant of its own with guards and devices. One connection sends for all of them."""

    def __init__(self, outside: OutsideClients) -> None:
        self.tenant_id = int(outside.run, 16) % 1_000_000 + 2_000_000
        self.guards = [f"guard-{outside.run}-{number}" for number in range(GUARDS)]
        self.devices = [f"device-{outside.run}-{number}" for number in range(GUARDS)]
        outside.execute("INSERT INTO tenant (tenant_id, name) VALUES (%s, %s)", self.tenant_id, outside.run)
        outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) SELECT id, %s, id FROM unnest(%s::text[]) AS id",
            self.tenant_id,
            self.guards,
        )
        outside.execute(
            "INSERT INTO device (device_id, tenant_id, name, family)"
            " SELECT id, %s, id, 'device' FROM unnest(%s::text[]) AS id",
            self.tenant_id,
            self.devices,
        )
        self.client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"site-{outside.run}")
        assert self.client.subscribe("receipt/+")
        self.stored_s: dict[str, float] = {}

    def send(self, topic: str, msg_id: str, **payload: object) -> None:
        self.client.publish(topic, json.dumps({"msg_id": msg_id, **payload}).encode())

    def await_receipts(self, msg_ids: set[str], timeout_s: float) -> None:
        """Note the time at which each message is reported as stored."""

        def all_are_there() -> bool:
            for _, payload, _ in self.client.heard:
                receipt = json.loads(payload)
                if receipt["status"] == "stored":
                    self.stored_s.setdefault(str(receipt["msg_id"]), time.monotonic())
            self.client.heard.clear()
            return msg_ids <= self.stored_s.keys()

        self.client.until(all_are_there, timeout_s)


@pytest.fixture
def site(outside: OutsideClients) -> Iterator[Site]:
    made = Site(outside)
    yield made
    made.client.close()


@contextmanager
def without(stack: Stack, server: str) -> Iterator[list[float]]:
    """Stop the server.

    After the block, the yielded list holds the time at which it answered again.
    """
    back_s: list[float] = []
    process = next(process for process in stack.supervisor.processes if process.name == server)
    with held_down(stack, server):
        yield back_s
        process.start()
        while process.state != "ready":
            stack.supervisor.poll()
        back_s.append(time.monotonic())


def test_what_waited_for_the_database_is_stored_as_soon_as_it_is_back(
    outside: OutsideClients, stack: Stack, site: Site
) -> None:
    config = configuration.load(environ=outside.env)
    # Given a site whose messages are stored, and the dead letters as they are
    for guard in site.guards:
        site.send(f"guard/{guard}/gps", f"before-{guard}", lat=12.9, lon=77.6)
    site.await_receipts({f"before-{guard}" for guard in site.guards}, 15)
    dead_before = {letter.id for letter in dead_letter_queue.oldest_dead_letters(config.amqp.uri)}
    rungs = QueueDepth(config.amqp, [delay_queue(delay_s).name for delay_s in config.amqp.retry_delays_s])

    # When the database is away for longer than the short steps of the delay ladder, and messages
    # come meanwhile
    bulk = {f"m{number}" for number in range(MESSAGES)}
    with without(stack, "postgres") as back_s:
        gone_s = time.monotonic()
        for number in range(MESSAGES // 2):
            site.send(f"guard/{site.guards[number % GUARDS]}/gps", f"m{number}", lat=12.9, lon=77.6)
            reading = f"m{number + MESSAGES // 2}"
            site.send(f"device/{site.devices[number % GUARDS]}/telemetry", reading, battery=80)
        site.send(f"alert/panic/{site.guards[0]}", "panic", message="help")
        site.client.until(lambda: time.monotonic() - gone_s > AWAY_S, AWAY_S + 1)
        waiting_on_rungs = rungs.waiting()
    rungs.close()
    site.await_receipts(bulk | {"panic"}, 60)

    # Then the panic and all messages that waited are stored at once, each once
    slowest_s = max(site.stored_s[msg_id] for msg_id in bulk) - back_s[0]
    assert slowest_s < BULK_BACK_S
    assert site.stored_s["panic"] - back_s[0] < PANIC_BACK_S
    with OutsideClients(stack) as again:
        # And each service answers requests
        token = again.token(tenant_id=site.tenant_id)
        for path in ("/readyz", *ASKED):
            again.until(lambda path=path: again.request("GET", path, token=token)[0] == 200)
        found = {what: again.rows(query, f"%{outside.run}%")[0][0] for what, query in STORED.items()}
    assert found == {"fixes": MESSAGES // 2 + GUARDS, "readings": MESSAGES // 2, "panics": 1}
    # And no message climbed the ladder or became a dead letter
    assert waiting_on_rungs == 0
    assert {letter.id for letter in dead_letter_queue.oldest_dead_letters(config.amqp.uri)} == dead_before


def test_alerts_are_listed_and_acknowledged_while_redis_hangs_and_each_is_shown_once_after_it(
    outside: OutsideClients, site: Site
) -> None:
    # Given an open alert, a websocket session, and a program that reads the feed as `vigil
    # watch` does
    settings = configuration.load(environ=outside.env)
    screen = outside.screen(tenant_id=site.tenant_id)
    screen.wait("snapshot")
    token = outside.token(tenant_id=site.tenant_id)
    site.send(f"alert/panic/{site.guards[0]}", "first", message="help")
    _, frame = screen.wait("critical_alert")
    alert_id = frame["data"]["id"]

    # When Redis hangs, and guards press meanwhile
    with outside.frozen("redis"):
        for number, guard in enumerate(site.guards[1:]):
            site.send(f"alert/panic/{guard}", f"press-{number}", message="help")
        presses = {f"press-{number}" for number in range(GUARDS - 1)}

        # Then alerts can be listed, again and again, and one acknowledged
        for _ in range(3):
            status, answer, took_s = timed(outside, "GET", "/api/v1/alerts", token)
            assert (status, took_s < ANSWER_S) == (200, True), (answer, took_s)
        status, answer, took_s = timed(outside, "POST", f"/api/v1/alerts/{alert_id}/acknowledge", token)
        assert (status, took_s < ANSWER_S) == (200, True), (answer, took_s)
        # And every press is stored and has its receipt
        site.await_receipts(presses, 20)
        status, alerts, took_s = timed(outside, "GET", "/api/v1/alerts", token)
        assert (status, len(alerts), took_s < ANSWER_S) == (200, GUARDS, True)

    # And afterwards each is shown, and the program gets no event twice
    wanted = {alert["id"] for alert in alerts}
    reader = FeedClient(
        settings,
        url=f"ws://{outside.base}/ws/noc/dashboard/",
        token=token,
        tenant_id=site.tenant_id,
        since=frame["id"],
    )
    told = Counter[tuple[str, int]]()
    for found in reader.frames():
        if isinstance(found.get("data"), dict) and "event" in found["data"]:
            told[found["data"]["id"], found["data"]["event"]] += 1
        acknowledged = found["type"] == "alert_updated" and found["data"]["id"] == alert_id
        wanted -= {alert_id} if acknowledged else set()
        wanted -= {found["data"]["id"]} - {alert_id} if found["type"] == "critical_alert" else set()
        if not wanted:
            break
    assert set(told.values()) == {1}


def timed(outside: OutsideClients, method: str, path: str, token: str) -> tuple[int, Any, float]:
    """Return (status, answer, seconds) of a request."""
    began_s = time.monotonic()
    body = {} if method == "POST" else None
    status, answer = outside.request(method, path, body, token=token)
    return status, answer, time.monotonic() - began_s
