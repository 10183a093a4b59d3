"""Tests of messages of OwnTracks phones, as the apps' own documentation has them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mqtt.decoding import owntracks, topics
from gateway.mqtt.decoding.payloads import PayloadLimits
from services.contracts.errors import InvalidMessage
from services.contracts.families import Fix

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TST = int(NOW.timestamp()) - 60
LOCATION = {"_type": "location", "lat": 12.97, "lon": 77.59, "acc": 12, "vel": 36, "cog": 270, "tst": TST}
TOPIC = "owntracks/7/phone"


def decode(payload: Any, topic: str = TOPIC) -> Fix | None:
    encoded = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return owntracks.decode(
        topic,
        topics.parse(topic),
        encoded,
        received_at=NOW,
        limits=PayloadLimits(),
        fresh_key=lambda: b"f" * 16,
    )


def fix_of(**changes: Any) -> Fix:
    fix = decode({**LOCATION, **changes})
    assert fix is not None
    return fix


def test_a_location_is_a_fix_of_the_guard_in_our_units() -> None:
    more = {"batt": 80, "conn": "m", "m": 1, "t": "u", "tid": "g7", "vac": 3, "alt": 900, "BSSID": "x"}
    fix = fix_of(**more)
    assert fix.origin.source_id == "guard-7"
    assert (fix.lat, fix.lon, fix.accuracy, fix.speed, fix.heading) == (12.97, 77.59, 12, 10, 270)
    assert (fix.origin.recorded_at.timestamp(), fix.origin.clock_suspect) == (TST, False)
    assert fix.origin.quality == ()
    assert json.loads(fix.origin.raw) == {**LOCATION, **more}
    assert fix.mock is False


def test_the_same_location_sent_again_is_the_same_message_and_another_is_another() -> None:
    once, again = fix_of(), fix_of(created_at=TST + 5)
    assert once.origin.key == again.origin.key
    assert fix_of(tst=TST + 1).origin.key != once.origin.key
    other = decode(LOCATION, "owntracks/8/phone")
    assert other is not None
    assert other.origin.key != once.origin.key


def test_what_a_phone_does_not_know_is_left_open() -> None:
    fix = fix_of(vel=-1, cog=-1, acc=-1)
    assert (fix.speed, fix.heading, fix.accuracy, fix.origin.quality) == (None, None, None, ())
    assert (fix_of(batt=-1).battery, fix_of(batt=-1).origin.quality) == (None, ())
    bare = decode({"_type": "location", "lat": 1, "lon": 2})
    assert bare is not None
    assert bare.origin.clock_suspect
    assert bare.origin.recorded_at == NOW


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("vel", "fast", "speed"),
        ("acc", -5, "accuracy"),
        ("cog", 2**70, "heading"),
        ("tst", 1e300, "timestamp"),
        ("tst", "noon", "timestamp"),
        ("tst", 0, "timestamp"),
        ("batt", 101, "battery"),
        ("batt", "full", "battery"),
        ("tst", True, "timestamp"),
    ],
)
def test_an_optional_field_that_is_wrong_costs_the_field(field: str, value: object, named: str) -> None:
    assert fix_of(**{field: value}).origin.quality == (named,)


@pytest.mark.parametrize(("batt", "battery"), [(3, 3), (0, 0), ("15", 15), (99.5, 99.5), (None, None)])
def test_the_battery_of_the_phone_is_looked_at(batt: object, battery: float | None) -> None:
    assert fix_of(batt=batt).battery == battery


@pytest.mark.parametrize("tst", [TST, float(TST), TST * 1000, str(TST), f" {TST} ", f"{TST * 1000}"])
def test_the_time_of_a_fix_is_read_in_seconds_milliseconds_and_text(tst: object) -> None:
    fix = fix_of(tst=tst)
    assert (fix.origin.recorded_at.timestamp(), fix.origin.clock_suspect, fix.origin.quality) == (
        TST,
        False,
        (),
    )


def test_the_id_that_android_gives_a_message_is_its_identity() -> None:
    once = fix_of(_id="a1b2c3d4", created_at=TST + 1)
    assert fix_of(_id="a1b2c3d4", created_at=TST + 1).origin.key == once.origin.key
    assert fix_of(_id="a1b2c3d4", created_at=TST + 2).origin.key != once.origin.key
    assert fix_of(_id="ffffffff", created_at=TST + 1).origin.key != once.origin.key
    assert fix_of(_id="a1b2c3d4", created_at=TST + 1, lat=1).origin.key != once.origin.key
    assert once.origin.msg_id is None, "the phone listens to no receipts"
    # This also holds without a time.
    assert fix_of(_id="a1", tst=None).origin.key == fix_of(_id="a1", tst=None).origin.key
    assert fix_of(_id=5).origin.key == fix_of().origin.key


@pytest.mark.parametrize(
    ("said", "buffered"),
    [
        ({}, False),
        ({"created_at": TST + 5}, False),
        ({"created_at": TST + 61}, True),
        ({"created_at": TST + 86_400}, True),
        ({"created_at": "soon"}, False),
        ({"created_at": TST + 61, "tst": "noon"}, False),
        ({"buffered": True}, True),
        ({"buffered": 1}, True),
        ({"buffered": "false"}, False),
    ],
)
def test_a_phone_that_made_its_message_long_after_the_fix_says_nothing_of_now(
    said: dict[str, Any], buffered: bool
) -> None:
    assert fix_of(**said).origin.buffered is buffered


@pytest.mark.parametrize(
    "place", [{"lat": 0, "lon": 0}, {"lat": None, "lon": None}, {"lat": "0", "lon": 0.0}]
)
def test_a_phone_without_a_fix_is_nowhere(place: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage) as refused:
        fix_of(**place)
    assert refused.value.reason in ("no_fix", "missing_field")


@pytest.mark.parametrize("kind", sorted(owntracks.NOT_KEPT))
def test_what_is_no_position_is_right_and_not_kept(kind: str) -> None:
    assert decode({"_type": kind, "lat": 1, "lon": 2}) is None


def test_what_goes_to_a_topic_below_or_clears_one_is_not_kept() -> None:
    assert decode(LOCATION, "owntracks/7/phone/event") is None
    assert decode(b"") is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"_type": "encrypted", "data": "c2VjcmV0"}, "owntracks_encrypted"),
        ({"lat": 1, "lon": 2}, "owntracks_type"),
        ({"_type": ["location"]}, "owntracks_type"),
        ({"_type": "location", "lon": 2}, "missing_field"),
        ({"_type": "location", "lat": 91, "lon": 2}, "field_out_of_range"),
        ([1], "not_an_object"),
        (b"{", "broken_json"),
        (b"\xff", "invalid_utf8"),
        ({**LOCATION, "guard_id": "guard-8"}, "identity_mismatch"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason(payload: Any, reason: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        decode(payload)
    assert refused.value.reason == reason


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**80)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["lat", "lon", "acc", "vel", "cog", "tst", "tid", "msg_id", "guard_id", "client_id"])


@given(st.dictionaries(names, values), st.sampled_from(["location", "lwt", "encrypted", "new"]))
@example({"lat": 1, "lon": 2, "vel": 10**400}, "location")
def test_no_json_makes_the_adapter_raise_anything_but_invalid_message(
    body: dict[str, Any], kind: str
) -> None:
    try:
        decode({"lat": 1.0, "lon": 2.0, **body, "_type": kind})
    except InvalidMessage as error:
        assert error.reason


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_but_invalid_message(payload: bytes) -> None:
    try:
        decode(payload)
    except InvalidMessage as error:
        assert error.reason
