"""Tests that repeats become one message with their number. Each message counts once."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.repeats import Repeats, SeenKeys, is_counted, is_kept, merged, refusal
from services.contracts.events import AlertType, DeviceAlert, RejectedMessage
from services.contracts.families import Origin

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def alert(
    source: str, number: int, *, msg_id: str | None = None, kind: str = "PANIC", drill: bool = False
) -> DeviceAlert:
    origin = Origin(
        source,
        number.to_bytes(16, "big"),
        msg_id,
        f"alert/{kind.lower()}/{source}",
        NOW,
        NOW + timedelta(milliseconds=number),
        False,
        (),
        None,
        "{}",
    )
    return DeviceAlert(origin, AlertType(kind), None, f"press {number}", word=kind.lower(), drill=drill)


def key_maker() -> object:
    numbers = itertools.count(10**9)
    return lambda: next(numbers).to_bytes(16, "big")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["guard-1", "guard-2"]),
            st.sampled_from(["PANIC", "SOS"]),
            st.booleans(),
            st.booleans(),
            st.integers(0, 40),
        ),
        max_size=80,
    ),
    st.integers(1, 20),
)
def test_the_sum_of_occurrences_is_the_number_of_different_messages(
    presses: list[tuple[str, str, bool, bool, int]], size: int
) -> None:
    # Given presses of two guards in any order, some delivered again, some beyond the rate
    seen, told, sent, keys = SeenKeys(), Counter[tuple[str, str]](), set[tuple[str, str, int]](), key_maker()
    kept, ways = set[bytes](), dict[tuple[str, str, int], set[bool]]()

    # When they are merged in batches of any size
    for batch in (presses[at : at + size] for at in range(0, len(presses), size)):
        repeats = Repeats(seen)
        for source, kind, drill, is_over, number in batch:
            # A message has one source and type, at any number.
            identity = number * 8 + (source == "guard-2") * 4 + (kind == "SOS") * 2 + drill
            repeats.add(alert(source, identity, kind=kind, drill=drill), is_over=is_over)
            sent.add((source, kind, identity))
            ways.setdefault((source, kind, identity), set()).add(is_over)
        for event in repeats.events(keys):  # type: ignore[arg-type]
            of = event.alerts[0].origin.source_id, str(event.alerts[0].alert_type)
            assert {(a.origin.source_id, str(a.alert_type)) for a in event.alerts} == {of}
            assert event.first_at == min(event.first_at, *(a.origin.received_at for a in event.alerts))
            new = {a.origin.key for a in event.alerts} - kept
            kept |= new
            told[of] += len(new) + event.counted

    # Then each message has its occurrence, once. A message that was counted leaves only the number.
    # When it is delivered again within the rate, it may count a second time, never none.
    least = Counter((source, kind) for source, kind, _ in sent)
    most = least + Counter((source, kind) for (source, kind, _), how in ways.items() if len(how) > 1)
    assert least <= told <= most


def test_alerts_within_the_rate_are_kept_one_by_one_in_their_order() -> None:
    repeats = Repeats(SeenKeys())
    for number in (3, 1, 2):
        repeats.add(alert("guard-1", number), is_over=False)
    [event] = repeats.events(key_maker())  # type: ignore[arg-type]
    assert [a.message for a in event.alerts] == ["press 3", "press 1", "press 2"]
    assert (event.counted, event.msg_ids) == (0, [])


def test_of_those_beyond_the_rate_the_last_stands_for_all_and_every_id_gets_its_receipt() -> None:
    repeats = Repeats(SeenKeys())
    for number in range(100):
        repeats.add(alert("guard-1", number, msg_id=f"m{number}"), is_over=True)
    [event] = repeats.events(key_maker())  # type: ignore[arg-type]
    assert ([a.message for a in event.alerts], event.counted) == (["press 99"], 99)
    assert [*event.msg_ids, event.alerts[0].origin.msg_id] == [f"m{number}" for number in range(100)]
    assert repeats.excess == {"guard-1": 100}


def test_a_drill_and_a_real_press_are_two() -> None:
    repeats = Repeats(SeenKeys())
    repeats.add(alert("guard-1", 1, drill=True), is_over=True)
    repeats.add(alert("guard-1", 2), is_over=True)
    assert len(repeats.events(key_maker())) == 2  # type: ignore[arg-type]


def test_seen_keys_are_bounded() -> None:
    seen = SeenKeys(size=2)
    assert [seen.add(key) for key in (b"a", b"b", b"a", b"c", b"a")] == [True, True, False, True, True]


def test_types_are_counted_and_unheard_of_words_are_not() -> None:
    assert is_counted(alert("guard-1", 1))
    assert is_counted(alert("guard-1", 1, kind="LOW_BATTERY"))
    assert not is_counted(alert("guard-1", 1, kind="UNKNOWN"))
    unreadable = alert("guard-1", 1, kind="UNREADABLE_ALERT")
    assert not is_counted(unreadable)
    of_panic = msgspec.structs.replace(unreadable.origin, topic="alert/panic/guard-1")
    assert is_counted(msgspec.structs.replace(unreadable, origin=of_panic))


def test_what_a_device_kept_is_old_by_its_own_clock_or_word() -> None:
    fresh = alert("guard-1", 0).origin
    old = msgspec.structs.replace(fresh, recorded_at=NOW - timedelta(hours=2))
    assert not is_kept(fresh)
    assert is_kept(old)
    assert is_kept(msgspec.structs.replace(fresh, buffered=True))
    assert not is_kept(msgspec.structs.replace(old, clock_suspect=True))


def refused(source: str, at: datetime, payload: bytes = b"x") -> RejectedMessage:
    topic = f"guard/{source}/gps"
    return refusal(topic, payload, source_id=source, lane="bulk", received_at=at, per_s=50)


def test_refusals_of_one_source_and_minute_are_one_with_their_number() -> None:
    messages = [refused("guard-1", NOW + timedelta(seconds=n), b"%d" % n) for n in range(90)]
    messages.append(refused("guard-2", NOW))
    other = msgspec.structs.replace(messages[0], reason="broken_json")
    found = merged([*messages, other])
    assert [(m.source_id, m.count, m.payload) for m in found] == [
        ("guard-1", 1, b"0"),
        ("guard-1", 60, b"0"),
        ("guard-1", 30, b"60"),
        ("guard-2", 1, b"x"),
    ]
    assert found[0] is other
