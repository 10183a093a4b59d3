"""Tests of notifications from the request to the messages that providers took.

They run on a real PostgreSQL, with providers in every mood.
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs
from werkzeug.test import EnvironBuilder

from gateway.noc.api import callbacks
from services.alerts.lifecycle import AlertAction
from services.contracts.errors import Forbidden, NotFound
from services.contracts.events import NEVER_HELD_BACK, AlertType, Severity, Target
from services.notifications.channels import AcceptedMessage, OutgoingMessage, SendFailed
from services.notifications.service import NotificationsService
from services.platform import config as configuration
from services.platform.config import Config
from tests.providers import Provider
from tests.providers.server import ACCOUNT, TOKEN
from tests.support.notifications_domain import ADDRESSES, ASHA, NotificationsDomain

ASHA_BY_MAIL = Target("Asha", {"email": ADDRESSES["email"]})


def said(message: dict[str, Any]) -> str:
    """Return the text that the recipient sees at first."""
    return f"{message.get('subject', '')} {message['body']} {message.get('data', {}).get('subject', '')}"


@pytest.fixture
def office(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]],
) -> Iterator[NotificationsDomain]:
    with open_office() as made:
        yield made


def test_everybody_is_told_once_by_each_channel(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    hook = Target("Desk", {"url": f"{outer['webhook'].url}/hook"})
    request = office.request("sms", "email", "push", "url", targets=(ASHA, hook), lat=12.97161, lon=77.59456)
    rows = office.until_states("accepted", "accepted", "accepted", "accepted")
    assert office.take(request) == 0, "the same step of the same round is the same telling"
    assert {(row["channel"], row["name"]) for row in rows} == {
        ("sms", "Asha"),
        ("email", "Asha"),
        ("push", "Asha"),
        ("url", "Desk"),
    }
    [sms], [mail], [push], [hooked] = (
        outer[kind].accepted() for kind in ("twilio", "smtp", "fcm", "webhook")
    )
    local = request.alert.recorded_at.astimezone(ZoneInfo("Asia/Kolkata")).strftime("%H:%M IST")
    for message in (sms, mail, push, hooked):
        assert "guard-1" in said(message)
        assert "12.97161,77.59456" in message["body"]
        assert local in message["body"]
    assert len(sms["body"]) <= 160
    for message in (mail, push):
        assert "https://noc.example.com/a/" in message["body"] + str(message.get("data"))
    assert push["priority"] == "high"
    office.until(lambda: len(office.told) == 4)
    assert {event.state for event in office.told} == {"accepted"}


@pytest.mark.parametrize(("mood", "outcome"), [("429", "rate_limited"), ("500", "server_error")])
def test_a_provider_that_refuses_for_now_is_asked_again(
    office: NotificationsDomain, outer: dict[str, Provider], mood: str, outcome: str
) -> None:
    outer["twilio"].behave(mood, times=1)
    office.request("sms")
    office.until_states("accepted")
    assert [said for _, said in office.attempts()] == [outcome, "accepted"]
    assert len(outer["twilio"].accepted()) == 1


def test_after_two_failures_the_next_channel_is_tried_as_well_and_the_first_goes_on(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("500", times=3)
    office.request("sms")
    rows = office.until_states("accepted", "accepted")
    assert [row["channel"] for row in rows] == ["sms", "email"]
    assert len(outer["smtp"].accepted()) == 1
    assert len(outer["twilio"].accepted()) == 1


def test_a_number_that_cannot_be_is_told_otherwise_at_once(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("refuse")
    office.request("sms")
    rows = office.until_states("failed", "accepted")
    assert "To" in rows[0]["error"]
    assert rows[1]["channel"] == "email"
    assert [said for _, said in office.attempts()] == ["invalid_recipient", "accepted"]


def test_a_phone_that_lost_the_app_is_told_otherwise_at_once(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    """FCM answers 404 UNREGISTERED for its token."""
    outer["fcm"].behave("refuse")
    office.request("push")
    rows = office.until_states("failed", "accepted")
    assert [row["channel"] for row in rows] == ["push", "sms"]
    assert rows[0]["recipient"] == "...hone"
    assert ADDRESSES["push"] not in str(rows)
    assert [said for _, said in office.attempts()] == ["invalid_recipient", "accepted"]


@pytest.mark.parametrize("kind", sorted(NEVER_HELD_BACK))
def test_no_rate_limit_and_no_digest_holds_back_what_is_never_held_back(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]],
    outer: dict[str, Provider],
    kind: AlertType,
) -> None:
    with open_office(rate_limit=configuration.RateLimit(count=1, window_s=600)) as office:
        for number in range(3):
            office.request(
                "digest",
                dedup_key=f"k{number}",
                alert_type=kind,
                severity=Severity.LOW,
                targets=(ASHA_BY_MAIL,),
            )
        office.until_states("accepted", "accepted", "accepted")
        assert len(outer["smtp"].accepted()) == 3


def test_a_finished_row_keeps_no_link_no_code_and_no_sealed_text(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    office.request("sms", "email")
    office.until_states("accepted", "accepted")
    with office.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT to_jsonb(n)::text AS row, sealed, channel FROM notification n")
        ).all()
    [sms], [mail] = outer["twilio"].accepted(), outer["smtp"].accepted()
    token = re.search(r"/a/([\w-]{48})", mail["body"])
    code = re.search(r"Reply (\w{4})", sms["body"])
    assert token
    assert code
    for row in rows:
        assert row.sealed is None
        assert token.group(1) not in row.row
        assert f"Reply {code.group(1)}" not in row.row


def test_what_a_provider_says_of_a_message_is_kept_without_the_message(
    office: NotificationsDomain, outer: dict[str, Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider repeats the message in the words of its refusal."""
    heard: list[OutgoingMessage] = []

    def repeat(outgoing: OutgoingMessage, *_: Any) -> AcceptedMessage:
        heard.append(outgoing)
        raise SendFailed(f"refused: {outgoing.text} {outgoing.data}", kind="refused", permanent=True)

    for providers in office.parts.providers.values():
        for provider in providers:
            monkeypatch.setattr(provider, "send", repeat)
    with capture_logs() as logs:
        office.request("sms", "email", "push")
        office.until(lambda: {row["state"] for row in office.rows()} == {"failed"})
    assert len(heard) == 3
    records = str(office.rows()) + str(logs) + str(office.told)
    for outgoing in heard:
        assert len(outgoing.hidden) >= 1
        for part in outgoing.hidden:
            assert part not in records
    assert "refused: " in records
    assert outer["smtp"].accepted() == []


def test_with_nobody_to_send_an_sms_by_the_person_is_told_otherwise(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]],
) -> None:
    with open_office(providers={}) as office:
        office.request("sms")
        rows = office.until_states("failed", "accepted")
        assert "TWILIO_ACCOUNT_SID" in rows[0]["error"]
        assert rows[0]["attempts"] == 0


def both_sms_providers(config: Config, outer: dict[str, Provider]) -> dict[str, Any]:
    """Return the settings of an installation with a second SMS provider."""
    return {
        **config.notifications.providers,
        "plivo_auth_id": ACCOUNT,
        "plivo_auth_token": TOKEN,
        "plivo_sender": "+15017122661",
        "plivo_api_url": outer["plivo"].url,
    }


def test_the_second_sms_provider_is_used_when_the_first_one_fails(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]],
    config: Config,
    outer: dict[str, Provider],
) -> None:
    outer["twilio"].behave("500")
    with open_office(providers=both_sms_providers(config, outer)) as office:
        office.request("sms", targets=(Target("Ravi", {"sms": "+919876500000"}),))
        office.until_states("accepted")
        assert office.attempts() == [("twilio", "server_error"), ("plivo", "accepted")]
    [taken] = outer["plivo"].accepted()
    assert taken["to"] == "+919876500000"


@pytest.mark.parametrize(("status", "state"), [("delivered", "delivered"), ("undelivered", "failed")])
def test_a_report_counts_when_its_provider_signed_it(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]],
    config: Config,
    outer: dict[str, Provider],
    status: str,
    state: str,
) -> None:
    # Given an SMS that Plivo accepted
    only_plivo = {**both_sms_providers(config, outer), "twilio_auth_token": ""}
    with open_office(providers=only_plivo) as office:
        office.request("sms", targets=(Target("Ravi", {"sms": "+919876500000"}),))
        office.until_states("accepted")
        [taken] = outer["plivo"].accepted()
        service = NotificationsService()
        service.parts = office.parts
        path = urlsplit(taken["message"]["url"]).path

        def report(provider: str, key: str) -> None:
            nonce = "05429567804466091622"
            signed = hmac.digest(key.encode(), f"{taken['message']['url']}{nonce}".encode(), "sha256")
            headers = {
                "X-Plivo-Signature-V2": base64.b64encode(signed).decode(),
                "X-Plivo-Signature-V2-Nonce": nonce,
            }
            form = {"Status": status, "MessageUUID": taken["id"], "ErrorCode": "30"}
            request = EnvironBuilder(path, method="POST", data=form, headers=headers).get_request()
            asked = callbacks.signed_request(request)
            service.take_provider_report(provider=provider, reference=taken["reference"], request=asked)

        # When others report about it, then nothing happens
        with pytest.raises(Forbidden):
            report("plivo", "another key")
        with pytest.raises(Forbidden):
            report("twilio", TOKEN)
        with pytest.raises(NotFound):
            report("nobody", TOKEN)
        assert [row["state"] for row in office.rows()] == ["accepted"]

        # When Plivo reports, then that is its state
        report("plivo", TOKEN)
        assert [row["state"] for row in office.rows()] == [state]


@pytest.mark.parametrize("mood", ["drop", "malformed"])
def test_an_answer_that_was_lost_is_asked_for_and_nothing_goes_out_twice(
    office: NotificationsDomain, outer: dict[str, Provider], mood: str
) -> None:
    outer["twilio"].behave(mood, times=1)
    office.request("sms")
    [row] = office.until_states("accepted")
    [taken] = outer["twilio"].accepted()
    assert row["provider_ref"] == taken["id"]
    assert not row["possible_duplicate"]


@pytest.mark.parametrize("kind", ["smtp", "fcm"])
def test_where_nobody_can_be_asked_a_life_is_worth_a_second_message_that_says_so(
    office: NotificationsDomain, outer: dict[str, Provider], kind: str
) -> None:
    outer[kind].behave("drop", times=1)
    office.request({"smtp": "email", "fcm": "push"}[kind])
    [row] = office.until_states("accepted")
    first, second = outer[kind].accepted()
    assert (first["possible_duplicate"], second["possible_duplicate"]) == (False, True)
    assert first["reference"] == second["reference"]
    assert row["possible_duplicate"]


def test_what_is_no_matter_of_life_is_left_unknown_once_somebody_was_told(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    outer["smtp"].behave("drop", times=1)
    battery = {"alert_type": AlertType.LOW_BATTERY, "severity": Severity.MEDIUM, "dedup_key": "b"}
    request = office.request("sms", targets=(Target("Ravi", {"sms": "+919876500000"}),), **battery)
    office.until_states("accepted")
    office.take(
        msgspec.structs.replace(
            request, step=1, channels=["email"], targets=[Target("Asha", {"email": "a@x.org"})]
        )
    )
    office.until_states("accepted", "unknown")
    assert len(outer["smtp"].accepted()) == 1


def test_when_nobody_was_told_yet_even_that_is_sent_again(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    outer["smtp"].behave("drop", times=1)
    office.request(
        "email",
        alert_type=AlertType.LOW_BATTERY,
        severity=Severity.MEDIUM,
        targets=(Target("A", {"email": "a@x.org"}),),
    )
    office.until_states("accepted")
    assert [taken["possible_duplicate"] for taken in outer["smtp"].accepted()] == [False, True]


def test_a_hanging_provider_holds_up_nobody_else_and_is_left_alone(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]], outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("hang")
    with open_office(circuit_failures=3, circuit_reset_s=60) as office:
        started_s = time.monotonic()
        office.request("sms", "email")
        office.until(lambda: len(outer["smtp"].accepted()) == 1)
        assert time.monotonic() - started_s < 0.45, "the mail did not wait for Twilio's deadline"
        office.until(lambda: [said for _, said in office.attempts()].count("timeout") == 3)
        seen = outer["twilio"].requests_seen()
        for number in range(5):
            office.request("sms", dedup_key=f"later-{number}")
        office.until(lambda: len(outer["smtp"].accepted()) == 6, timeout_s=5)
        assert outer["twilio"].requests_seen() == seen, (
            "the circuit is open; the others went by e-mail at once"
        )
        waiting = [row for row in office.rows() if row["channel"] == "sms"]
        assert {row["state"] for row in waiting} == {"pending"}


def test_a_provider_that_comes_back_is_tried_and_used(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("500", times=5)
    office.request("sms", targets=(Target("Ravi", {"sms": "+919876500000"}),))
    office.until_states("accepted")
    assert [said for _, said in office.attempts()] == ["server_error"] * 5 + ["accepted"]


def test_a_life_safety_message_is_tried_until_it_is_out_and_another_is_given_up(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]], outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("500", times=9)
    phone = (Target("Ravi", {"sms": "+919876500000"}),)
    with open_office(attempts=3, circuit_failures=100) as office:
        office.request(
            "sms", targets=phone, alert_type=AlertType.LOW_BATTERY, severity=Severity.MEDIUM, dedup_key="b"
        )
        [battery] = office.until_states("failed")
        assert battery["attempts"] == 3
        office.request("sms", targets=phone)
        [_, panic] = office.until_states("failed", "accepted")
        assert panic["attempts"] == 7


def test_a_flood_to_one_person_is_held_back_but_never_a_matter_of_life(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]], outer: dict[str, Provider]
) -> None:
    limit = configuration.RateLimit(count=3, window_s=600)
    with open_office(rate_limit=limit) as office:
        for number in range(8):
            office.request(
                "email", alert_type=AlertType.LOW_BATTERY, severity=Severity.MEDIUM, dedup_key=f"b{number}"
            )
        office.until(lambda: len(outer["smtp"].accepted()) == 3)
        office.request("email", dedup_key="p1")
        office.request("email", dedup_key="p2", alert_type=AlertType.FIRE)
        states = ["accepted"] * 3 + ["pending"] * 5 + ["accepted"] * 2
        office.until_states(*states)
        assert len(outer["smtp"].accepted()) == 5
        with office.engine.begin() as connection:
            connection.execute(
                text("UPDATE notification SET accepted_at = accepted_at - interval '11 minutes'")
            )
        office.until(lambda: len(outer["smtp"].accepted()) == 8)


def test_low_alerts_come_in_one_mail_a_day(office: NotificationsDomain, outer: dict[str, Provider]) -> None:
    low = {"alert_type": AlertType.LOW_BATTERY, "severity": Severity.LOW}
    for number in range(3):
        office.request("digest", dedup_key=f"b{number}", message=f"battery {number}", **low)
    rows = office.rows()
    assert {row["state"] for row in rows} == {"pending"}
    assert {row["next_attempt_at"].strftime("%H:%M") for row in rows} == {"07:00"}
    with office.engine.begin() as connection:
        connection.execute(text("UPDATE notification SET next_attempt_at = now()"))
    office.until_states("accepted", "accepted", "accepted")
    [mail] = outer["smtp"].accepted()
    assert "3 alerts of low severity" in mail["subject"]
    assert all(f"battery {number}" in mail["body"] for number in range(3))


def test_once_somebody_has_the_alert_nobody_else_is_told(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]], outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("500")
    with open_office(first_retry_s=30, longest_retry_s=60) as office:
        request = office.request("sms", targets=(Target("Ravi", {"sms": "+919876500000"}),))
        office.until(lambda: office.rows()[0]["error"])
        withdrawn = office.parts.store.withdraw(
            request.alert.id, until=["acknowledged"], error="ann has the alert", now=datetime.now(UTC)
        )
        assert withdrawn == 1
        office.until(lambda: [event.state for event in office.told] == ["withdrawn"])
        office.desk.act(request.alert.id, AlertAction.ACKNOWLEDGE)
        assert office.take(msgspec.structs.replace(request, step=1)) == 0, (
            "a request that comes late tells nobody"
        )


def test_an_attempt_whose_process_died_is_asked_for_or_made_again(
    office: NotificationsDomain, outer: dict[str, Provider], engine: Engine
) -> None:
    """The process dies before, within and after the call.

    The rows are as a dead process leaves them.
    """
    phone, mail = {"sms": "+919876500000"}, {"email": "a@x.org"}
    never, sent, unasked = (
        office.request(channel, targets=(Target("Ravi", address),), dedup_key=f"k{number}").alert.id
        for number, (channel, address) in enumerate([("sms", phone), ("sms", phone), ("email", mail)])
    )
    office.until_states("accepted", "accepted", "accepted")
    taken = len(outer["twilio"].accepted())
    gone = (
        "UPDATE notification SET state = 'attempting', holder = 1, provider = %s, provider_ref = NULL"
        " WHERE alert_id = %s"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(gone, (None, never))
        connection.exec_driver_sql(gone, ("twilio", sent))
        connection.exec_driver_sql(gone, ("smtp", unasked))
        for reference, sealed in office.sealed.items():
            still = "UPDATE notification SET sealed = %s WHERE reference = %s"
            connection.exec_driver_sql(still, (sealed, reference))
        connection.exec_driver_sql("UPDATE notification SET attempt_started_at = now() - interval '2 s'")
    assert office.parts.delivery.recover() == 3
    rows = office.until_states("accepted", "accepted", "accepted")
    assert [row["possible_duplicate"] for row in rows] == [False, False, True]
    assert len(outer["twilio"].accepted()) == taken + 1, (
        "what no provider was called for goes out; what was is found"
    )
    assert [message["possible_duplicate"] for message in outer["smtp"].accepted()] == [False, True]


def test_a_row_of_somebody_who_lives_is_left_to_him(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]], outer: dict[str, Provider]
) -> None:
    outer["twilio"].behave("hang")
    with open_office(call_deadline_s=3.0) as first, open_office() as second:
        first.request("sms", targets=(Target("Ravi", {"sms": "+919876500000"}),))
        first.until(first.attempts)
        second.parts.holder.keep()
        assert second.parts.delivery.recover() == 0


def test_a_drill_and_a_hostile_text_are_what_they_are_everywhere(
    office: NotificationsDomain, outer: dict[str, Provider]
) -> None:
    hook = Target("Desk", {"url": f"{outer['webhook'].url}/hook"})
    office.request(
        "sms", "email", "push", "url", targets=(ASHA, hook), message="<script>alert(1)</script>", drill=True
    )
    office.until_states("accepted", "accepted", "accepted", "accepted")
    for kind in ("twilio", "smtp", "fcm", "webhook"):
        [message] = outer[kind].accepted()
        assert "DRILL" in said(message)
        if kind != "twilio":  # an SMS may have no room for it
            assert "<script>" in message["body"], "text is text"
    [mail] = outer["smtp"].accepted()
    assert "DRILL" in mail["subject"]
    assert "<script" not in mail["html"]
    assert "&lt;script&gt;" in mail["html"]


def test_two_processes_send_each_message_once(
    open_office: Callable[..., AbstractContextManager[NotificationsDomain]], outer: dict[str, Provider]
) -> None:
    with open_office() as first, open_office() as second:
        for number in range(40):
            first.request("email", dedup_key=f"k{number}", targets=(Target("Ravi", {"email": "r@x.org"}),))
            second.parts.delivery.wake()
        first.until(lambda: {row["state"] for row in first.rows()} == {"accepted"})
    references = [message["reference"] for message in outer["smtp"].accepted()]
    assert len(references) == len(set(references)) == 40
