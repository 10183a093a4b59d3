import json
import random
from datetime import UTC, datetime

from gateway.mqtt.decoding import payloads, topics
from ops.simulation.simulator import EventChances, Fleet

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def speak(seed: int, turns: int, odds: EventChances | None = None) -> list[tuple[str, bytes, str]]:
    fleet = Fleet(guards=10, chance=random.Random(seed), run="r", odds=odds)
    return [out[1:] for _ in range(turns) for out in fleet.turn(now=NOW, elapsed_s=5)]


def test_the_same_seed_walks_the_same_walks() -> None:
    assert speak(1, 300) == speak(1, 300)
    assert speak(1, 300) != speak(2, 300)


def test_every_message_is_one_that_the_gateway_takes() -> None:
    for topic, payload, _ in speak(3, 1000, EventChances(panic=0.05, leave=0.05, smoke=0.2)):
        parsed = topics.parse(topic)
        message = payloads.decode(
            topic,
            parsed,
            payload,
            received_at=NOW,
            limits=payloads.PayloadLimits(),
            fresh_key=lambda: b"0" * 16,
        )
        assert message.origin.quality == ()


def test_trouble_happens_and_is_notable() -> None:
    odds = EventChances(panic=0.05, leave=0.05, smoke=0.2, overload=0.2)
    said = " ".join(notable for *_, notable in speak(4, 3000, odds))
    assert all(word in said for word in ("panic", "leaves", "comes back", "smoke", "overloaded"))


def test_every_family_speaks() -> None:
    families = {topic.split("/")[0] for topic, *_ in speak(6, 1000, EventChances(panic=0.05))}
    assert families == {"guard", "device", "sensor", "system", "alert"}


def test_a_guard_says_that_he_leaves_when_he_is_outside_and_that_he_is_back_when_he_is_inside() -> None:
    from services.geofencing.geometry import haversine_m

    crossings = 0
    for topic, payload, notable in speak(7, 5000, EventChances(panic=0, leave=0.02, smoke=0, overload=0)):
        if topic.startswith("guard/") and notable:
            fix = json.loads(payload)
            distance_m = haversine_m(12.9716, 77.5946, fix["lat"], fix["lon"])
            margin_m = 5 * fix["accuracy"]
            assert distance_m > 500 - margin_m if "leaves" in notable else distance_m < 500 + margin_m
            crossings += 1
    assert crossings > 10


def test_nobody_is_faster_than_a_motorcycle_and_the_speed_is_that_of_the_walk() -> None:
    speeds = [
        json.loads(payload)["speed"]
        for topic, payload, _ in speak(8, 3000, EventChances(leave=0.05))
        if topic.startswith("guard/")
    ]
    assert max(speeds) <= 12.0
    assert any(speed == 1.4 for speed in speeds)


def test_a_slow_fleet_takes_no_step_out_of_the_site_that_it_does_not_tell() -> None:
    fleet = Fleet(guards=3, chance=random.Random(9), run="r", odds=EventChances(leave=0))
    said = [out.notable for _ in range(500) for out in fleet.turn(now=NOW, elapsed_s=600)]
    assert not any("zone" in notable for notable in said)


def test_guards_who_do_not_leave_stay_within_the_site() -> None:
    from services.geofencing.geometry import haversine_m

    for topic, payload, _ in speak(5, 3000, EventChances(panic=0, leave=0, smoke=0)):
        if topic.startswith("guard/"):
            fix = json.loads(payload)
            assert haversine_m(12.9716, 77.5946, fix["lat"], fix["lon"]) < 500


def test_what_speaks_is_what_has_to_be_registered() -> None:
    fleet = Fleet(guards=10, chance=random.Random(1), run="r", odds=EventChances(panic=0.05))
    families = dict(fleet.sources())
    assert len(families) == len(fleet)
    for _ in range(1000):
        for out in fleet.turn(now=NOW, elapsed_s=5):
            parsed = topics.parse(out.topic)
            assert parsed.source_id == out.source_id
            assert families[out.source_id] == parsed.family or parsed.family == "alert"
