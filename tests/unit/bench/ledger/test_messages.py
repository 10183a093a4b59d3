import itertools
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.ledger import messages
from gateway.mqtt.decoding import payloads, topics
from services.contracts.errors import InvalidMessage
from services.geofencing.geometry import haversine_m

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def make(count: int, *, seed: int = 1, run: str = "r") -> list[messages.LedgerEntry]:
    return messages.make(count=count, sources=50, seed=seed, run=run, now=NOW)


def test_the_same_seed_makes_the_same_messages() -> None:
    assert make(500) == make(500)
    assert make(500) != make(500, seed=2)


def test_every_message_has_a_name_of_its_own_which_it_carries() -> None:
    entries = make(2000, run="b1")
    assert [entry.msg_id for entry in entries] == [f"b1-{number}" for number in range(2000)]
    assert all(json.loads(entry.payload)["msg_id"] == entry.msg_id for entry in entries)


def test_all_families_come_by_their_weights_and_some_come_twice() -> None:
    entries = make(20_000)
    shares = Counter(entry.family for entry in entries)
    for family, weight in messages.WEIGHTS.items():
        assert abs(shares[family] / 200 - weight) < 2
    assert shares["alert"] > 0
    assert 50 < sum(entry.copies == 2 for entry in entries) < 200
    assert 20 < sum(entry.refused for entry in entries) < 200


def test_a_guard_walks_from_fix_to_fix_as_if_they_were_sent_at_a_nominal_pace() -> None:
    count = 4000
    tracks: dict[str, list[dict[str, Any]]] = {}
    for entry in make(count):
        if entry.family == "guard" and not entry.refused:
            tracks.setdefault(entry.topic, []).append(json.loads(entry.payload))
    assert len(tracks) == 50
    for track in tracks.values():
        times = [datetime.fromisoformat(fix["timestamp"]) for fix in track]
        assert times == sorted(set(times))
        assert NOW <= times[0] <= times[-1] <= NOW + timedelta(seconds=count / messages.NOMINAL_PER_S)
        steps = [haversine_m(a["lat"], a["lon"], b["lat"], b["lon"]) for a, b in itertools.pairwise(track)]
        assert max(steps) < 45


def test_the_gateway_refuses_those_that_the_ledger_says_it_refuses_and_no_others() -> None:
    limits = payloads.PayloadLimits()
    for entry in make(3000):
        topic = topics.parse(entry.topic)
        try:
            message = payloads.decode(
                entry.topic, topic, entry.payload, received_at=NOW, limits=limits, fresh_key=lambda: b"0" * 16
            )
        except InvalidMessage:
            assert entry.refused, entry
        else:
            assert not entry.refused, entry
            assert message.origin.quality == ()
            assert not message.origin.clock_suspect


def test_zones_are_on_a_grid_around_the_site_s_own_and_none_is_twice() -> None:
    made = messages.zones(100)
    assert made[0] == (messages.LAT, messages.LON, 500.0)
    assert len(set(made)) == len(made) == 100
    nearest_m = min(haversine_m(messages.LAT, messages.LON, lat, lon) for lat, lon, _ in made[1:])
    assert 799 < nearest_m < 801
    assert messages.zones(7) == made[:7]
