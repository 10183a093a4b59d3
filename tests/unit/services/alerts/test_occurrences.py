from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.alerts.occurrences import (
    RANK,
    SourceEntry,
    as_one,
    is_another,
    of_condition,
    of_device,
    of_flood,
    of_notification,
    of_refused,
    raw_set_aside,
    seen_before,
)
from services.contracts.errors import InvalidMessage
from services.contracts.events import (
    LIFE_SAFETY,
    AlertType,
    Condition,
    DeviceAlert,
    NotificationFinished,
    Severity,
    SourceFlood,
)
from services.contracts.families import Origin

AT = datetime(2026, 1, 1, tzinfo=UTC)
OURS = SourceEntry(1, 5, known=True, enabled=True)
DISABLED = SourceEntry(1, 5, known=True, enabled=False)
UNKNOWN = SourceEntry(1, None, known=False, enabled=False)


def alert(kind: AlertType, *, claimed: int | None = None, **changes: object) -> DeviceAlert:
    origin = Origin("guard-1", b"0123456789abcdef", "m", "t", AT, AT, False, (), claimed, "{}")
    return DeviceAlert(
        **{"origin": origin, "alert_type": kind, "severity": None, "message": "help", **changes}
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("whose", "claimed", "flag"),
    [(UNKNOWN, None, "unknown_source"), (DISABLED, None, "source_disabled"), (OURS, 2, "identity_mismatch")],
)
def test_a_panic_is_flagged_where_another_alert_is_refused(
    whose: SourceEntry, claimed: int | None, flag: str
) -> None:
    panic = of_device(alert(AlertType.PANIC, claimed=claimed), whose)
    assert flag in panic.flags
    assert panic.severity is Severity.CRITICAL
    with pytest.raises(InvalidMessage) as refused:
        of_device(alert(AlertType.INTRUSION, claimed=claimed), whose)
    assert refused.value.reason == flag


@pytest.mark.parametrize(("whose", "claimed"), [(UNKNOWN, None), (OURS, 2), (UNKNOWN, 2)])
@pytest.mark.parametrize("kind", [AlertType.INTRUSION, AlertType.UNKNOWN, AlertType.TAMPER])
def test_what_is_refused_is_raised_as_an_alert_that_cannot_be_read(
    whose: SourceEntry, claimed: int | None, kind: AlertType
) -> None:
    refused = alert(kind, claimed=claimed, word="shift_note", message="door forced")
    with pytest.raises(InvalidMessage) as refusal:
        of_device(refused, whose)
    found = of_refused(refused, whose, refusal.value)
    assert found is not None
    assert (found.alert_type, found.severity) == (AlertType.UNREADABLE_ALERT, Severity.HIGH)
    assert found.dedup_key == "UNREADABLE_ALERT:guard-1:shift_note"
    assert {"refused", refusal.value.reason} <= set(found.flags)
    assert found.message.endswith(": door forced")
    assert found.key not in (refused.origin.key, refused.origin.key[::-1])


@pytest.mark.parametrize("claimed", [None, 2])
def test_what_a_source_sends_that_a_person_disabled_is_refused_and_nothing_more(claimed: int | None) -> None:
    refused = alert(AlertType.INTRUSION, claimed=claimed)
    with pytest.raises(InvalidMessage) as refusal:
        of_device(refused, DISABLED)
    assert of_refused(refused, DISABLED, refusal.value) is None


@pytest.mark.parametrize("kind", sorted(LIFE_SAFETY))
@pytest.mark.parametrize("claimed", [None, *Severity])
def test_no_claim_moves_a_life_safety_alert_from_its_severity(
    kind: AlertType, claimed: Severity | None
) -> None:
    found = of_device(alert(kind, severity=claimed), OURS)
    assert found.severity is Severity.CRITICAL
    assert ("severity_claim" in found.flags) == (claimed not in (None, Severity.CRITICAL))
    by_rule = Condition(1, "d", kind, "k", AT, b"0" * 16, "smoke", severity=claimed)
    assert of_condition(by_rule, now=AT).severity is Severity.CRITICAL


@pytest.mark.parametrize("claimed", list(Severity))
def test_the_severity_of_another_alert_is_what_its_sender_claims(claimed: Severity) -> None:
    for kind in (AlertType.INTRUSION, AlertType.UNKNOWN, AlertType.LOW_BATTERY, AlertType.UNREADABLE_ALERT):
        found = of_device(alert(kind, severity=claimed, word="low_battery"), OURS)
        assert (found.severity, found.flags) == (claimed, ())


@pytest.mark.parametrize("word", ["panic", "man-down", "man_down", "fire", "duress", "check_in_missed"])
def test_what_cannot_be_read_on_the_topic_of_a_life_safety_alert_is_as_grave_as_one(word: str) -> None:
    found = of_device(alert(AlertType.UNREADABLE_ALERT, word=word, unreadable=b"{"), OURS)
    assert (found.severity, found.pressed) == (Severity.CRITICAL, True)
    assert not of_device(alert(AlertType.UNREADABLE_ALERT, word="low_battery"), OURS).pressed


@pytest.mark.parametrize("kind", [AlertType.UNKNOWN, AlertType.UNREADABLE_ALERT])
def test_alerts_that_may_be_anything_are_told_apart_by_the_topics_word(kind: AlertType) -> None:
    words = ("shift_note", "panik", "x:drill", "x%3adrill", "")
    keys = {of_device(alert(kind, word=word), OURS).dedup_key for word in words}
    assert len(keys) == len(words)
    assert f"{kind}:guard-1" in keys, "an alert of before the words goes on under its key"
    assert not any(key.endswith(":drill") for key in keys)
    assert of_device(alert(kind, word="panik"), OURS).message == "panik: help"
    silent_words = of_device(alert(kind, word="panik", message=""), OURS)
    assert (silent_words.message, silent_words.spoken, silent_words.note) == ("panik from guard-1", False, "")


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("alert/Shift_Note/guard-1", "shift_note"),
        ("alert/guard-1/panik", "panik"),
        ("alert/guard-1/guard-1", "guard-1"),
        ("sensor/guard-1/alarm", ""),
        ("alert/guard-1", ""),
        ("alert/site/guard-1/panic", ""),
        ("t", ""),
    ],
)
def test_the_word_of_an_alert_from_an_older_gateway_is_read_from_its_topic(topic: str, word: str) -> None:
    sent = alert(AlertType.UNKNOWN)
    old = msgspec.structs.replace(sent, origin=msgspec.structs.replace(sent.origin, topic=topic))
    assert of_device(old, OURS).word == word


def test_the_word_is_no_part_of_a_key_whose_type_says_it() -> None:
    for word in ("panic", "PANIC", ""):
        assert of_device(alert(AlertType.PANIC, word=word), OURS).dedup_key == "PANIC:guard-1"


def test_duress_is_silent_whatever_it_says_and_others_as_they_say() -> None:
    assert of_device(alert(AlertType.DURESS), OURS).silent
    assert not of_device(alert(AlertType.PANIC), OURS).silent
    assert of_device(alert(AlertType.PANIC, silent=True), OURS).silent


@pytest.mark.parametrize("kind", sorted(LIFE_SAFETY))
@pytest.mark.parametrize("whose", [DISABLED, SourceEntry(1, 5, known=True, enabled=True, off_shift=True)])
def test_whoever_is_disabled_or_off_shift_is_heard_where_a_life_is_at_stake(
    kind: AlertType, whose: SourceEntry
) -> None:
    flag = "off_shift" if whose.off_shift else "source_disabled"
    assert of_device(alert(kind), whose).flags == (flag,)


def at(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("received", "recorded", "suspect", "msg_id", "is_open", "another"),
    [
        (20, 0, False, "m", True, False),
        (20, 0, False, "m", False, False),
        (60, 0, False, None, False, False),
        (61, 0, False, "m", False, True),
        (61, 0, False, "m", True, False),
        (601, 0, False, "m", True, True),
        (5, -3600, False, None, True, False),
        (6, -3600, False, None, True, True),
        (1, 1, True, "m", False, True),
        (600, 600, True, "m", True, False),
        (601, 601, True, "m", True, True),
        (6, 6, True, None, True, True),
        (1, 240, False, "m", False, True),
        (0, -3600, False, None, False, False),
        (-1, -1, True, "m", False, True),
    ],
)
def test_the_same_message_again_is_another_one_in_doubt(
    received: float, recorded: float, suspect: bool, msg_id: str | None, is_open: bool, another: bool
) -> None:
    found = msgspec.structs.replace(
        of_device(alert(AlertType.PANIC), OURS),
        received_at=at(received),
        recorded_at=at(recorded),
        clock_suspect=suspect,
        msg_id=msg_id,
    )
    assert is_another(found, first_received_at=AT, first_is_open=is_open) is another


def test_the_same_message_of_an_outbox_is_never_another_one() -> None:
    sent = msgspec.structs.replace(alert(AlertType.PANIC), outbox=True)
    without_id = msgspec.structs.replace(sent, origin=msgspec.structs.replace(sent.origin, msg_id=None))
    for event, another in ((sent, False), (without_id, True)):
        found = msgspec.structs.replace(of_device(event, OURS), received_at=at(86_400), recorded_at=AT)
        assert is_another(found, first_received_at=AT, first_is_open=False) is another


def test_a_finding_of_a_rule_is_never_in_doubt() -> None:
    condition = Condition(1, "d", AlertType.FIRE, "k", AT, b"0" * 16, "smoke")
    assert not is_another(of_condition(condition, now=at(900)), first_received_at=AT, first_is_open=False)


def test_a_message_that_was_perhaps_seen_before_has_an_identity_by_its_receipt() -> None:
    found = of_device(alert(AlertType.PANIC), OURS)
    again = msgspec.structs.replace(found, received_at=at(1))
    assert seen_before(found).key == seen_before(found).key
    assert len({found.key, seen_before(found).key, seen_before(again).key}) == 3
    assert seen_before(found).flags == ("seen_before",)


def test_who_was_unknown_until_now_is_let_in_and_the_alert_says_so() -> None:
    newcomer = SourceEntry(1, None, known=True, enabled=True, newcomer=True)
    for kind in (AlertType.PANIC, AlertType.INTRUSION):
        assert of_device(alert(kind), newcomer).flags == ("unknown_source",)


def test_a_drill_is_never_merged_with_the_real_thing() -> None:
    real, drill = of_device(alert(AlertType.PANIC), OURS), of_device(alert(AlertType.PANIC, drill=True), OURS)
    assert real.dedup_key != drill.dedup_key


def test_an_unreadable_alert_is_an_occurrence_beside_its_refused_message() -> None:
    found = of_device(alert(AlertType.UNREADABLE_ALERT, unreadable=b"\xff"), OURS)
    assert found.key != b"0123456789abcdef"
    assert found.raw is None
    assert found.unreadable == b"\xff"


def test_a_condition_has_the_severity_of_its_type() -> None:
    condition = Condition(1, "d", AlertType.LOW_BATTERY, "k", AT, b"0" * 16, "Battery at 3 %")
    assert of_condition(condition, now=AT).severity is Severity.MEDIUM


def test_a_condition_is_of_a_rule_and_of_the_site_that_it_names() -> None:
    condition = Condition(1, "guard-1", AlertType.OFFLINE, "k", AT, b"0" * 16, "Silent", site_id=5)
    found = of_condition(condition, now=AT)
    assert (found.of_rule, found.site_id, found.by) == (True, 5, "rule")
    assert not of_device(alert(AlertType.PANIC), OURS).of_rule


def test_raw_data_set_aside_are_the_same_bytes_and_say_so() -> None:
    panic = of_device(alert(AlertType.PANIC), OURS)
    aside = raw_set_aside(panic)
    assert (aside.raw, aside.unreadable, aside.flags) == (None, b"{}", ("raw_unstorable",))
    assert raw_set_aside(aside) == aside


@pytest.mark.parametrize(
    ("state", "reached", "note"),
    [
        ("accepted", True, "SMS to Asha (+49151): accepted by twilio"),
        ("delivered", True, "SMS to Asha (+49151): delivered"),
        ("failed", False, "SMS to Asha (+49151): failed: no such number"),
        ("unknown", False, "SMS to Asha (+49151): delivery unknown: no such number"),
    ],
)
def test_what_became_of_a_notification_is_on_record(state: str, reached: bool, note: str) -> None:
    line = of_notification(finished(state, name="Asha"))
    assert line is not None
    assert (line.reached, line.note) == (reached, note)


def test_a_state_that_is_no_news_is_not() -> None:
    assert of_notification(finished("queued")) is None


def test_the_same_news_of_a_notification_has_one_key_and_any_other_has_its_own() -> None:
    lines = [
        of_notification(told)
        for told in (
            finished("accepted"),
            finished("accepted", at=AT.replace(year=2027)),
            finished("delivered"),
            finished("accepted", reference="n-2"),
        )
    ]
    keys = [line.key for line in lines if line is not None]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_who_may_have_been_told_twice_and_who_has_no_name_is_written_so() -> None:
    line = of_notification(finished("accepted", name="+49151", possible_duplicate=True))
    assert line is not None
    assert line.note == "SMS to +49151: accepted by twilio, possibly a second time"


def finished(state: str, **changes: object) -> NotificationFinished:
    usual = NotificationFinished(
        1, "a", "sms", "+49151", state, AT, "n-1", provider="twilio", error="no such number"
    )
    return msgspec.structs.replace(usual, **changes)


def test_many_occurrences_as_one_are_the_last_with_what_the_others_say_besides() -> None:
    kinds = (
        alert(AlertType.INTRUSION, severity=Severity.LOW, message="door", lat=1.0, lon=2.0),
        alert(
            AlertType.INTRUSION, severity=Severity.HIGH, message="window", silent=True, flags=("severity",)
        ),
        alert(AlertType.INTRUSION, severity=Severity.LOW, message=""),
    )
    one = as_one([of_device(kind, OURS) for kind in kinds], count=1500, first_at=AT)
    assert (one.severity, one.lat, one.lon, one.silent) == (Severity.HIGH, 1.0, 2.0, True)
    assert one.note == "1500 messages from 00:00:00 to 00:00:00 UTC; the last: window (1.00000, 2.00000)"
    assert "severity" in one.flags


def test_severities_rank_from_low_to_critical() -> None:
    assert sorted(Severity, key=RANK.__getitem__) == ["LOW", "MEDIUM", "HIGH", "CRITICAL"]


def test_a_flood_is_a_condition_that_its_end_clears() -> None:
    began = SourceFlood(b"k" * 16, "guard-1", "alert", False, AT, AT, 1497.4, 50, 1400, 3)
    condition = of_flood(began, OURS)
    assert condition.message.startswith(
        "Source guard-1 sends 1497 messages a second; limit 50. Repeats are counted, others refused."
    )
    assert (condition.alert_type, condition.tenant_id, condition.site_id) == (
        AlertType.EQUIPMENT_FAILURE,
        1,
        5,
    )
    ended = of_flood(msgspec.structs.replace(began, is_over=True), OURS)
    assert ended.dedup_key == condition.dedup_key
    assert "1400 beyond it were counted as repeats, 3 were refused" in ended.message
    other_lane = of_flood(msgspec.structs.replace(began, lane="bulk"), OURS)
    assert other_lane.dedup_key != condition.dedup_key
