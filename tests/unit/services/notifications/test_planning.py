"""Tests of the way from a request to notices.

Each person is notified once by each wanted channel, and by another when those do not reach
the person.
"""

from datetime import UTC, datetime, time
from typing import Any

import pytest

from services.contracts.events import (
    NEVER_HELD_BACK,
    Alert,
    AlertStatus,
    AlertType,
    NotificationRequest,
    Severity,
    Target,
)
from services.notifications.planning import ENDED_BY, Notice, next_digest, notices

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def request(
    channels: list[str], *targets: Target, alert_type: AlertType = AlertType.LOW_BATTERY
) -> NotificationRequest:
    alert = Alert(
        id="a",
        tenant_id=1,
        alert_type=alert_type,
        severity=Severity.CRITICAL,
        status=AlertStatus.NEW,
        source_id="guard-1",
        dedup_key="k",
        message="",
        occurrences=1,
        recorded_at=NOW,
        received_at=NOW,
        last_seen_at=NOW,
    )
    return NotificationRequest(alert, 1, 0, channels, list(targets))


def ways(*arguments: Any, **options: Any) -> list[tuple[str, str]]:
    return [(notice.channel, notice.recipient) for notice in notices(request(*arguments, **options))]


ASHA = Target("Asha", {"sms": "+911", "email": "a@x"}, "hi")
RAVI = Target("Ravi", {"email": "r@x"})


def test_everybody_is_told_by_each_channel_that_reaches_them() -> None:
    assert ways(["sms", "email", "push"], ASHA, RAVI) == [("sms", "+911"), ("email", "a@x"), ("email", "r@x")]


def test_who_has_none_of_the_wanted_channels_is_told_by_another() -> None:
    assert ways(["sms"], RAVI) == [("email", "r@x")]
    assert ways(["push"], ASHA) == [("sms", "+911")]


def test_an_address_that_two_people_share_is_told_once() -> None:
    assert ways(["email"], RAVI, Target("Control", {"email": "r@x"})) == [("email", "r@x")]


def test_what_was_not_wanted_is_what_to_go_on_with() -> None:
    assert notices(request(["sms"], ASHA)) == [Notice("sms", "+911", "Asha", "hi", (("email", "a@x"),))]
    assert [notice.failover for notice in notices(request(["sms", "email"], ASHA))] == [(), ()]


def test_a_digest_goes_to_the_mail_address_and_to_nothing_else() -> None:
    assert notices(request(["digest"], RAVI)) == [Notice("digest", "r@x", "Ravi", "en")]
    assert ways(["digest"], Target("Nobody", {"sms": "+911"})) == []


@pytest.mark.parametrize("alert_type", sorted(NEVER_HELD_BACK))
def test_what_is_never_held_back_is_in_no_digest(alert_type: AlertType) -> None:
    everywhere = [("sms", "+911"), ("email", "a@x")]
    assert ways(["digest"], ASHA, alert_type=alert_type) == everywhere
    assert ways(["digest", "email"], ASHA, alert_type=alert_type) == [("email", "a@x")]


@pytest.mark.parametrize("alert_type", sorted(set(AlertType) - NEVER_HELD_BACK))
def test_what_may_wait_is_in_the_digest_that_was_asked_for(alert_type: AlertType) -> None:
    assert ways(["digest"], ASHA, alert_type=alert_type) == [("digest", "a@x")]


def test_a_digest_goes_out_at_its_time_today_or_tomorrow() -> None:
    assert next_digest(NOW, time(13)) == NOW.replace(hour=13)
    assert next_digest(NOW, time(12)) == NOW.replace(day=2)
    assert next_digest(NOW, time(7, 30)) == NOW.replace(day=2, hour=7, minute=30)


def test_a_closed_alert_ends_every_telling() -> None:
    for statuses in ENDED_BY.values():
        assert {"RESOLVED", "FALSE_ALARM"} <= set(statuses)
        assert "NEW" not in statuses
