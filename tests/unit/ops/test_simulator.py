import json
import random
from datetime import UTC, datetime

from gateway.mqtt import payloads, topics
from ops.simulator import Fleet, Odds

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def speak(seed: int, turns: int, odds: Odds | None = None) -> list[tuple[str, bytes, str]]:
    fleet = Fleet(guards=10, chance=random.Random(seed), run="r", odds=odds)
    return [tuple(out) for _ in range(turns) for out in fleet.turn(now=NOW, elapsed_s=5)]


def test_the_same_seed_walks_the_same_walks() -> None:
    assert speak(1, 300) == speak(1, 300)
    assert speak(1, 300) != speak(2, 300)


def test_every_message_is_one_that_the_gateway_takes() -> None:
    for topic, payload, _ in speak(3, 1000, Odds(panic=0.05, leave=0.05, smoke=0.2)):
        parsed = topics.parse(topic)
        message = payloads.decode(
            topic, parsed, payload, received_at=NOW, limits=payloads.Limits(), fresh_key=lambda: b"0" * 16
        )
        assert message.origin.quality == ()


def test_trouble_happens_and_is_notable() -> None:
    said = " ".join(notable for *_, notable in speak(4, 3000, Odds(panic=0.05, leave=0.05, smoke=0.2)))
    assert all(word in said for word in ("panic", "leaves", "smoke"))


def test_guards_who_do_not_leave_stay_within_the_site() -> None:
    from services.location.zones import haversine_m

    for topic, payload, _ in speak(5, 3000, Odds(panic=0, leave=0, smoke=0)):
        if topic.startswith("guard/"):
            fix = json.loads(payload)
            assert haversine_m(12.9716, 77.5946, fix["lat"], fix["lon"]) < 500
