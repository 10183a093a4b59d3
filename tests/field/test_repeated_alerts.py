"""Tests of an alert after it was raised, from the outside.

They cover repeats, doubt, muted alerts, and the name under which a user acts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from ops.local.stack import Stack
from services.contracts.events import Severity
from tests.providers import Provider
from tests.support.customer import Customer
from tests.support.outside_clients import OutsideClients, ReceiptSubscriber

FOUND = """
    SELECT alert_id::text, alert_type, severity, status, message, occurrences, flags, silent, cleared_at IS NOT NULL,
           previous_holder, (SELECT count(DISTINCT (round, step)) FROM notification n WHERE n.alert_id = a.alert_id)
    FROM mqtt_device_alert a WHERE source_id = %s ORDER BY received_at
"""
LINES = "SELECT action, by, note FROM alert_timeline JOIN mqtt_device_alert a USING (alert_id) WHERE source_id = %s"


class Found(NamedTuple):
    """An alert as the database has it.

    `rounds` counts the rounds and steps in which somebody was notified.
    """

    alert_id: str
    alert_type: str
    severity: str
    status: str
    message: str
    occurrences: int
    flags: list[str]
    silent: bool
    cleared: bool
    previous_holder: str | None
    rounds: int


class Yard:
    """A test tenant whose guards each stand for one case."""

    def __init__(self, house: Customer) -> None:
        self.house = house
        self.outside = house.outside
        self._free = iter(house.more)

    def guard(self) -> str:
        return next(self._free)

    def found(self, source: str) -> list[Found]:
        return [Found(*row) for row in self.outside.rows(FOUND, source)]

    def until(self, source: str, count: int = 1, **wanted: Any) -> list[Found]:
        """Return the alerts of a source.

        Waits until there are `count` and the newest has the wanted values.
        """

        def there() -> list[Found] | None:
            alerts = self.found(source)
            if len(alerts) != count:
                return None
            return (
                alerts if all(getattr(alerts[-1], name) == value for name, value in wanted.items()) else None
            )

        return list(self.outside.until(there, timeout_s=30))

    def act(self, alert_id: str, verb: str, body: object = None, **claims: Any) -> tuple[int, Any]:
        token = self.outside.token(tenant_id=self.house.tenant_id, **claims)
        return self.outside.request("POST", f"/api/v1/alerts/{alert_id}/{verb}", body, token=token)

    def lines(self, source: str) -> list[tuple[str, str, str]]:
        return [
            (action, by, note) for action, by, note in self.outside.rows(f"{LINES} ORDER BY entry_id", source)
        ]


@pytest.fixture(scope="module")
def yard(
    stack: Stack, providers_of_tests: dict[str, Provider], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Yard]:
    """Yield one test tenant for all cases of this file. Each case has guards of its own."""
    directory = tmp_path_factory.mktemp("house")
    for provider in providers_of_tests.values():
        provider.behave("accept")
    with OutsideClients(stack) as outside:
        house = Customer(outside, directory, providers_of_tests, more_guards=100)
        at_once = {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contact:Asha"]}]}
        house.set_policy(dict.fromkeys(Severity, at_once), directory)
        yield Yard(house)
        house.close()


def sent(topic: str, payload: object) -> tuple[str, bytes]:
    return topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode()


OTHER_ALERT = [
    (sent("shift_note", {"message": "shift started"}), sent("man_down", {"message": "no movement for 60 s"})),
    (sent("shift_note", {"message": "shift started"}), sent("panik", {"message": "help me"})),
    (sent("low_battery", b'{"battery":'), sent("panic", b'{"message":"help')),
    (sent("shift_note", b"{"), sent("fire", b'{"message":"smoke in the')),
    (sent("tamper", b"["), sent("duress", b"1")),
    (sent("panic", {"message": "test", "drill": True}), sent("panic", {"message": "a real one"})),
]


def test_an_acknowledged_alert_hides_no_alert_of_another_word(yard: Yard) -> None:
    guards = [yard.guard() for _ in OTHER_ALERT]
    for guard, ((topic, body), _) in zip(guards, OTHER_ALERT, strict=True):
        yard.outside.publish(f"alert/{topic}/{guard}", body)
    for guard in guards:
        [first] = yard.until(guard)
        assert yard.act(first.alert_id, "acknowledge")[0] == 200
    for guard, (_, (topic, body)) in zip(guards, OTHER_ALERT, strict=True):
        yard.outside.publish(f"alert/{topic}/{guard}", body)
    for guard, (_, (topic, body)) in zip(guards, OTHER_ALERT, strict=True):
        first, second = yard.until(guard, 2, rounds=1)
        assert (first.status, first.occurrences, second.status) == ("ACKNOWLEDGED", 1, "NEW"), guard
        if topic in ("panic", "fire", "duress", "man_down"):
            assert second.severity == "CRITICAL", (topic, body)
        assert topic in second.message.lower() or second.message in body.decode(), second.message


GRAVER = [
    (
        "intrusion",
        {"severity": "medium", "message": "motion at fence"},
        {"severity": "critical", "message": "three men"},
    ),
    ("tamper", {"message": "lid open"}, {"severity": "HIGH", "message": "cut with a grinder"}),
    ("low_battery", {"severity": "low", "message": "19 %"}, {"severity": "medium", "message": "3 %"}),
    ("shift_note", {"severity": "low", "message": "all quiet"}, {"severity": "critical", "message": "shots"}),
    (
        "equipment_failure",
        {"severity": "medium", "message": "pump"},
        {"severity": "high", "message": "pump burns"},
    ),
]


def test_a_repeat_that_is_graver_than_what_was_acknowledged_calls_people_again(yard: Yard) -> None:
    guards = [yard.guard() for _ in GRAVER]
    for guard, (topic, first, _) in zip(guards, GRAVER, strict=True):
        yard.outside.publish(f"alert/{topic}/{guard}", first)
    for guard in guards:
        [alert] = yard.until(guard, rounds=1)
        assert yard.act(alert.alert_id, "acknowledge", login="ann@x.org", name="Ann")[0] == 200
    for guard, (topic, _, second) in zip(guards, GRAVER, strict=True):
        yard.outside.publish(f"alert/{topic}/{guard}", second)
    for guard, (_, _, second) in zip(guards, GRAVER, strict=True):
        [alert] = yard.until(guard, occurrences=2, rounds=2)
        assert (alert.status, alert.previous_holder) == ("NEW", "ann@x.org")
        assert alert.message.endswith(second["message"])
        actions = [action for action, _, _ in yard.lines(guard)]
        assert actions.index("re_raised") > actions.index("repeated") > actions.index("acknowledged")


def test_repeats_that_change_nothing_keep_their_text_and_place_and_call_nobody(yard: Yard) -> None:
    guard, calm = yard.guard(), yard.guard()
    yard.outside.publish(f"alert/panic/{guard}", {"message": "panic button"})
    yard.outside.publish(f"alert/intrusion/{calm}", {"severity": "high", "message": "gate 1"})
    for source in (guard, calm):
        [alert] = yard.until(source, rounds=1)
        assert yard.act(alert.alert_id, "acknowledge")[0] == 200
    place = {"lat": 12.97123, "lon": 77.59012}
    yard.outside.publish(
        f"alert/panic/{guard}", {"message": "two men with knives at gate 4", "location": place}
    )
    yard.outside.publish(f"alert/panic/{guard}", {})
    yard.outside.publish(f"alert/intrusion/{calm}", {"severity": "low", "message": "gate 2"})
    [alert] = yard.until(guard, occurrences=3)
    assert (alert.status, alert.rounds, alert.message) == ("ACKNOWLEDGED", 1, "two men with knives at gate 4")
    [alert] = yard.until(calm, occurrences=2)
    assert (alert.status, alert.rounds, alert.message, alert.severity) == (
        "ACKNOWLEDGED",
        1,
        "gate 2",
        "HIGH",
    )
    notes = [note for action, _, note in yard.lines(guard) if action in ("raised", "repeated")]
    assert notes == ["panic button", "two men with knives at gate 4 (12.97123, 77.59012)", ""]


def test_a_second_press_half_a_minute_after_the_first_calls_again_whoever_has_the_alert(yard: Yard) -> None:
    topics = ("panic", "sos", "medical", "man_down", "fire")
    guards = {yard.guard(): topic for topic in topics}
    for guard, topic in guards.items():
        yard.outside.publish(f"alert/{topic}/{guard}", {"message": "first"})
    for guard in guards:
        [alert] = yard.until(guard, rounds=1)
        for verb in ("acknowledge", "start"):
            assert yard.act(alert.alert_id, verb)[0] == 200
    yard.outside.execute(
        "UPDATE mqtt_device_alert SET called_at = called_at - interval '31 s' WHERE source_id = ANY(%s)",
        list(guards),
    )
    for guard, topic in guards.items():
        yard.outside.publish(
            f"alert/{topic}/{guard}", {"message": "second", "location": {"lat": 1.5, "lon": 2.5}}
        )
    for guard in guards:
        [alert] = yard.until(guard, occurrences=2, rounds=2)
        assert (alert.status, alert.previous_holder, alert.message) == ("NEW", "tester", "second")


def test_a_fire_after_the_first_was_over_is_notified_again(yard: Yard) -> None:
    sensor = f"smoke-{yard.outside.run}"
    yard.outside.execute(
        "INSERT INTO device (device_id, tenant_id, name, family) VALUES (%s, %s, 'Smoke', 'sensor')",
        sensor,
        yard.house.tenant_id,
    )
    yard.outside.publish(f"sensor/{sensor}/alarm", {"type": "SMOKE", "state": "ALARM"})
    [alert] = yard.until(sensor, rounds=1)
    assert yard.act(alert.alert_id, "acknowledge")[0] == 200
    yard.outside.publish(f"sensor/{sensor}/status", {"type": "SMOKE", "state": "NORMAL"})
    yard.until(sensor, cleared=True)
    yard.outside.publish(f"sensor/{sensor}/alarm", {"type": "SMOKE", "state": "ALARM"})
    [alert] = yard.until(sensor, status="NEW", rounds=2)
    assert (alert.cleared, alert.previous_holder, alert.occurrences) == (False, "tester", 2)


def hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()


DOUBTFUL = [
    ("panic", {"message": "help", "timestamp": "LAST FIX"}),
    ("panic", {"msg_id": "1"}),
    ("sos", {"message": "help", "timestamp": "1970-01-01T00:00:00Z"}),
    ("medical", {"msg_id": "17", "timestamp": "LAST FIX"}),
    ("fire", {"message": "smoke", "timestamp": "2000-01-01T00:00:00Z"}),
    ("man_down", {"msg_id": "a", "message": "no movement"}),
    ("panic", b'{"msg_id":"1","message":"hel'),
    ("duress", b"ON"),
]


def test_the_same_bytes_after_the_end_of_the_first_alert_are_a_second_one(yard: Yard) -> None:
    hour = hour_ago()
    cases = []
    for topic, payload in DOUBTFUL:
        body = (
            payload if isinstance(payload, bytes) else json.dumps(payload).replace("LAST FIX", hour).encode()
        )
        cases.append((yard.guard(), topic, body))
    for guard, topic, body in cases:
        yard.outside.publish(f"alert/{topic}/{guard}", body)
    for guard, _, _ in cases:
        [alert] = yard.until(guard)
        assert yard.act(alert.alert_id, "resolve")[0] == 200
    for guard, topic, body in cases:
        yard.outside.publish(f"alert/{topic}/{guard}", body)
    for guard, _, _ in cases:
        first, second = yard.until(guard, 2, rounds=1)
        assert (first.status, first.occurrences, second.status) == ("RESOLVED", 1, "NEW")


def test_a_redelivery_with_a_live_time_has_one_effect(yard: Yard) -> None:
    guard, marker = yard.guard(), yard.guard()
    body = {"message": "help", "msg_id": "m", "timestamp": datetime.now(UTC).isoformat()}
    yard.outside.publish(f"alert/panic/{guard}", body)
    [alert] = yard.until(guard, rounds=1)
    assert yard.act(alert.alert_id, "resolve")[0] == 200
    yard.outside.publish(f"alert/panic/{guard}", body)
    yard.outside.publish(f"alert/panic/{marker}", {})
    yard.until(marker, rounds=1)
    [alert] = yard.until(guard)
    assert (alert.status, alert.occurrences, alert.flags) == ("RESOLVED", 1, [])


@pytest.mark.parametrize("topic", ["duress", "panic"])
def test_the_source_of_a_silent_alert_hears_nothing_of_it(yard: Yard, topic: str) -> None:
    guard = yard.guard()
    device = ReceiptSubscriber(yard.outside, f"receipt/{guard}")
    payload = {"msg_id": "m", "message": "help"} | ({"silent": True} if topic == "panic" else {})
    yard.outside.publish(f"alert/{topic}/{guard}", payload)
    [alert] = yard.until(guard, silent=True, rounds=1)
    yard.outside.until(lambda: any(action == "notified" for action, _, _ in yard.lines(guard)))
    for verb in ("acknowledge", "start", "resolve"):
        assert yard.act(alert.alert_id, verb)[0] == 200
    # Receipts of one source leave in order: the first of a loud alert would come behind those of
    # the silent one.
    yard.outside.publish(f"alert/medical/{guard}", {"msg_id": "marker"})
    assert [heard["msg_id"] for heard in device.receive(1)] == ["marker"]


def test_a_repeat_that_makes_an_alert_silent_ends_its_receipts(yard: Yard) -> None:
    guard = yard.guard()
    device = ReceiptSubscriber(yard.outside, f"receipt/{guard}")
    yard.outside.publish(f"alert/panic/{guard}", {"msg_id": "loud"})
    assert [(heard["msg_id"], heard["status"]) for heard in device.receive(2)] == [
        ("loud", "stored"),
        ("loud", "notified"),
    ]
    yard.outside.publish(f"alert/panic/{guard}", {"msg_id": "hushed", "silent": True})
    [alert] = yard.until(guard, silent=True)
    assert yard.act(alert.alert_id, "resolve")[0] == 200
    yard.outside.publish(f"alert/medical/{guard}", {"msg_id": "marker"})
    assert device.receive(3)[2]["msg_id"] == "marker"


CLAIMS = ["low", "MEDIUM", "High", "info", "P1", 1, None]


def test_no_claim_lowers_a_panic(yard: Yard) -> None:
    guards = [yard.guard() for _ in CLAIMS]
    for guard, claim in zip(guards, CLAIMS, strict=True):
        yard.outside.publish(f"alert/panic/{guard}", {"severity": claim, "message": "help"})
    for guard, claim in zip(guards, CLAIMS, strict=True):
        [alert] = yard.until(guard, rounds=1)
        known = isinstance(claim, str) and claim.upper() in ("LOW", "MEDIUM", "HIGH")
        assert (alert.severity, "severity_claim" in alert.flags) == ("CRITICAL", known), claim


def test_a_storm_holds_back_no_fire_and_nothing_that_cannot_be_read(yard: Yard) -> None:
    yard.outside.execute(
        "INSERT INTO site (tenant_id, name, time_zone) VALUES (%s, 'Dock', 'UTC')", yard.house.tenant_id
    )
    guard = yard.guard()
    sensors = [f"storm-{yard.outside.run}-{number}" for number in range(14)]
    yard.outside.execute(
        "INSERT INTO device (device_id, tenant_id, name, family, site_id) SELECT unnest(%s::text[]), s.tenant_id,"
        " 'Smoke', 'sensor', s.site_id FROM site s WHERE s.tenant_id = %s",
        sensors,
        yard.house.tenant_id,
    )
    yard.outside.execute(
        "UPDATE guard SET site_id = (SELECT site_id FROM site WHERE tenant_id = %s) WHERE guard_id = %s",
        yard.house.tenant_id,
        guard,
    )
    for sensor in sensors:
        yard.outside.publish(f"sensor/{sensor}/alarm", {"type": "SMOKE", "state": "ALARM"})
    yard.outside.publish(f"alert/panic/{guard}", b'{"message":"hel')
    for source in (*sensors, guard):
        [alert] = yard.until(source, rounds=1)
        assert alert.severity == "CRITICAL"
    later = {"reason": "quiet", "until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    [unreadable] = yard.found(guard)
    assert yard.act(unreadable.alert_id, "shelve", later)[0] == 400


def test_what_is_refused_for_its_claims_is_raised_as_unreadable(yard: Yard) -> None:
    guards = [yard.guard() for _ in range(3)]
    for guard, topic in zip(guards, ("intrusion", "tamper", "shift_note"), strict=True):
        yard.outside.publish(f"alert/{topic}/{guard}", {"client_id": 77, "message": "door forced"})
    for guard in guards:
        [alert] = yard.until(guard, rounds=1)
        assert (alert.alert_type, alert.severity) == ("UNREADABLE_ALERT", "HIGH")
        assert {"identity_mismatch", "refused"} <= set(alert.flags)
        assert "door forced" in alert.message
        kept = yard.outside.rows("SELECT reason FROM rejected_message WHERE source_id = %s", guard)
        assert kept == [("identity_mismatch",)]


def test_of_eight_people_who_acknowledge_at_once_one_has_it_and_seven_learn_whose_it_is(yard: Yard) -> None:
    guard = yard.guard()
    yard.outside.publish(f"alert/panic/{guard}", {})
    [alert] = yard.until(guard)
    answers: list[tuple[int, Any]] = []
    people = [
        threading.Thread(
            target=lambda n=n: answers.append(
                yard.act(alert.alert_id, "acknowledge", login=f"op{n}@x.org", name="The same name")
            )
        )
        for n in range(8)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    holder = next(answer["acknowledged_by"] for status, answer in answers if status == 200)
    assert sorted(status for status, _ in answers) == [200] + [409] * 7
    assert all(holder in str(answer) for status, answer in answers if status == 409)
    assert holder in [by for action, by, _ in yard.lines(guard) if action == "acknowledged"]
    assert "The same name" not in {by for _, by, _ in yard.lines(guard)}


def test_a_closed_alert_takes_notes_and_nothing_else(yard: Yard) -> None:
    guard = yard.guard()
    yard.outside.publish(f"alert/panic/{guard}", {})
    [alert] = yard.until(guard)
    assert yard.act(alert.alert_id, "resolve")[0] == 200
    codes = [yard.act(alert.alert_id, verb)[0] for verb in ("acknowledge", "start", "resolve", "false-alarm")]
    assert codes == [409] * 4
    assert yard.act(alert.alert_id, "note", {"note": "report written"})[0] == 200


def test_an_alert_is_assigned_to_a_person_of_the_tenant_who_is_notified(yard: Yard) -> None:
    guard, source = yard.guard(), yard.guard()
    yard.outside.publish(f"alert/intrusion/{source}", {"message": "gate 4"})
    [alert] = yard.until(source, rounds=1)
    for name in ("Ashaa", f"{guard}x", "stranger@x.org", "guard-123456789", "Bob"):
        status, answer = yard.act(alert.alert_id, "assign", {"to": name}, login="ann@x.org", name="Ann")
        assert (status, name in str(answer)) == (400, True), answer
    status, answer = yard.act(alert.alert_id, "assign", {"to": "asha"}, login="ann@x.org", name="Ann")
    assert (status, answer["assigned_to"]) == (200, "Asha")
    told = "SELECT channel, body FROM notification WHERE alert_id = %s AND step < 0"
    rows = yard.outside.until(lambda: yard.outside.rows(told, alert.alert_id))
    assert {channel for channel, _ in rows} == {"sms", "email", "push"}
    assert all("Assigned to you by ann@x.org." in body for _, body in rows), rows
    status, answer = yard.act(alert.alert_id, "assign", {"to": guard})
    assert (status, answer["assigned_to"]) == (200, guard)
    assert any("no notification was sent" in line[2] for line in yard.lines(source))
