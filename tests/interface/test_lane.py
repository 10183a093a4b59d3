"""Tests of a lane without a broker.

They cover what it sends on, in which order it acknowledges, and that nothing ends it.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import eventlet
import msgspec
import pytest

from gateway.mqtt import lane as lane_module
from gateway.mqtt import packets
from gateway.mqtt.batch import DeliveryBatch
from gateway.mqtt.lane import Lane
from ops.environment import PROJECT
from services.contracts.errors import Unavailable
from services.contracts.events import DeviceAlert
from services.contracts.families import FixBatch
from services.messaging.shards import shard_key, shard_of
from services.platform import config
from services.supervision import poison, restarts
from services.supervision.crash_marker import CrashMarker


def published(payload: bytes, message_id: int, **marks: bool) -> packets.PublishPacket:
    return packets.PublishPacket(b"", payload, 1, message_id, **marks)


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


def run(lane: Lane, publish_all: Any, *, until: int, senders: int = 1) -> list[int]:
    acked = lane.connection.acked  # type: ignore[attr-defined]
    sending = [eventlet.spawn(lane._send_batches, publish_all) for _ in range(senders)]
    with eventlet.Timeout(5):
        while len(acked) < until:
            eventlet.sleep(0.005)
    for sender in sending:
        sender.kill()
    return list(acked)


def test_alerts_go_one_by_one_and_are_acknowledged_after_the_confirm(lane: Lane) -> None:
    sent: list[str] = []
    lane._take("alert/panic/guard-1", published(b"{}", 7))
    lane._take("alert/sos/guard-2", published(b"garbage", 8))
    assert run(lane, lambda events: sent.extend(key.partition(".")[0] for key, _ in events), until=2) == [
        7,
        8,
    ]
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
            if kind.startswith("device_alert_received."):
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
    lane._hand_over(DeliveryBatch(1, 0, []))
    lane._take("alert/panic/guard-1", published(b"{}", 7))
    lane.connection.ack = lambda mids, **_: lane.connection.acked.extend(mids)  # type: ignore[attr-defined,method-assign]
    assert run(lane, sent.extend, until=1) == [7]
    assert len(sent) == 1


def bulk_lane(monkeypatch: pytest.MonkeyPatch) -> Lane:
    """Return a lane whose batches are hours apart: only a batch that need not wait is sent."""
    monkeypatch.setattr(lane_module, "RETRY_S", (0.01,))
    settings = config.parse((PROJECT / "config.yaml").read_text(), {})
    gateway = msgspec.structs.replace(settings.gateway, batch_light_age_s=0, batch_max_age_s=9999)
    made = Lane(msgspec.structs.replace(settings, gateway=gateway), "bulk")
    made.connection = FakeConnection()  # type: ignore[assignment]
    made._batcher.start_generation(1)
    return made


def read(lane: Lane, *mids: int) -> None:
    """Let one read of the socket bring these messages."""
    for mid in mids:
        lane._take(f"guard/g{mid}/gps", published(b'{"lat":1,"lon":2}', mid))
    lane._has_taken()


def test_a_lone_message_goes_at_once_and_what_comes_while_it_is_on_its_way_goes_next_and_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a lane with nothing on its way, and RabbitMQ that confirms when the test says so
    lane, confirm = bulk_lane(monkeypatch), eventlet.queue.Queue()
    sent: list[list[str]] = []

    def publish_all(events: Any) -> None:
        sent.append([fix.origin.source_id for _, event in events for fix in event.fixes])
        confirm.get()

    helpers = [eventlet.spawn(lane._send_batches, publish_all), eventlet.spawn(lane._close_due_batches)]
    try:
        with eventlet.Timeout(5):
            # When a message comes alone, then it is published, though nothing comes after it
            read(lane, 1)
            while not sent:
                eventlet.sleep(0)
            assert sent == [["g1"]]

            # When more come while it is on its way, then none of them is published yet
            read(lane, 2)
            read(lane, 3, 4)
            eventlet.sleep(0)
            assert len(sent) == 1
            assert lane._order.in_flight == 1

            # When it is confirmed, then they go together and in their order
            confirm.put(None)
            while len(sent) < 2:
                eventlet.sleep(0)
            assert sent[1:] == [["g2", "g3", "g4"]]
            confirm.put(None)
            while len(lane.connection.acked) < 4:  # type: ignore[attr-defined]
                eventlet.sleep(0)
            assert lane.connection.acked == [1, 2, 3, 4]  # type: ignore[attr-defined]
    finally:
        for helper in helpers:
            helper.kill()


def test_messages_that_wait_for_their_time_go_without_any_further_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given the usual lane, which has just sent something
    lane, sent = lane_of(monkeypatch, "bulk"), []
    helpers = [
        eventlet.spawn(
            lane._send_batches, lambda events: sent.append(sum(len(event.fixes) for _, event in events))
        ),
        eventlet.spawn(lane._close_due_batches),
    ]
    try:
        with eventlet.Timeout(5):
            read(lane, 1)
            while not lane._order.is_idle:
                eventlet.sleep(0)

            # When a few more come soon after it, then they leave by themselves
            read(lane, 2)
            read(lane, 3)
            while sum(sent) < 3:
                eventlet.sleep(0.001)
            assert sent[0] == 1
    finally:
        for helper in helpers:
            helper.kill()


def test_a_batch_that_is_sent_again_is_overtaken_by_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given RabbitMQ that is away for the first tries
    lane, tried = bulk_lane(monkeypatch), []

    def publish_all(events: Any) -> None:
        tried.append([fix.origin.source_id for fix in events[0][1].fixes])
        if len(tried) < 4:
            raise Unavailable("away")

    helpers = [eventlet.spawn(lane._send_batches, publish_all) for _ in range(lane._senders)]
    try:
        # When a batch cannot be sent, and others come
        with eventlet.Timeout(5):
            read(lane, 1)
            while not tried:
                eventlet.sleep(0)
            read(lane, 2)
            while len(lane.connection.acked) < 2:  # type: ignore[attr-defined]
                eventlet.sleep(0.001)
    finally:
        for helper in helpers:
            helper.kill()

    # Then the first goes again until it is confirmed, and only then the next
    assert tried == [["g1"]] * 4 + [["g2"]]


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


def sent_of(lane: Lane, deliveries: list[tuple[str, packets.PublishPacket]]) -> list[tuple[str, Any]]:
    """Return the events of these deliveries with their types, when all are acknowledged."""
    return [(key.partition(".")[0], event) for key, event in keyed_of(lane, deliveries)]


def keyed_of(lane: Lane, deliveries: list[tuple[str, packets.PublishPacket]]) -> list[tuple[str, Any]]:
    """Return the same with their routing keys."""
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


def struck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, topic: str, *, times: int) -> Lane:
    """Return a lane after `times` ends of its process with this message in hand.

    No byte of the message may be read.
    """
    monkeypatch.setenv(restarts.VARIABLE, str(tmp_path))
    digest = poison.digest(topic, b"poison")
    for _ in range(times):
        marker = CrashMarker(tmp_path / f"vigil-gateway-{name}.decoding")
        marker.take(digest)
        marker.close()

    def decode(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was read")

    if times >= lane_module.POISON_STRIKES:
        for module, function in (
            (lane_module.payloads, "decode"),
            (lane_module.payloads, "rejected_identity"),
        ):
            monkeypatch.setattr(module, function, decode)
    if times >= lane_module.UNNAMED_STRIKES:
        monkeypatch.setattr(lane_module.topics, "parse", decode)
    return lane_of(monkeypatch, name)


@pytest.mark.parametrize(
    ("times", "source"), [(2, "guard-1"), (3, None)], ids=["its topic is read", "not even its topic is read"]
)
def test_poison_on_an_alarm_topic_is_kept_and_raised_without_being_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int, source: str | None
) -> None:
    lane = struck(monkeypatch, tmp_path, "alert", "alert/panic/guard-1", times=times)
    [(_, alert), (_, kept)] = sent_of(lane, [("alert/panic/guard-1", published(b"poison", 7))])
    assert (alert.alert_type, alert.unreadable, alert.severity) == (
        "UNREADABLE_ALERT",
        b"poison",
        "CRITICAL",
    )
    assert alert.origin.source_id == "guard-1"
    [message] = kept.messages
    assert (message.reason, message.payload, message.topic) == ("poison", b"poison", "alert/panic/guard-1")
    assert (message.source_id, message.key) == (source, alert.origin.key)
    # It stays poison, and a redelivery of it is the same message.
    redelivered = ("alert/panic/guard-1", published(b"poison", 7, redelivered=True))
    [(_, again), _] = sent_of(lane_of(monkeypatch, "alert"), [redelivered])
    sent_again = ("alert/panic/guard-1", published(b"poison", 8))
    [(_, another), _] = sent_of(lane_of(monkeypatch, "alert"), [sent_again])
    assert again.origin.key == alert.origin.key != another.origin.key


def test_poison_that_cannot_have_been_an_alarm_is_kept_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lane = struck(monkeypatch, tmp_path, "bulk", "guard/1/gps", times=2)
    [(kind, kept)] = sent_of(lane, [("guard/1/gps", published(b"poison", 7))])
    assert (kind, [message.reason for message in kept.messages]) == ("message_rejected", ["poison"])


def test_a_message_with_one_strike_is_read_and_loses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lane = struck(monkeypatch, tmp_path, "alert", "alert/panic/guard-1", times=1)
    [(_, alert), (_, kept)] = sent_of(lane, [("alert/panic/guard-1", published(b"poison", 7))])
    assert (alert.flags, kept.messages[0].reason) == (("unreadable", "broken_json"), "broken_json")
    assert lane._marker.strikes_of(poison.digest("alert/panic/guard-1", b"poison")) == 0


def test_what_waited_at_the_broker_says_so_in_all_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(monkeypatch, "bulk")
    lane._backlog.note = note = "received_after_outage:2026-11-29T18:00:00Z/2026-11-29T18:00:42Z"
    messages = [
        ("guard/1/gps", published(b'{"lat":1,"lon":2}', 1)),
        ("sensor/s/alarm", published(b"{", 2)),
        ("device/d/telemetry", published(b'{"battery":200}', 3)),
    ]
    events = dict(sent_of(lane, messages))
    assert events["guard_gps_received"].fixes[0].origin.quality == (note,)
    assert events["device_telemetry_received"].readings[0].origin.quality == ("battery", note)
    assert events["device_alert_received"].flags == ("unreadable", "broken_json", note)
    assert events["message_rejected"].messages[0].detail.endswith(f"({note})")
    fresh = lane_of(monkeypatch, "bulk")
    [(_, fixes)] = sent_of(fresh, [("guard/1/gps", published(b'{"lat":3,"lon":2}', 4))])
    assert fixes.fixes[0].origin.quality == ()


def test_messages_go_under_the_shard_of_their_source_in_the_order_in_which_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given messages of many guards and sensors, some of each
    guards = [f"guard-{number % 20}" for number in range(60)]
    deliveries = [
        (f"guard/{guard.removeprefix('guard-')}/gps", published(b'{"lat":1,"lon":2,"n":%d}' % number, number))
        for number, guard in enumerate(guards, 1)
    ]
    deliveries += [(f"sensor/s{n}/status", published(b'{"state":"OPEN"}', 100 + n)) for n in range(20)]

    # When they are sent
    events = keyed_of(lane_of(monkeypatch, "bulk"), deliveries)

    # Then each event holds messages of one shard, in order, and there is one event for each kind
    # and shard
    assert len({key for key, _ in events}) == len(events)
    fixes, readings = [], []
    for key, event in events:
        items = event.fixes if isinstance(event, FixBatch) else event.readings
        kind = "guard_gps_received" if isinstance(event, FixBatch) else "sensor_data_received"
        assert {shard_key(kind, shard_of(item.origin.source_id, 8)) for item in items} == {key}
        numbers = [json.loads(item.origin.raw).get("n", 0) for item in items]
        assert numbers == sorted(numbers)
        (fixes if isinstance(event, FixBatch) else readings).extend(item.origin.source_id for item in items)
    assert Counter(fixes) == Counter(guards)
    assert len(readings) == 20


def test_a_batch_is_published_when_the_one_before_it_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two senders, a batch that RabbitMQ does not take at first, and another one behind it
    monkeypatch.setattr("gateway.mqtt.lane.RETRY_S", (0.01,))
    lane = lane_of(monkeypatch, "bulk")
    tried: list[int] = []

    def publish_all(events: Any) -> None:
        [(_, event)] = events
        tried.append(json.loads(event.fixes[0].origin.raw)["n"])
        eventlet.sleep(0)
        if len(tried) < 4:
            raise Unavailable("not yet")

    for number in (1, 2):
        lane._take("guard/1/gps", published(b'{"lat":1,"lon":2,"n":%d}' % number, number))
        batch = lane._batcher.due(now_s=float("inf"))
        assert batch is not None
        lane._hand_over(batch)

    # When they are sent, then the second one waits for the first
    assert run(lane, publish_all, until=2, senders=2) == [1, 2]
    assert tried == [1, 1, 1, 1, 2]
