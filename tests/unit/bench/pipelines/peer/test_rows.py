import json
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bench.ledger import messages
from bench.pipelines.peer.rows import (
    COMMON_COLUMNS,
    KINDS,
    PeerRefusal,
    PeerRow,
    PeerZones,
    decode,
    judge,
    key_of,
)

RECEIVED_S = 1_800_000_000.0
NOW = datetime.fromtimestamp(RECEIVED_S, UTC)
LEDGER = messages.make(count=2000, sources=20, seed=1, run="r", now=NOW)


def row(topic: str, fields: dict[str, Any]) -> PeerRow:
    found = decode(topic, json.dumps(fields).encode(), RECEIVED_S)
    assert isinstance(found, PeerRow), found
    return found


def value(found: PeerRow, name: str) -> Any:
    return dict(zip((*COMMON_COLUMNS, *KINDS[found.family].columns), found.values, strict=True))[name]


def test_all_of_a_ledger_is_stored_but_what_must_be_refused() -> None:
    found = {e.msg_id: decode(e.topic, e.payload, RECEIVED_S) for e in LEDGER}
    for entry in LEDGER:
        is_refused = isinstance(found[entry.msg_id], PeerRefusal)
        assert is_refused == entry.refused, (entry, found[entry.msg_id])
    assert {one.family for one in found.values() if isinstance(one, PeerRow)} == set(KINDS)


def test_keys_are_those_of_messages_and_not_of_deliveries() -> None:
    keys = {found.key for e in LEDGER for found in [decode(e.topic, e.payload, RECEIVED_S)]}
    again = {found.key for e in LEDGER for found in [decode(e.topic, e.payload, RECEIVED_S + 60)]}
    assert keys == again
    assert len(keys) == len(LEDGER)


def test_the_same_msg_id_of_two_sources_is_two_messages() -> None:
    assert row("device/a/telemetry", {"msg_id": "1"}).key != row("device/b/telemetry", {"msg_id": "1"}).key
    assert row("device/a/telemetry", {"msg_id": "1"}).key != row("sensor/a/reading", {"msg_id": "1"}).key


def test_a_message_without_msg_id_is_known_by_its_bytes() -> None:
    assert row("device/a/telemetry", {"battery": 1}).key == row("device/a/telemetry", {"battery": 1}).key
    assert row("device/a/telemetry", {"battery": 1}).key != row("device/a/telemetry", {"battery": 2}).key


@pytest.mark.parametrize(
    ("timestamp", "recorded_at"),
    [
        (None, NOW),
        ("2026-11-29T10:00:00Z", datetime(2026, 11, 29, 10, tzinfo=UTC)),
        ("2026-11-29T10:00:00", datetime(2026, 11, 29, 10, tzinfo=UTC)),
        ("2026-11-29T10:00:00+05:30", datetime(2026, 11, 29, 10, tzinfo=timezone(timedelta(hours=5.5)))),
    ],
)
def test_a_time_without_an_offset_is_utc_and_none_is_that_of_receipt(
    timestamp: str | None, recorded_at: datetime
) -> None:
    assert value(row("device/a/telemetry", {"timestamp": timestamp}), "recorded_at") == recorded_at


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("guard/1/gps", b'{"lat": 91, "lon": 0}'),
        ("guard/1/gps", b'{"lon": 0}'),
        ("guard/1/gps", b"\xff"),
        ("guard/1/gps", b"[]"),
        ("device/1/telemetry", b'{"battery": 101}'),
        ("device/1/telemetry", b'{"msg_id": "' + b"x" * 65 + b'"}'),
        ("unknown/1", b"{}"),
        ("alert/panic", b"{}"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_a_reason(topic: str, payload: bytes) -> None:
    found = decode(topic, payload, RECEIVED_S)
    assert isinstance(found, PeerRefusal)
    assert found.reason
    assert found.key == key_of(topic, payload)


def test_the_source_is_the_part_of_the_topic_that_names_it() -> None:
    assert row("alert/panic/guard-7", {}).source_id == "guard-7"
    assert row("system/health/nvr-1", {}).source_id == "nvr-1"
    assert row("guard/guard-7/gps", {"lat": 1, "lon": 2}).source_id == "guard-7"


def test_a_point_is_inside_when_it_is_in_any_zone() -> None:
    zones = PeerZones([(12.0, 77.0, 100.0), (12.01, 77.0, 50.0)])
    metre = 1 / 111_195.0
    inside = [(12.0, 77.0), (12.0 + 99 * metre, 77.0), (12.01, 77.0 + 49 * metre)]
    outside = [(12.0 + 101 * metre, 77.0), (12.01, 77.0 + 55 * metre), (0.0, 0.0), (-89.0, 180.0)]
    lat, lon = zip(*inside, *outside, strict=True)
    assert zones.inside(lat, lon) == [True] * len(inside) + [False] * len(outside)


def test_a_fix_has_its_place_and_its_verdict_behind_its_values() -> None:
    fix = row("guard/1/gps", {"lat": 12.5, "lon": 77.5})
    [whole] = judge(PeerZones([(12.5, 77.5, 10.0)]), [fix])
    assert whole[: len(fix.values)] == fix.values
    assert struct.unpack("<BIIdd", whole[-3]) == (1, 0x20000001, 4326, 77.5, 12.5)
    assert whole[-2:] == (True, False)
