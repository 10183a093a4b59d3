"""Tests of the way from a request to rows, and from rows to messages.

Every channel shows the marks, and nothing stops a row.
"""

import base64
import os
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from services.contracts.events import Alert, AlertStatus, AlertType, NotificationRequest, Severity, Target
from services.feed.keyring import KeyRing
from services.notifications.channels import SMS_MARK, OutgoingMessage
from services.notifications.channels.fcm import message_of
from services.notifications.channels.provider import body_of as sms_body_of
from services.notifications.channels.webhook import body_of
from services.notifications.rendering import DUPLICATE_WORD, NotificationWriter, without_secrets
from services.notifications.replies.acknowledge_links import is_code
from services.notifications.replies.sealed_text import UNREADABLE, hash_code
from services.notifications.store import NewNotification, NotificationRow
from services.notifications.texts.sms_length import segments
from services.notifications.texts.templates import Templates
from services.notifications.texts.translations import FIXED

NOW = datetime(2026, 1, 31, 12, 35, tzinfo=UTC)
ADDRESSES = {"sms": "+919876543210", "email": "a@x.org", "push": "a-token", "url": "https://x.org/hook"}
CHANNELS = [*ADDRESSES, "digest"]


def request(channels: list[str], *, time_zone: str = "Asia/Kolkata", **changes: Any) -> NotificationRequest:
    base: dict[str, Any] = {
        "id": str(uuid4()),
        "tenant_id": 1,
        # A panic is in no digest.
        "alert_type": AlertType.LOW_BATTERY if "digest" in channels else AlertType.PANIC,
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


RING = KeyRing(base64.urlsafe_b64encode(os.urandom(32)).decode())
ROTATED = f"{base64.urlsafe_b64encode(os.urandom(32)).decode()}"


def writer_with(
    templates: Templates | None = None, *, keys: KeyRing | None = None, public_url: str = ""
) -> NotificationWriter:
    made = templates or Templates({})
    return NotificationWriter(
        lambda _: made, keys, public_url=public_url, link_lifetime_s=60, digest_at=time(7)
    )


def rows(
    *channels: str, templates: dict[tuple[str, str, str], str] | None = None, **changes: Any
) -> list[NewNotification]:
    made = Templates(templates or {})
    return writer_with(made).rows(request(list(channels), **changes), now=NOW)


def kept(new: NewNotification, *, possible_duplicate: bool = False) -> NotificationRow:
    """Return a row as the delivery reads it."""
    values = new._asdict()
    values["words"], values["failover"] = msgspec.json.decode(new.words), []
    del values["next_attempt_at"], values["code_hash"]
    further = {
        "notification_id": 1,
        "provider": None,
        "attempts": 2,
        "attempt_started_at": NOW,
        "created_at": NOW,
    }
    return NotificationRow(**values, **further, possible_duplicate=possible_duplicate)


def outgoing(channel: str, *, again: bool, **changes: Any) -> OutgoingMessage:
    [row] = rows(channel, **changes)
    writer = writer_with()
    found = kept(row, possible_duplicate=again)
    return writer.digest([found]) if channel == "digest" else writer.outgoing(found)


def read(channel: str, **options: Any) -> str:
    """Return the text that the recipient sees first."""
    sent = outgoing(channel, **options)
    match channel:
        case "sms":
            return sms_body_of(sent)
        case "push":
            return str(message_of(sent)["notification"]["title"])
        case "url":
            return str(msgspec.json.decode(body_of(sent))["subject"])
        case "digest":
            return f"{sent.subject}\n{sent.text}"
    return sent.subject


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_possible_duplicate_says_so_in_every_channel(channel: str) -> None:
    mark = SMS_MARK if channel == "sms" else DUPLICATE_WORD
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
    assert row.body.startswith("Critical: Panic guard-1 at Dock 31 Jan 18:05 IST help")
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


def sealed_rows(*channels: str, templates: Templates | None = None, **changes: Any) -> list[NewNotification]:
    writer = writer_with(templates, keys=RING, public_url="https://noc.example.com")
    return writer.rows(request(list(channels), **changes), now=NOW)


HOSTILE = Templates(
    {
        ("sms", "en", "text"): "{{ source }} {{ place }} {{ time }} {{ code | lower }} {{ code | first }}",
        ("email", "en", "subject"): "{{ link }}",
        ("email", "en", "text"): "{{ link | replace('https://', '') }} {{ link | upper }}",
        ("email", "en", "html"): "<a href='{{ link }}'>{{ link | first }}</a>",
    }
)


@pytest.mark.parametrize("templates", [None, HOSTILE])
@pytest.mark.parametrize("channel", list(ADDRESSES))
def test_no_readable_column_holds_the_link_or_the_code_and_the_message_does(
    channel: str, templates: Templates | None
) -> None:
    [row] = sealed_rows(channel, templates=templates)
    sent = writer_with(templates, keys=RING, public_url="https://noc.example.com").outgoing(kept(row))
    readable = " ".join([row.subject, row.body, row.html, row.words]).lower()
    for part in sent.hidden:
        if channel != "sms" or len(part) > 3:
            assert part.lower() not in readable
    whole = f"{sent.subject} {sent.text} {sent.html} {sent.data['link']}".lower()
    secret = "code" if channel == "sms" else "/a/"
    assert row.code_hash is not None if secret == "code" else "/a/" in whole
    assert row.sealed is not None
    assert row.sealed != sent.text.encode()


def test_a_code_goes_out_in_the_sms_and_only_its_hash_is_kept() -> None:
    [row] = sealed_rows("sms", message="")
    sent = writer_with(keys=RING, public_url="https://noc.example.com").outgoing(kept(row))
    [code] = [part for part in sent.hidden if is_code(part)]
    assert sent.text.endswith(f"Reply {code}")
    assert row.body == sent.text.replace(code, "****")
    assert row.code_hash == hash_code(RING.all()[0], code, phone=ADDRESSES["sms"])


def test_a_seal_is_opened_after_a_rotation_and_without_its_key_the_alarm_goes_out_all_the_same() -> None:
    [row] = sealed_rows("email")
    rotated = KeyRing(f"{ROTATED},{base64.urlsafe_b64encode(RING.all()[0]).decode()}")
    url = "https://noc.example.com"
    original = writer_with(keys=RING, public_url=url).outgoing(kept(row))
    assert writer_with(keys=rotated, public_url=url).outgoing(kept(row)) == original
    with capture_logs() as logs:
        again = writer_with(keys=KeyRing(ROTATED), public_url=url).outgoing(kept(row))
    assert [entry["event"] for entry in logs] == ["notification_not_decrypted"]
    assert "Panic" in again.text
    assert "[link]" not in again.text
    assert f"{url}/a/" in again.text, "the link is made again"


@pytest.mark.parametrize("channel", ["sms", "email"])
def test_a_row_from_before_seals_is_written_again_with_its_link_and_without_a_code(channel: str) -> None:
    [row] = sealed_rows(channel)
    older = row._replace(sealed=UNREADABLE, body="CRITICAL [link] ****")
    with capture_logs() as logs:
        sent = writer_with(keys=RING, public_url="https://noc.example.com").outgoing(kept(older))
    assert logs == []
    assert ("https://noc.example.com/a/" in sent.text) == (channel == "email")
    assert "****" not in sent.text
    assert "Reply" not in sent.text


@pytest.mark.parametrize("channel", list(ADDRESSES))
def test_without_keys_or_without_a_public_url_there_is_neither_link_nor_code(channel: str) -> None:
    for keys, url in ((None, "https://noc.example.com"), (RING, "")):
        writer = writer_with(keys=keys, public_url=url)
        [row] = writer.rows(request([channel]), now=NOW)
        assert (row.sealed, row.code_hash) == (None, None)
        sent = writer.outgoing(kept(row))
        assert "/a/" not in f"{sent.text}{sent.html}{sent.data['link']}"
        assert "Reply" not in sent.text


def test_what_a_provider_repeats_of_a_message_is_hidden_from_records() -> None:
    for channel, address in ADDRESSES.items():
        [row] = sealed_rows(channel, message="")
        sent = writer_with(keys=RING, public_url="https://noc.example.com").outgoing(kept(row))
        said = without_secrets(f"cannot send {sent.text} {sent.data['link']} to {address}", sent)
        for part in sent.hidden:
            assert part not in said, channel
        assert "cannot send" in said


SILENT_TEMPLATES = Templates(
    {
        **{("sms", language, "text"): "{{ source }} {{ place }} {{ time }} {{ message }}" for language in ("en", "hi")},
        **{(channel, "en", "text"): "{{ message }}" * 3 for channel in ("email", "push", "url")},
        ("email", "en", "html"): "<p>{{ message }}</p>",
    }
)  # fmt: skip


@pytest.mark.parametrize("templates", [None, SILENT_TEMPLATES])
@pytest.mark.parametrize("language", ["en", "hi"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"drill": True},
        {"message": ""},
        {"message": "मदद " * 500},
        {"message": "x" * 4000},
        {"source_id": "guard-" + "9" * 120, "message": "["},
        {"source_id": "पहरेदार-" * 10},
        {"alert_type": AlertType.DURESS, "lat": 12.97161, "lon": 77.59456, "carried_by": "Jürgen Müller"},
    ],
)
@pytest.mark.parametrize("channel", list(ADDRESSES))
def test_a_silent_alert_says_in_every_channel_that_nobody_calls_back(
    channel: str, changes: dict[str, Any], language: str, templates: Templates | None
) -> None:
    asked = request([channel], **{"silent": True, **changes})
    asked = msgspec.structs.replace(asked, targets=[Target("Asha", ADDRESSES, language)])
    writer = writer_with(templates, keys=RING, public_url="https://noc.example.com")
    [row] = writer.rows(asked, now=NOW)
    sent = writer.outgoing(kept(row))
    sentences = {FIXED[known]["silent"] for known in ("en", language)}
    text = sms_body_of(sent) if channel == "sms" else sent.text
    if channel == "push":
        shown = message_of(sent)
        text = shown["notification"]["body"]
        assert shown["data"]["silent"] == "true"
        assert shown["data"]["instruction"] == FIXED[language]["silent"]
        assert shown["android"]["notification"]["default_sound"] is False
        assert "sound" not in shown["android"]["notification"]
        assert "sound" not in shown["apns"]["payload"]["aps"]
    if channel == "url":
        assert msgspec.json.decode(body_of(sent))["silent"] == "true"
    if channel == "email":
        assert any(sentence in sent.html for sentence in sentences)
    if channel == "sms":
        assert segments(text) == 1
    assert any(sentence in text for sentence in sentences), text


@pytest.mark.parametrize("channel", list(ADDRESSES))
def test_an_alert_that_is_not_silent_says_nothing_of_it_and_is_heard(channel: str) -> None:
    sent = outgoing(channel, again=False)
    assert FIXED["en"]["silent"] not in sent.text + sent.html
    assert message_of(sent)["apns"]["payload"]["aps"] == {"sound": "default"}
