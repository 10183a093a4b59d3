from datetime import UTC, datetime, timedelta

import pytest

from gateway.mqtt.decoding import identity, topics
from gateway.mqtt.decoding.identity import RecentMessages

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Keys:
    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return self.made.to_bytes(16, "big")


def own(topic: str, payload: bytes, *, msg_id: str | None = "1", proves: bool = False) -> bytes | None:
    return identity.own_key(topic, topics.parse(topic), payload, msg_id=msg_id, proves=proves)


def test_an_id_names_a_message_together_with_its_kind_its_source_and_its_bytes() -> None:
    first = own("alert/panic/g", b"a")
    assert first == own("alert/panic/g", b"a")
    assert first == own("alert/g/PANIC", b"a"), "the same alert in the other order of words"
    others = [
        own("alert/panic/g", b"b"),
        own("alert/low_battery/g", b"a"),
        own("alert/panic/h", b"a"),
        own("device/g/telemetry", b"a"),
        own("sensor/g/alarm", b"a"),
        own("sensor/g/status", b"a"),
        own("alert/panic/g", b"a", msg_id="2"),
    ]
    assert len({first, *others}) == 8


def test_without_an_id_the_bytes_name_a_message_only_when_their_time_proves_it() -> None:
    assert own("device/g/telemetry", b"a", msg_id=None) is None
    proved = own("device/g/telemetry", b"a", msg_id=None, proves=True)
    assert proved is not None
    assert proved == own("device/g/telemetry", b"a", msg_id=None, proves=True)
    assert proved != own("device/h/telemetry", b"a", msg_id=None, proves=True)


@pytest.mark.parametrize(
    ("after_s", "same"), [(0, True), (0.5, True), (5, True), (5.1, False), (3600, False), (-1, False)]
)
def test_equal_bytes_are_one_message_within_the_window(after_s: float, same: bool) -> None:
    recent, keys = RecentMessages(), Keys()

    def key(at: datetime) -> bytes:
        return recent.key_of("s", "t", b"x", at=at, may_repeat=True, make=keys)

    assert (key(NOW) == key(NOW + timedelta(seconds=after_s))) is same


def test_the_window_begins_with_the_first_and_is_not_renewed() -> None:
    recent, keys = RecentMessages(), Keys()
    found = [
        recent.key_of("s", "t", b"x", at=NOW + timedelta(seconds=after_s), may_repeat=True, make=keys)
        for after_s in (0, 3, 6)
    ]
    assert found[0] == found[1] != found[2]


def test_another_message_between_them_makes_them_two() -> None:
    recent, keys = RecentMessages(), Keys()

    def key(payload: bytes) -> bytes:
        return recent.key_of("s", "t", payload, at=NOW, may_repeat=True, make=keys)

    assert len({key(b"alarm"), key(b"normal"), key(b"alarm")}) == 3
    first = key(b"x")
    recent.another("s")
    assert key(b"x") != first
    last = key(b"x")
    assert recent.key_of("s", "u", b"x", at=NOW, may_repeat=True, make=keys) != last, "topics are apart"
    assert key(b"x") != last, "what came on the other topic lies between"


def test_where_each_delivery_counts_only_a_redelivery_is_the_same_message() -> None:
    recent, keys = RecentMessages(), Keys()

    def key(*, redelivered: bool) -> bytes:
        return recent.key_of("s", "t", b"x", at=NOW, may_repeat=redelivered, make=keys)

    first, second = key(redelivered=False), key(redelivered=False)
    assert first != second
    assert key(redelivered=True) == second


def test_an_id_that_comes_again_with_other_bytes_is_reused() -> None:
    recent = RecentMessages()
    seen = [recent.is_reused("s", "1", key) for key in (b"a", b"a", b"b", b"b", b"a")]
    assert seen == [False, False, True, False, True]
    assert not recent.is_reused("t", "1", b"c")


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    recent, keys = RecentMessages(size=10), Keys()
    first = recent.key_of("0", "t", b"x", at=NOW, may_repeat=True, make=keys)
    for number in range(1, 1000):
        recent.key_of(str(number), "t", b"x", at=NOW, may_repeat=True, make=keys)
        recent.is_reused(str(number), "1", b"k")
    assert len(recent._last) == 10
    assert len(recent._keys) + len(recent._older_keys) <= 10
    assert recent.is_reused("995", "1", b"other"), "the newest half is remembered for certain"
    assert not recent.is_reused("900", "1", b"other")
    assert recent.key_of("0", "t", b"x", at=NOW, may_repeat=True, make=keys) != first
