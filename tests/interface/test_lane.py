"""A lane without broker: what it sends on, in which order it acknowledges, and that nothing ends it."""

import json
from typing import Any

import eventlet
import pytest

from gateway.mqtt import lane as lane_module
from gateway.mqtt import wire
from gateway.mqtt.batch import Batch
from gateway.mqtt.lane import Lane
from ops.environment import PROJECT
from services import config
from services.errors import Unavailable
from services.messages import DeviceAlert


def published(payload: bytes, message_id: int, **marks: bool) -> wire.Published:
    return wire.Published(b"", payload, 1, message_id, **marks)


class FakeConnection:
    generation = 1

    def __init__(self) -> None:
        self.acked: list[int] = []

    def ack(self, message_ids: Any, *, generation: int) -> None:
        assert generation == self.generation
        self.acked += message_ids


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> Lane:
    monkeypatch.setattr(lane_module, "RETRY_S", (0.01,))
    made = Lane(config.parse((PROJECT / "config.yaml").read_text(), {}), "alert")
    made.connection = FakeConnection()  # type: ignore[assignment]
    made._batcher.start_generation(1)
    return made


def run(lane: Lane, publish_all: Any, *, until: int) -> list[int]:
    acked = lane.connection.acked  # type: ignore[attr-defined]
    sender = eventlet.spawn(lane._send_batches, publish_all)
    with eventlet.Timeout(5):
        while len(acked) < until:
            eventlet.sleep(0.005)
    sender.kill()
    return list(acked)


def test_alerts_go_one_by_one_and_are_acknowledged_after_the_confirm(lane: Lane) -> None:
    sent: list[str] = []
    lane._take("alert/panic/guard-1", published(b"{}", 7))
    lane._take("alert/sos/guard-2", published(b"garbage", 8))
    assert run(lane, lambda events: sent.extend(kind for kind, _ in events), until=2) == [7, 8]
    assert sent == ["device_alert_received", "device_alert_received", "message_rejected"]


@pytest.mark.parametrize(
    ("topic", "body", "msg_id", "silent"),
    [
        ("guard/guard-1/gps", {"msg_id": "a"}, "a", False),
        ("device/d/telemetry/x", {"msg_id": "a"}, "a", False),
        ("alert/intrusion/guard-1", {"msg_id": "a", "guard_id": "guard-2"}, None, True),
        ("alert/intrusion/guard-1", {"msg_id": "a", "guard_id": "guard-2", "outbox": True}, "a", True),
        ("guard/guard-1/panic", {"msg_id": "a"}, None, True),
        ("guard/guard-1/panic", {"msg_id": "a", "outbox": True}, "a", True),
    ],
)
def test_a_refusal_has_a_receipt_and_only_an_outbox_gets_one_of_what_may_be_a_silent_alarm(
    lane: Lane, topic: str, body: dict[str, Any], msg_id: str | None, silent: bool
) -> None:
    sent: list[tuple[str, Any]] = []
    lane._take(topic, published(json.dumps(body).encode(), 1))
    run(lane, sent.extend, until=1)
    [refused] = [message for kind, batch in sent if kind == "message_rejected" for message in batch.messages]
    assert (refused.msg_id, refused.silent) == (msg_id, silent)


def test_while_rabbitmq_is_away_nothing_is_acknowledged_and_then_everything(lane: Lane) -> None:
    tries: list[int] = []

    def publish_all(_events: Any) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise Unavailable("away")

    lane._take("alert/panic/guard-1", published(b"{}", 7))
    assert run(lane, publish_all, until=1) == [7]
    assert len(tries) == 4


def test_a_message_that_meets_a_bug_is_refused_and_the_next_panic_is_sent(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, Any]] = []
    encode = lane_module.msgspec.msgpack.encode

    def picky(value: Any) -> bytes:
        for message in value if isinstance(value, list) else [value]:
            if getattr(message, "message", None) == "poison":
                raise OverflowError("cannot be sent")
        return encode(value)

    def publish_all(events: Any) -> None:
        for kind, body in events:
            if kind == "device_alert_received":
                picky(body)
        sent.extend(events)

    monkeypatch.setattr(lane_module.msgspec.msgpack, "encode", picky)
    lane._take("alert/panic/guard-1", published(json.dumps({"message": "poison"}).encode(), 1))
    lane._take("alert/panic/guard-2", published(b"{}", 2))
    # The stand-in for the poisoned panic is an alert that says so, without its content.
    assert run(lane, publish_all, until=2) == [1, 2]
    assert [body.origin.source_id for kind, body in sent if isinstance(body, DeviceAlert)][-1] == "guard-2"
    assert "message_rejected" in [kind for kind, _ in sent]


def test_a_batch_of_a_connection_that_is_gone_is_left_to_be_delivered_again(lane: Lane) -> None:
    sent: list[Any] = []
    lane._hand_over(Batch(1, 0, []))
    lane._take("alert/panic/guard-1", published(b"{}", 7))
    lane.connection.ack = lambda mids, **_: lane.connection.acked.extend(mids)  # type: ignore[attr-defined,method-assign]
    assert run(lane, sent.extend, until=1) == [7]
    assert len(sent) == 1


def phones(monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> Lane:
    monkeypatch.setattr(lane_module, "RETRY_S", (0.01,))
    environ = {"VIGIL_OWNTRACKS": str(taken).lower()}
    made = Lane(config.parse((PROJECT / "config.yaml").read_text(), environ), "bulk")
    made.connection = FakeConnection()  # type: ignore[assignment]
    made._batcher.start_generation(1)
    made._take("owntracks/7/phone", published(b'{"_type":"location","lat":1,"lon":2,"acc":5,"tst":1}', 1))
    made._take("owntracks/7/phone", published(b'{"_type":"lwt","tst":1}', 2))
    made._take("owntracks/7/phone/event", published(b"whatever", 3))
    made._take("owntracks/7/phone", published(b'{"_type":"encrypted","data":"x"}', 4))
    batch = made._batcher.due(now_s=float("inf"))
    assert batch is not None
    made._hand_over(batch)
    return made


def test_a_phone_s_positions_are_fixes_and_what_else_it_says_is_acknowledged_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[str, Any]] = []
    ignored = lane_module.metrics.mqtt_message_ignored.labels("owntracks")
    before = ignored._value.get()
    assert run(phones(monkeypatch, taken=True), sent.extend, until=4) == [1, 2, 3, 4]
    [(_, fixes), (_, refused)] = sent
    assert [fix.origin.source_id for fix in fixes.fixes] == ["guard-7"]
    assert [message.reason for message in refused.messages] == ["owntracks_encrypted"]
    assert ignored._value.get() - before == 2


def test_phones_that_are_not_taken_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Any]] = []
    run(phones(monkeypatch, taken=False), sent.extend, until=4)
    [(_, refused)] = sent
    assert {message.reason for message in refused.messages} == {"owntracks_off"}
    assert "VIGIL_OWNTRACKS" in refused.messages[0].detail


def lane_of(monkeypatch: pytest.MonkeyPatch, name: str) -> Lane:
    monkeypatch.setattr(lane_module, "RETRY_S", (0.01,))
    made = Lane(config.parse((PROJECT / "config.yaml").read_text(), {}), name)
    made.connection = FakeConnection()  # type: ignore[assignment]
    made._batcher.start_generation(1)
    return made


def sent_of(lane: Lane, deliveries: list[tuple[str, wire.Published]]) -> list[tuple[str, Any]]:
    """The events that these deliveries become, when all are acknowledged."""
    sent: list[tuple[str, Any]] = []
    for topic, message in deliveries:
        lane._take(topic, message)
    batch = lane._batcher.due(now_s=float("inf"))
    if batch is not None:
        lane._hand_over(batch)
    expected = [message.message_id for _, message in deliveries]
    assert run(lane, sent.extend, until=len(deliveries)) == expected
    return sent


@pytest.mark.parametrize("payload", [b"{}", b"", b"garbage", b'{"silent":true}'])
@pytest.mark.parametrize("topic", ["alert/panic/g", "alert/g", "sensor/s/alarm", "guard/7/gps"])
@pytest.mark.parametrize("mark", ["retained", "cleared"])
def test_what_the_broker_retained_or_vigil_cleared_is_acknowledged_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, topic: str, payload: bytes, mark: str
) -> None:
    lane = lane_of(monkeypatch, "alert" if topic.startswith("alert") else "bulk")
    ignored = lane_module.metrics.mqtt_message_ignored.labels(topic.split("/")[0])
    before = ignored._value.get()
    assert sent_of(lane, [(topic, published(payload, 1, **{mark: True}))]) == []
    assert ignored._value.get() - before == 1


@pytest.mark.parametrize(
    "topic",
    [
        "alert/panic/g/",
        "alert/panic/s/g",
        "alert/panic/",
        "alert/g",
        "alert/" + "x/" * 200,
        "guard/g/panic",
        "sensor/s/ALARM",
        "sensor/s/alarm/",
        "sensor/s/alarm",
    ],
)
@pytest.mark.parametrize("payload", [b"{", b"", b"\xff", b"[]", b'{"a":"\\u0000"}'])
def test_every_refused_alarm_is_kept_and_raises(
    monkeypatch: pytest.MonkeyPatch, topic: str, payload: bytes
) -> None:
    sent = sent_of(lane_of(monkeypatch, "bulk"), [(topic, published(payload, 1))])
    assert [name for name, _ in sent] == ["device_alert_received", "message_rejected"]
    assert sent[0][1].alert_type == "UNREADABLE_ALERT"


@pytest.mark.parametrize(
    ("topic", "kind"),
    [("alert/intrusion/g", "HIGH"), ("sensor/s/alarm", "CRITICAL"), ("sensor/s/status", None)],
)
def test_an_alarm_in_another_name_is_refused_and_raises(
    monkeypatch: pytest.MonkeyPatch, topic: str, kind: str | None
) -> None:
    body = b'{"type":"SMOKE","state":"ALARM","source_id":"0x00158d0001"}'
    sent = dict(sent_of(lane_of(monkeypatch, "bulk"), [(topic, published(body, 1))]))
    assert sent["message_rejected"].messages[0].reason == "identity_mismatch"
    alert = sent.get("device_alert_received")
    assert (alert is None) is (kind is None)
    assert alert is None or (alert.severity or "HIGH") == kind


def test_link_words_are_a_reading_of_a_device_and_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    deliveries = [
        ("device/d/LWT", b"Offline"),
        ("device/d/telemetry", b"Online"),
        ("sensor/s/alarm", b"Offline"),
        ("system/health/x", b"Online"),
        ("guard/7/LWT", b"Offline"),
        ("device/d/LWT", b""),
    ]
    numbered = [(topic, published(payload, number)) for number, (topic, payload) in enumerate(deliveries, 1)]
    [(name, event)] = sent_of(lane_of(monkeypatch, "bulk"), numbered)
    assert name == "device_telemetry_received"
    assert [reading.connectivity for reading in event.readings] == ["OFFLINE", "ONLINE"]


def test_a_link_word_on_the_topic_of_a_panic_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    for topic in ("alert/panic/g", "guard/g/panic"):
        sent = sent_of(lane_of(monkeypatch, "bulk"), [(topic, published(b"Offline", 1))])
        assert sent[0][1].alert_type == "UNREADABLE_ALERT"


def test_a_batch_that_is_decoded_again_keeps_its_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(monkeypatch, "bulk")
    lane._take("device/d/telemetry", published(b'{"battery":5}', 1))
    batch = lane._batcher.due(now_s=float("inf"))
    assert batch is not None
    [first], [again] = ([event.readings[0] for _, event in lane._decode(batch)] for _ in range(2))  # type: ignore[attr-defined]
    assert first.origin.key == again.origin.key
