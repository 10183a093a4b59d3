from datetime import UTC, datetime

import msgspec
import pytest

from services.alerts.intake import Whose, of_condition, of_device, of_notification, raw_set_aside
from services.errors import InvalidMessage
from services.messages import AlertType, Condition, DeviceAlert, NotificationFinished, Origin, Severity

AT = datetime(2026, 1, 1, tzinfo=UTC)
OURS = Whose(1, 5, known=True, enabled=True)
DISABLED = Whose(1, 5, known=True, enabled=False)
UNKNOWN = Whose(1, None, known=False, enabled=False)


def alert(kind: AlertType, *, claimed: int | None = None, **changes: object) -> DeviceAlert:
    origin = Origin("guard-1", b"0123456789abcdef", "m", "t", AT, AT, False, (), claimed, "{}")
    return DeviceAlert(origin, kind, None, "help", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("whose", "claimed", "flag"),
    [(UNKNOWN, None, "unknown_source"), (DISABLED, None, "source_disabled"), (OURS, 2, "identity_mismatch")],
)
def test_a_panic_is_flagged_where_another_alert_is_refused(
    whose: Whose, claimed: int | None, flag: str
) -> None:
    panic = of_device(alert(AlertType.PANIC, claimed=claimed), whose)
    assert flag in panic.flags
    assert panic.severity is Severity.CRITICAL
    with pytest.raises(InvalidMessage) as refused:
        of_device(alert(AlertType.INTRUSION, claimed=claimed), whose)
    assert refused.value.reason == flag


def test_who_was_unknown_until_now_is_let_in_and_the_alert_says_so() -> None:
    newcomer = Whose(1, None, known=True, enabled=True, newcomer=True)
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
        ("accepted", True, "sms to Asha (+49151): accepted by twilio"),
        ("delivered", True, "sms to Asha (+49151): delivered"),
        ("failed", False, "sms to Asha (+49151): failed: no such number"),
        ("unknown", False, "sms to Asha (+49151): nobody knows whether it arrived: no such number"),
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
    assert line.note == "sms to +49151: accepted by twilio, possibly a second time"


def finished(state: str, **changes: object) -> NotificationFinished:
    usual = NotificationFinished(
        1, "a", "sms", "+49151", state, AT, "n-1", provider="twilio", error="no such number"
    )
    return msgspec.structs.replace(usual, **changes)
