"""Tests that a pack proves itself, and that any change of it shows."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.evidence import hash_chain
from services.alerts.evidence import pack as evidence
from services.alerts.evidence.hash_chain import ChainContent, ChainHead
from services.alerts.evidence.pack import CheckState, Pack, PackRows, TrackWindow
from services.contracts.errors import Refused

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALERT_ID = UUID("6f1c9f2e-0000-4000-8000-000000000001")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PRINT = evidence.fingerprint(evidence.public_bytes(KEY.public_key()))


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


ALERT: dict[str, Any] = {
    "alert_id": ALERT_ID,
    "tenant_id": 1,
    "site_id": 4,
    "alert_type": "PANIC",
    "severity": "CRITICAL",
    "status": "RESOLVED",
    "source_id": "guard-7",
    "source_name": None,
    "dedup_key": "PANIC:guard-7",
    "message": "help <script>alert(1)</script>",
    "occurrences": 2,
    "recorded_at": NOON,
    "received_at": NOON + timedelta(seconds=1),
    "last_seen_at": later(1),
    "silent": True,
    "drill": False,
    "clock_suspect": False,
    "flags": ["severity"],
    "raw_data": '{"severity": 1.10}',
    "carried_by": None,
    "acknowledged_by": "Ann",
    "acknowledged_at": later(0.7),
    "cleared_at": None,
    "closed_at": later(30),
    "lat": 12.9716,
    "lon": 77.5946,
}


def timeline() -> tuple[list[dict[str, Any]], list[dict[str, Any]], ChainHead]:
    """Return rows 3, 4, 6 of this alert, and rows 5 and 7 of others."""
    words = {
        3: ("raised", "NEW", "guard-7", ""),
        4: ("acknowledged", "ACKNOWLEDGED", "Ann", 'going "now"\n<b>'),
    }
    words[6] = ("resolved", "RESOLVED", "Ann", "all well")
    rows, others, prev = [], [], sha256(b"before").digest()
    for seq in range(3, 8):
        action, status, by, note = words.get(seq, ("noted", "NEW", "other", "not ours"))
        at = later(seq - 3)
        content = ChainContent(
            tenant_id=1, alert_id=str(ALERT_ID), at=at, action=action, status=status, by=by, note=note
        )
        digest = sha256(hash_chain.canonical(seq, content)).digest()
        place = {"seq": seq, "prev_hash": prev, "hash": hash_chain.linked(prev, digest)}
        prev = place["hash"]
        if seq in words:
            row = {
                "alert_id": ALERT_ID,
                "tenant_id": 1,
                "at": at,
                "action": action,
                "status": status,
                "by": by,
            }
            rows.append({"entry_id": seq * 10, **row, "note": note, "announced_at": at, **place})
        else:
            others.append({**place, "digest": digest, "erased": seq == 5})
    return rows, others, ChainHead(7, prev)


def fixes(count: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "recorded_at": later(-10 + number),
            "received_at": later(-10 + number),
            "clock_suspect": False,
            "lat": 12.9716 + number * 1e-4,
            "lon": 77.5946 + (number % 7) * 1e-4,
            "accuracy": 5.5,
            "speed": None,
            "heading": None,
            "source": "gps",
            "mock": False,
            "in_geofence": True,
            "geofence_violation": False,
            "message_key": UUID(int=number),
        }
        for number in range(count)
    ]


def gathered(**changes: Any) -> PackRows:
    rows, others, head = timeline()
    base: dict[str, Any] = {
        "tenant": {"tenant_id": 1, "name": "Seven & Seas"},
        "alert": ALERT,
        "site": {"site_id": 4, "name": "Dock <1>", "time_zone": "Asia/Kolkata", "lat": 12.97, "lon": 77.59},
        "zones": [
            {
                "zone_id": 1,
                "site_id": 4,
                "name": "perimeter",
                "kind": "required",
                "version": 3,
                "enabled": True,
                "radius_m": 500.0,
                "area": '{"type":"Point","coordinates":[77.5946,12.9716]}',
            },
            {
                "zone_id": 2,
                "site_id": None,
                "name": "pit",
                "kind": "forbidden",
                "version": 1,
                "enabled": True,
                "radius_m": None,
                "area": '{"type":"Polygon","coordinates":[[[77.59,12.97],[77.6,12.97],[77.6,12.98],[77.59,12.97]]]}',
            },
        ],
        "people": {
            "taken_at": NOON,
            "content": {
                "guard": {"guard_id": "guard-7", "profile": {"call_sign": "Kilo <7>"}},
                "site": {"site_id": 4, "profile": {"address": "12 Mill Road"}},
                "device": None,
            },
        },
        "occurrences": [
            {
                "message_key": UUID(int=7),
                "alert_id": ALERT_ID,
                "tenant_id": 1,
                "msg_id": "m1",
                "topic": "alert/panic/guard-7",
                "recorded_at": NOON,
                "received_at": NOON,
                "clock_suspect": False,
                "flags": ["severity"],
                "raw_data": '{"message": "<img src=x onerror=alert(1)>"}',
                "unreadable": None,
            },
            {
                "message_key": UUID(int=8),
                "alert_id": ALERT_ID,
                "tenant_id": 1,
                "msg_id": None,
                "topic": None,
                "recorded_at": NOON,
                "received_at": NOON,
                "clock_suspect": True,
                "flags": [],
                "raw_data": None,
                "unreadable": memoryview(b"\xff\x00<script>"),
            },
        ],
        "timeline": rows,
        "links": others,
        "links_cut": False,
        "head": head,
        "notifications": [
            {
                "notification_id": 1,
                "tenant_id": 1,
                "alert_id": ALERT_ID,
                "channel": "sms",
                "recipient": "+919876543210",
                "state": "delivered",
                "body": "PANIC <script>",
                "created_at": NOON,
                "attempts": 2,
                "detail": {"provider": "x"},
            }
        ],
        "guard": {"guard_id": "guard-7", "name": "Asha Rao", "site_id": 4},
        "window": TrackWindow(later(-15), later(45), cut_short=False),
        "fixes": fixes(),
        "fixes_in_window": 40,
    }
    return PackRows(**{**base, **changes})


def pack(**changes: Any) -> Pack:
    return evidence.sign(evidence.build(gathered(**changes), made_by="Olga", now=later(60)), KEY)


def failed(document: Pack) -> dict[str, str]:
    checks = evidence.check(document, expected=PRINT)
    return {check.name: check.detail for check in checks if check.state is CheckState.FAILED}


def test_a_pack_proves_itself_also_after_it_was_a_file() -> None:
    read = evidence.parse(evidence.file_bytes(pack()))
    assert read == pack()
    checks = evidence.check(read, expected=PRINT)
    assert {check.state for check in checks} == {CheckState.OK}
    said = {check.name: check.detail for check in checks}
    assert said["chain"] == "seq 3 to 7, every link holds; 1 of them of alerts that were erased"
    assert said["timeline"] == "3 rows, all of this alert"


def chain_said(document: Pack) -> str:
    return next(check.detail for check in evidence.check(document) if check.name == "chain")


def test_other_alerts_are_in_it_by_their_digests_alone() -> None:
    assert "not ours" not in evidence.file_bytes(pack()).decode()
    assert pack()["chain"]["links"][0].keys() == {"seq", "prev_hash", "hash", "digest", "erased"}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value. Two fixes of the track are enough."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value if path[-1] != "fixes" else value[:2]):
            yield from leaves(part, (*path, index))
    else:
        yield path


def changed(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1") if value else "x"
    return "x"


PATHS = list(leaves(pack()))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_change_of_any_value_is_found_and_named(path: tuple[Any, ...]) -> None:
    document = copy.deepcopy(pack())
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = changed(holder[path[-1]])
    found = failed(document)
    assert "signature" in found
    if path[0] == "sections":
        assert f"section {path[1]}" in found
    elif path[0] != "signature":
        assert f"section {path[0]}" in found
    if path[0] == "timeline" and path[2] not in ("entry_id", "announced_at"):
        assert "chain" in found or "timeline" in found
    if path[0] == "timeline" and path[2] in ("action", "status", "by", "note"):
        assert f"seq {document['timeline'][path[1]]['seq']}: altered" in found["chain"]


@pytest.mark.parametrize("name", [*evidence.SECTIONS, "sections", "signature"])
def test_what_is_taken_out_is_missed(name: str) -> None:
    document = pack()
    del document[name]
    found = failed(document)
    assert "signature" in found
    assert name in ("sections", "signature") or f"section {name}" in found


def test_what_is_put_in_is_found() -> None:
    assert "section further" in failed({**pack(), "further": 1})


def test_a_forger_who_hashes_and_signs_anew_has_another_key_and_a_broken_chain() -> None:
    forged = {name: part for name, part in copy.deepcopy(pack()).items() if name != "signature"}
    forged["timeline"][1]["note"] = "nothing was done"
    forged["sections"]["timeline"] = evidence.digest_of(forged["timeline"])
    signed = evidence.sign(forged, Ed25519PrivateKey.generate())
    found = failed(signed)
    assert set(found) == {"chain", "key"}
    assert found["chain"].startswith("seq 4: altered")


def test_a_row_that_the_record_does_not_account_for_fails() -> None:
    rows, others, head = timeline()
    assert "missing" in failed(pack(timeline=rows[:1] + rows[2:]))["chain"]
    assert "missing" in failed(pack(links=others[1:]))["chain"]
    assert "missing" in failed(pack(head=ChainHead(9, head.hash)))["chain"]
    assert "further than a pack reaches" in chain_said(pack(head=ChainHead(9, head.hash), links_cut=True))
    assert "no head" in failed(pack(head=None))["chain"]
    unplaced = {**rows[2], "seq": None, "prev_hash": None, "hash": None}
    assert "no place" in failed(pack(timeline=[*rows[:2], unplaced]))["timeline"]
    assert (
        "another alert"
        in failed(pack(timeline=[{**rows[0], "alert_id": UUID(int=1)}, *rows[1:]]))["timeline"]
    )


def test_a_pack_holds_the_record_to_what_it_was() -> None:
    found = evidence.anchors(pack(), tenant_id=1)
    assert sorted(found) == [3, 4, 6, 7]
    assert found[7] == pack()["chain"]["head"]["hash"]
    with pytest.raises(Refused, match="of tenant 1"):
        evidence.anchors(pack(), tenant_id=2)
    with pytest.raises(Refused, match="itself fails"):
        evidence.anchors({**pack(), "made_by": "Eve"}, tenant_id=1)


def test_the_key_is_the_expected_one_our_own_or_unknown() -> None:
    def key(**options: str) -> CheckState:
        return evidence.check(pack(), **options)[-1].state

    written = ":".join(PRINT[i : i + 2] for i in range(0, 64, 2)).upper()
    assert key(expected=PRINT) is key(expected=f" {written}\n") is key(own=PRINT) is CheckState.OK
    assert key(expected="0" * 64, own=PRINT) is CheckState.FAILED
    assert key(own="0" * 64) is key() is CheckState.UNKNOWN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b"\xff",
        b'{"format": "a", "format": "b"}',
        b'{"format": "a", "x": NaN}',
    ]
    + [b"[" * 100_000, b'{"format": "x", "n": ' + b"9" * 5000 + b"}"],
    ids=range(9),
)
def test_what_is_no_pack_or_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="not an evidence pack"):
        evidence.parse(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*evidence.SECTIONS, "sections", "signature"]), json_values)
def test_a_stranger_s_file_may_hold_anything(name: str, value: Any) -> None:
    document = {**pack(), name: value}
    if document != pack():
        assert failed(document)


@given(st.sampled_from([path for path in PATHS if len(path) > 1]), json_values)
def test_and_anywhere(path: tuple[Any, ...], value: Any) -> None:
    document = copy.deepcopy(pack())
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    if json.dumps(document, sort_keys=True) != json.dumps(pack(), sort_keys=True):
        assert failed(document)


def test_the_track_covers_fifteen_minutes_on_both_sides_in_bounds() -> None:
    now = later(60)

    def window(**changes: Any) -> TrackWindow:
        return evidence.window_of({**ALERT, **changes}, now=now)

    assert window() == TrackWindow(later(-15), later(45), cut_short=False)
    assert window(closed_at=None) == TrackWindow(later(-15), now, cut_short=False)
    assert window(closed_at=later(59)).until == now
    assert window(recorded_at=later(-3)).since == later(-18)
    long_ago = window(recorded_at=later(-5000), closed_at=None)
    assert long_ago == TrackWindow(later(-5015), later(-5015 + 1440), cut_short=True)


def test_values_of_the_database_become_json_without_loss() -> None:
    assert evidence.as_json({"a": b"\xff", "b": NOON, "c": (1, None, True), "d": UUID(int=1)}) == {
        "a": "/w==",
        "b": "2026-03-01T12:00:00.000000Z",
        "c": [1, None, True],
        "d": "00000000-0000-0000-0000-000000000001",
    }
