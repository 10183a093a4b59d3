"""Tests of a lane without a broker while one source floods it.

They cover what is sent on, in which order, and what is acknowledged.
"""

import json
from collections import Counter
from typing import Any

import eventlet
import msgspec
import pytest

from gateway.mqtt import packets
from gateway.mqtt.lane import Lane
from ops.environment import PROJECT
from services.contracts.errors import Unavailable
from services.platform import config

FLOOD = 3_000


class Broker:
    """A broker that hands over no more than the receive maximum.

    It takes acknowledgements in order only.
    """

    generation = 1

    def __init__(self, lane: Lane, *, window: int) -> None:
        self._lane, self._window = lane, window
        self._next = 0
        self.acked = 0

    def ack(self, message_ids: Any, *, generation: int) -> None:
        assert generation == self.generation
        for message_id in message_ids:
            self.acked += 1
            assert message_id == self.acked, "acknowledged out of order"

    def deliver(self, topic: str, payload: bytes) -> None:
        with eventlet.Timeout(10):
            while self._next - self.acked >= self._window:
                eventlet.sleep(0.001)
        self._next += 1
        self._lane._take(topic, packets.PublishPacket(b"", payload, 1, self._next))

    def settle(self) -> None:
        with eventlet.Timeout(10):
            while self.acked < self._next:
                eventlet.sleep(0.005)


class Rabbit:
    """A RabbitMQ that confirms after a moment. It is away for `away` tries."""

    def __init__(self, *, away: int = 0) -> None:
        self.events: list[tuple[str, Any]] = []
        self._away = away

    def publish_all(self, events: Any) -> None:
        eventlet.sleep(0.005)
        if self._away:
            self._away -= 1
            raise Unavailable("away")
        self.events += events

    def of(self, kind: str) -> list[Any]:
        return [body for name, body in self.events if name.partition(".")[0] == kind]


def running(name: str, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> tuple[Broker, list[Any]]:
    """Return the broker and the green threads of a lane at work."""
    monkeypatch.setattr("gateway.mqtt.lane.RETRY_S", (0.01,))
    lane = Lane(config.parse((PROJECT / "config.yaml").read_text(), {}), name)
    lane._batcher.start_generation(1)
    broker = Broker(lane, window=100 if name == "alert" else 10_000)
    lane.connection = broker  # type: ignore[assignment]
    work: list[Any] = [(lane._send_batches, rabbit.publish_all) for _ in range(2)]
    work += [(lane._close_due_batches,), (lane._tell_of_floods, rabbit.publish_all)]
    if lane._repeated is not None:
        work.append((lane._send_repeats, lane._repeated, rabbit.publish_all))
    return broker, [eventlet.spawn(*task) for task in work]


def press(number: int) -> bytes:
    return json.dumps({"message": f"press {number}", "msg_id": f"m{number}"}).encode()


@pytest.mark.parametrize("away", [0, 5])
def test_each_press_of_a_flood_goes_on_once_and_first_presses_go_alone(
    away: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one source that floods, while RabbitMQ is away for a while or not at all
    rabbit = Rabbit(away=away)
    broker, threads = running("alert", rabbit, monkeypatch)

    # When presses of twenty others come among its presses
    for number in range(FLOOD):
        broker.deliver("alert/panic/flooder", press(number))
        if number % 150 == 100:
            broker.deliver(f"alert/panic/guard-{number}", press(number))
    broker.settle()
    for thread in threads:
        thread.kill()

    # Then those of the others were sent alone
    alone = Counter(alert.origin.source_id for alert in rabbit.of("device_alert_received"))
    assert alone.pop("flooder") == 6
    assert set(alone.values()) == {1}
    assert len(alone) == 20

    # And each press of the flood counts once, in few events
    repeats = rabbit.of("device_alert_repeated")
    assert 6 + sum(len(event.alerts) + event.counted for event in repeats) == FLOOD
    ids = {alert.origin.msg_id for event in repeats for alert in event.alerts}
    ids |= {msg_id for event in repeats for msg_id in event.msg_ids}
    assert len(ids) == FLOOD - 6
    assert len(repeats) < FLOOD / 10


def test_a_flood_in_the_bulk_lane_is_refused_with_its_number_and_others_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a phone that floods with fixes, and phones that do not
    rabbit = Rabbit()
    broker, threads = running("bulk", rabbit, monkeypatch)
    fix = b'{"lat": 12.9, "lon": 77.6}'

    # When their fixes come among its own, and an alarm on a sensor's topic from the flooding source
    for number in range(FLOOD):
        broker.deliver("guard/flooder/gps", fix)
        if number % 10 == 0:
            broker.deliver(f"guard/honest-{number % 7}/gps", b'{"lat": 12.9, "lon": 77.6, "n": %d}' % number)
    for _ in range(5):
        broker.deliver("sensor/flooder/alarm", b"ALARM")
    broker.settle()
    eventlet.sleep(0)
    with eventlet.Timeout(10):
        while not rabbit.of("source_flood_changed"):
            eventlet.sleep(0.05)
    for thread in threads:
        thread.kill()

    # Then no fix of the others is refused, and the whole flood is accounted for
    taken = Counter(fix.origin.source_id for batch in rabbit.of("guard_gps_received") for fix in batch.fixes)
    refused = [message for batch in rabbit.of("message_rejected") for message in batch.messages]
    flooded = taken.pop("flooder")
    assert sum(taken.values()) == FLOOD / 10
    assert {message.source_id for message in refused} == {"flooder"}
    assert {message.reason for message in refused} == {"rate_limited"}
    assert 500 <= flooded < 1_000

    # And the first alarm passes. Further ones are refused like the rest
    alarms = [r for batch in rabbit.of("sensor_data_received") for r in batch.readings]
    assert len(alarms) == 1
    assert flooded + len(alarms) + sum(message.count for message in refused) == FLOOD + 5
    assert len({message.key for message in refused}) <= 2

    # And one alert reports that this source floods
    [flood] = rabbit.of("source_flood_changed")
    assert (flood.source_id, flood.is_over, flood.lane) == ("flooder", False, "bulk")


def test_presses_that_cannot_be_read_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    rabbit = Rabbit()
    broker, threads = running("alert", rabbit, monkeypatch)
    for number in range(1_000):
        broker.deliver("alert/panic/flooder", b'{"message": "he%d' % number)
    broker.settle()
    for thread in threads:
        thread.kill()
    repeats = rabbit.of("device_alert_repeated")
    alone = len(rabbit.of("device_alert_received"))
    assert alone + sum(len(event.alerts) + event.counted for event in repeats) == 1_000
    assert {alert.alert_type for event in repeats for alert in event.alerts} == {"UNREADABLE_ALERT"}
    # Each fix within the rate is kept as it came, and no more than that.
    kept = sum(len(batch.messages) for batch in rabbit.of("message_rejected"))
    assert 500 <= kept < 600


def test_a_bug_that_meets_one_press_of_many_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a lane that fails once it has decoded a batch of repeats
    rabbit, failed = Rabbit(), list[int]()

    def fail_once(events: Any) -> None:
        if not failed and any(kind == "device_alert_repeated" and body.counted for kind, body in events):
            failed.append(1)
            raise OverflowError("cannot be sent")
        Rabbit.publish_all(rabbit, events)

    monkeypatch.setattr(rabbit, "publish_all", fail_once)
    broker, threads = running("alert", rabbit, monkeypatch)

    # When one source floods
    for number in range(FLOOD):
        broker.deliver("alert/panic/flooder", press(number))
    broker.settle()
    for thread in threads:
        thread.kill()

    # Then each press still counts
    repeats = rabbit.of("device_alert_repeated")
    alone = len(rabbit.of("device_alert_received"))
    assert failed
    assert alone + sum(len(event.alerts) + event.counted for event in repeats) == FLOOD


def test_repeats_that_are_large_go_on_in_messages_that_rabbitmq_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rabbit = Rabbit()
    broker, threads = running("alert", rabbit, monkeypatch)
    photo = b'{"photo": "' + b"x" * 900_000
    for number in range(60):
        broker.deliver("alert/panic/flooder", photo + b'%d"}' % number)
    broker.settle()
    for thread in threads:
        thread.kill()
    sizes = [len(msgspec.msgpack.encode(event)) for event in rabbit.of("device_alert_repeated")]
    assert max(sizes) < 4_000_000
    # A few are kept whole. Of the others, which are many bytes, the number is kept.
    assert sum(sizes) < 20_000_000
    events = rabbit.of("device_alert_repeated")
    assert 6 + sum(len(event.alerts) + event.counted for event in events) == 60
