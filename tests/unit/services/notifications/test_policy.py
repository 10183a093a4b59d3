from datetime import UTC, datetime

from services.messages import Alert, AlertStatus, AlertType, Severity
from services.notifications.policy import notices, split_list

AT = datetime(2026, 1, 1, 10, 30, tzinfo=UTC)


def alert(severity: Severity, **changes: object) -> Alert:
    base = {
        "id": "1",
        "tenant_id": 1,
        "alert_type": AlertType.PANIC,
        "severity": severity,
        "status": AlertStatus.NEW,
        "source_id": "guard-1",
        "dedup_key": "k",
        "message": "m" * 500,
        "occurrences": 1,
        "recorded_at": AT,
        "received_at": AT,
        "last_seen_at": AT,
    }
    return Alert(**{**base, **changes})  # type: ignore[arg-type]


def test_the_policy_of_the_severity_says_who_is_told_by_what() -> None:
    channels = {"CRITICAL": ["sms", "email"], "LOW": ["digest"]}
    recipients = {"sms": ["+911"], "email": ["a@x", "b@x"]}
    told = notices(alert(Severity.CRITICAL), channels=channels, recipients=recipients)
    assert [(n.channel, n.recipient) for n in told] == [("sms", "+911"), ("email", "a@x"), ("email", "b@x")]
    assert notices(alert(Severity.LOW), channels=channels, recipients=recipients) == []
    assert notices(alert(Severity.MEDIUM), channels=channels, recipients=recipients) == []


def test_an_sms_fits_and_names_source_and_time_and_a_drill_says_so_first() -> None:
    channels, recipients = {"CRITICAL": ["sms"]}, {"sms": ["+911"]}
    [notice] = notices(alert(Severity.CRITICAL, drill=True), channels=channels, recipients=recipients)
    assert len(notice.body) <= 160
    assert notice.body.startswith("DRILL CRITICAL PANIC guard-1 10:30:00Z")


def test_comma_lists_are_split() -> None:
    assert split_list(" a, b,, ") == ["a", "b"]
