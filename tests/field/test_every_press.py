"""Property: every press of a life-safety button is an occurrence that somebody is notified of.

Given: any payloads, any order, any duplicates, any `msg_id` and any timestamp. Gateway, alerts or
location may restart between any two messages.

Then: each press has its occurrence, unless it is byte-identical to another one within 5 s. Each
open alert has notified somebody. No message of another kind hides a press.

Presses of many guards travel together. A restart costs seconds, so one example is one history of
all guards.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ops.local.stack import Stack
from services.contracts.events import LIFE_SAFETY
from tests.providers import Provider
from tests.support.customer import Customer
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

GUARDS = 25
ROUNDS = 4
APART_S = 5.5
"""Seconds between two rounds.

It is longer than the time within which equal bytes may be one message.
"""
EXAMPLES = 2

TYPES = sorted(kind.lower() for kind in LIFE_SAFETY)
MSG_IDS = st.sampled_from([None, "1", "2", 1, "", "x" * 80, "\u0967", True])
TIMES = st.sampled_from(
    [
        "none",
        "now",
        "epoch s",
        "epoch ms",
        "digits",
        "1970",
        "an hour ago",
        "an hour ahead",
        "",
        "yesterday",
        "nul",
    ]
)
LIVE = ("now", "epoch s", "epoch ms", "digits")
READABLE_ENDS = (b"", b"\0", b"\r\n")
BEGAN = datetime.now(UTC)
SEVERITIES = st.sampled_from([None, "low", "LOW", "info", 1, "critical", None, None])
PLACES = st.sampled_from(
    [None, {"lat": 12.97, "lon": 77.59}, {"lat": 0, "lon": 0}, "12.97,77.59", [1, 2], {"lat": "x"}, 7]
)
ENDS = st.sampled_from([b"", b"", b"", b"\0", b"\r\n", b"}", b'"', b"\xff"])
OTHERS = st.sampled_from(["low_battery", "shift_note", "gps", "panic cut off", "telemetry", "man-down word"])
VICTIMS = ("mqtt_gateway-alert", "alerts", "location")


class Press(NamedTuple):
    """A press as a device writes it.

    With `fresh`, each press has other bytes. Otherwise every round sends the same bytes.
    """

    kind: str
    fresh: bool
    msg_id: Any
    time: str
    severity: Any
    place: Any
    end: bytes


class Step(NamedTuple):
    """The acts of one guard in one round.

    There are messages of other kinds before and after the press, and a second delivery.
    """

    press: Press | None
    before: str | None
    after: str | None
    twice: bool


PRESSES = st.builds(
    Press,
    kind=st.sampled_from(TYPES),
    fresh=st.just(True),
    msg_id=MSG_IDS,
    time=TIMES,
    severity=SEVERITIES,
    place=PLACES,
    end=ENDS,
)
# The same bytes again and again: they have no identity of their own, so only their times of receipt
# distinguish them.
CONSTANT = st.builds(
    Press,
    kind=st.sampled_from(TYPES),
    fresh=st.just(False),
    msg_id=st.none(),
    time=st.sampled_from(["none", "1970", "", "yesterday", "last fix"]),
    severity=SEVERITIES,
    place=PLACES,
    end=st.just(b""),
)
STEPS = st.builds(
    Step,
    press=st.one_of(st.none(), PRESSES, PRESSES, PRESSES),
    before=st.one_of(st.none(), OTHERS),
    after=st.one_of(st.none(), OTHERS),
    twice=st.booleans(),
)
HISTORIES = st.one_of(
    st.lists(STEPS, min_size=ROUNDS, max_size=ROUNDS),
    st.builds(lambda press: [Step(press, None, None, False)] * ROUNDS, CONSTANT),
)


def written(press: Press, number: int) -> bytes:
    """Return the payload of a press."""
    now = datetime.now(UTC)
    times: dict[str, Any] = {
        "now": now.isoformat(),
        "epoch s": int(now.timestamp()),
        "epoch ms": int(now.timestamp() * 1000),
        "digits": str(int(now.timestamp())),
        "1970": "1970-01-01T00:00:00Z",
        "an hour ago": (now - timedelta(hours=1)).isoformat(),
        "an hour ahead": (now + timedelta(hours=1)).isoformat(),
        "": "",
        "yesterday": "yesterday",
        "last fix": (BEGAN - timedelta(hours=1)).isoformat(),
        "nul": None,
    }
    body: dict[str, Any] = {"message": f"press {number}" if press.fresh else "help"}
    for name, value in (("msg_id", press.msg_id), ("severity", press.severity), ("location", press.place)):
        if value is not None:
            body[name] = value
    if press.time != "none":
        body["timestamp"] = times[press.time]
    return json.dumps(body).encode() + press.end


def other(word: str, guard: str, number: int) -> tuple[str, bytes]:
    """Return a message of another kind, with an id that presses use too."""
    match word:
        case "gps":
            return f"guard/{guard}/gps", json.dumps({"lat": 12.9, "lon": 77.6, "msg_id": "1"}).encode()
        case "telemetry":
            return f"device/{guard}-phone/telemetry", json.dumps({"battery": 3, "msg_id": "1"}).encode()
        case "panic cut off":
            return f"alert/panic/{guard}", b'{"msg_id": "1", "message": "he%d' % number
        case "man-down word":
            return f"alert/unheard-of/{guard}", b'{"msg_id": "1"}'
    return f"alert/{word}/{guard}", json.dumps({"msg_id": "1", "message": f"note {number}"}).encode()


class Field:
    """Guards of one history, their presses, and the results."""

    def __init__(self, house: Customer, stack: Stack, guards: list[str]) -> None:
        self._house, self._stack, self._guards = house, stack, guards
        self._port = int(house.outside.env["MQTT_BROKER_PORT"])
        self.pressed: Counter[tuple[str, bytes]] = Counter()
        self.once: list[tuple[str, bytes]] = []

    def act(self, steps: list[Step], number: int) -> None:
        """Send one round of all guards over one connection.

        Return when the broker has everything.
        """
        client = MqttClient(self._port, f"field-{self._house.outside.run}-{number}")
        sent = 0
        for position, (guard, step) in enumerate(zip(self._guards, steps, strict=True)):
            serial = number * 1000 + position
            messages = [other(step.before, guard, serial)] if step.before else []
            if step.press is not None:
                payload = written(step.press, serial)
                self.pressed[guard, payload] += 1
                if step.press.time in LIVE and step.press.end in READABLE_ENDS:
                    self.once.append((guard, payload))
                messages += [(f"alert/{step.press.kind}/{guard}", payload)] * (1 + step.twice)
            if step.after:
                messages.append(other(step.after, guard, serial + 500))
            for topic, payload in messages:
                client.publish(topic, payload)
            sent += len(messages)
        client.settle(sent)

    def restart(self, name: str) -> None:
        [process] = [process for process in self._stack.supervisor.processes if process.name == name]
        before = process.restarts
        process.kill()

        def is_back() -> bool:
            self._stack.supervisor.poll()
            return process.restarts > before and process.state == "ready"

        self._house.outside.until(is_back, 60)

    def settled(self, faults: Callable[[], list[str]]) -> list[str]:
        """Wait until there is no fault. Return the faults that stay for a minute."""
        deadline_s = time.monotonic() + 60
        while (found := faults()) and time.monotonic() < deadline_s:
            self._stack.supervisor.poll()
        return found

    def missing(self) -> list[str]:
        """Return presses with fewer occurrences than the times that they were sent a round apart."""
        found = self._occurrences()
        return [
            f"{guard}: {payload!r}: {found_of(found, guard, payload)} of {count}"
            for (guard, payload), count in self.pressed.items()
            if found_of(found, guard, payload) < count
        ]

    def doubled(self) -> list[str]:
        """Return presses with a live time of their own that count more than once.

        Such a press counts once, however often it was delivered.
        """
        found = self._occurrences()
        return [
            f"{guard}: {payload!r}: {found_of(found, guard, payload)}"
            for guard, payload in self.once
            if found_of(found, guard, payload) > 1
        ]

    def _occurrences(self) -> Counter[tuple[str, bytes]]:
        found: Counter[tuple[str, bytes]] = Counter()
        query = (
            "SELECT a.source_id, convert_to(coalesce(o.raw_data->>'message', ''), 'UTF8'), o.unreadable"
            " FROM alert_occurrence o JOIN mqtt_device_alert a USING (alert_id)"
            " WHERE a.source_id = ANY(%s) AND o.topic LIKE 'alert/%%'"
        )
        for source, message, unreadable in self._house.outside.rows(query, self._guards):
            found[source, bytes(unreadable) if unreadable is not None else bytes(message)] += 1
        return found

    def unheard(self) -> list[str]:
        """Return open alerts that nobody was notified of."""
        query = (
            "SELECT a.source_id || ' ' || a.alert_type FROM mqtt_device_alert a WHERE a.source_id = ANY(%s)"
            " AND a.alert_type = ANY(%s) AND a.status IN ('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS')"
            " AND NOT EXISTS (SELECT 1 FROM notification n WHERE n.alert_id = a.alert_id"
            " AND n.state IN ('accepted', 'delivered'))"
        )
        graves = [*sorted(LIFE_SAFETY), "UNREADABLE_ALERT"]
        return [row[0] for row in self._house.outside.rows(query, self._guards, graves)]


def found_of(found: Counter[tuple[str, bytes]], guard: str, payload: bytes) -> int:
    """Return the occurrences of a payload: by its text if it could be read, else by its bytes."""
    read = payload.rstrip(b"\0\r\n")
    try:
        text = json.loads(read)["message"].encode()
    except ValueError:
        text = None
    return found[guard, payload] + (found[guard, text] if text is not None else 0)


@pytest.fixture
def house(outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]) -> Iterator[Customer]:
    made = Customer(outside, tmp_path, outer)
    yield made
    made.close()


@pytest.mark.timeout(600)
def test_each_press_is_an_occurrence_and_each_open_alert_notifies_somebody(
    house: Customer, stack: Stack
) -> None:
    count = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(
        histories=st.lists(HISTORIES, min_size=GUARDS, max_size=GUARDS),
        victims=st.lists(st.one_of(st.none(), st.sampled_from(VICTIMS)), min_size=ROUNDS, max_size=ROUNDS),
        resolved=st.lists(st.booleans(), min_size=ROUNDS, max_size=ROUNDS),
    )
    def check(histories: list[list[Step]], victims: list[str | None], resolved: list[bool]) -> None:
        nonlocal count
        count += 1
        outside = house.outside
        # Given guards of their own
        guards = [f"{house.guard}-h{count}-{number}" for number in range(GUARDS)]
        outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) SELECT unnest(%s::text[]), %s, 'one of many'",
            guards,
            house.tenant_id,
        )
        field = Field(house, stack, guards)

        # When they press, with restarts and users' acts between the rounds
        for number in range(ROUNDS):
            began_s = time.monotonic()
            field.act([history[number] for history in histories], number)
            if (victim := victims[number]) is not None:
                field.restart(victim)
            if resolved[number]:
                assert field.settled(field.missing) == []
                resolve_all(outside, house.tenant_id, guards)
            outside.until(lambda began_s=began_s: time.monotonic() - began_s > APART_S, 60)

        # Then each press has its occurrence, and each open alert has notified somebody
        assert field.settled(field.missing) == []
        assert field.settled(field.unheard) == []
        assert field.doubled() == []

    check()


def resolve_all(outside: OutsideClients, tenant_id: int, guards: list[str]) -> None:
    """Resolve the open alerts of these guards as an operator."""
    token = outside.token(tenant_id=tenant_id)
    query = "SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = ANY(%s) AND closed_at IS NULL"
    for (alert_id,) in outside.rows(query, guards):
        status, _ = outside.request("POST", f"/api/v1/alerts/{alert_id}/resolve", {}, token=token)
        assert status in (200, 409)
