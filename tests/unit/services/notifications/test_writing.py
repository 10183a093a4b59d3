"""From a request to rows and from rows to messages: marks stand in every channel, and nothing keeps a row away."""

from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from services.messages import Alert, AlertStatus, AlertType, NotificationRequest, Severity, Target
from services.notifications.channels import Outgoing, twilio
from services.notifications.channels.fcm import message_of
from services.notifications.channels.webhook import body_of
from services.notifications.sms import segments
from services.notifications.store import NewNotification, Notification
from services.notifications.templates import Templates
from services.notifications.writing import DUPLICATE_WORD, Writer

NOW = datetime(2026, 1, 31, 12, 35, tzinfo=UTC)
ADDRESSES = {"sms": "+919876543210", "email": "a@x.org", "push": "a-token", "url": "https://x.org/hook"}
CHANNELS = [*ADDRESSES, "digest"]


def request(channels: list[str], *, time_zone: str = "Asia/Kolkata", **changes: Any) -> NotificationRequest:
    base: dict[str, Any] = {
        "id": str(uuid4()),
        "tenant_id": 1,
        "alert_type": AlertType.PANIC,
        "severity": Severity.CRITICAL,
        "status": AlertStatus.NEW,
        "source_id": "guard-1",
        "dedup_key": "k",
        "message": "help " * 50,
        "occurrences": 1,
        "recorded_at": NOW,
        "received_at": NOW,
        "last_seen_at": NOW,
    }
    alert = Alert(**{**base, **changes})
    return NotificationRequest(alert, 1, 0, channels, [Target("Asha", ADDRESSES)], "Dock", time_zone)


def rows(
    *channels: str, templates: dict[tuple[str, str, str], str] | None = None, **changes: Any
) -> list[NewNotification]:
    made = Templates(templates or {})
    writer = Writer(lambda _: made, None, public_url="", link_lifetime_s=1, digest_at=time(7))
    return writer.rows(request(list(channels), **changes), now=NOW)


def kept(new: NewNotification, *, possible_duplicate: bool = False) -> Notification:
    """A row as the delivery reads it."""
    values = new._asdict()
    values["words"], values["failover"] = msgspec.json.decode(new.words), []
    del values["next_attempt_at"]
    further = {
        "notification_id": 1,
        "provider": None,
        "attempts": 2,
        "attempt_started_at": NOW,
        "created_at": NOW,
    }
    return Notification(**values, **further, possible_duplicate=possible_duplicate)


def outgoing(channel: str, *, again: bool, **changes: Any) -> Outgoing:
    [row] = rows(channel, **changes)
    writer = Writer(lambda _: Templates({}), None, public_url="", link_lifetime_s=1, digest_at=time(7))
    found = kept(row, possible_duplicate=again)
    return writer.digest([found]) if channel == "digest" else writer.outgoing(found)


def read(channel: str, **options: Any) -> str:
    """What a person sees of it first."""
    sent = outgoing(channel, **options)
    match channel:
        case "sms":
            return twilio.body_of(sent)
        case "push":
            return str(message_of(sent)["notification"]["title"])
        case "url":
            return str(msgspec.json.decode(body_of(sent))["subject"])
        case "digest":
            return f"{sent.subject}\n{sent.text}"
    return sent.subject


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_possible_duplicate_says_so_in_every_channel(channel: str) -> None:
    mark = twilio.sms.MARK if channel == "sms" else DUPLICATE_WORD
    assert mark in read(channel, again=True)
    assert mark not in read(channel, again=False)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_drill_says_so_in_every_channel_also_when_it_is_told_again(channel: str) -> None:
    for again in (False, True):
        assert "DRILL" in read(channel, again=again, drill=True)
    assert "DRILL" not in read(channel, again=False)


@pytest.mark.parametrize("message", ["help " * 50, "मदद " * 50, "[" * 300])
def test_the_mark_makes_no_second_sms_and_costs_nothing_of_the_text(message: str) -> None:
    first, second = (read("sms", again=again, message=message) for again in (False, True))
    assert segments(second) == 1
    assert second.endswith(first)


def test_an_sms_goes_out_under_its_registered_id_and_nothing_else_does() -> None:
    templates = {("sms", "en", "template_id"): "1107"}
    found = {row.channel: row.template_id for row in rows(*CHANNELS, templates=templates)}
    assert found == {"sms": "1107", "email": "", "push": "", "url": "", "digest": ""}


def test_a_broken_template_is_told_in_the_log_and_the_row_is_there() -> None:
    with capture_logs() as logs:
        [row] = rows("sms", templates={("sms", "en", "text"): "{{ occurrences > 'a' }}"})
    assert row.body.startswith("CRITICAL PANIC guard-1 at Dock 31 Jan 18:05 IST help")
    [said] = [entry for entry in logs if entry["event"] == "template_failed"]
    assert said["tenant_id"] == 1
    assert said["problem"].startswith("template sms en text, line 1: ")


@pytest.mark.parametrize("time_zone", ["Asia/Kolkatta", "", "../../etc/passwd", "a\x00b"])
def test_a_site_in_no_time_zone_is_told_of_in_utc(time_zone: str) -> None:
    [row] = rows("email", time_zone=time_zone)
    assert "31 Jan 12:35 UTC" in row.body


def test_every_row_has_a_reference_of_its_own() -> None:
    references = {row.reference for row in rows("sms", "email", "push", "url")}
    assert len(references) == 4
    assert all(isinstance(reference, UUID) for reference in references)
