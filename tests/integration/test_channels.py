"""Tests of every channel with a provider in a process of its own, in each of the provider's moods."""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.contracts.errors import Misconfigured
from services.notifications.channels import (
    AcceptedMessage,
    CannotTell,
    Channel,
    OutgoingMessage,
    SendFailed,
    webhook,
)
from services.notifications.channels.apprise import AppriseChannel
from services.notifications.channels.fcm import FcmChannel
from services.notifications.channels.http_client import ProviderHttp
from services.notifications.channels.plivo import Plivo
from services.notifications.channels.smtp import SmtpChannel
from services.notifications.channels.twilio import Twilio
from services.notifications.channels.webhook import WebhookChannel
from services.outgoing.client import OutgoingClient, Resolve, resolve
from services.outgoing.rules import CLOSED_NETWORK, DEVELOPMENT, tenant
from tests.providers import WEBHOOK_SECRET, Provider
from tests.providers.server import ACCOUNT, TOKEN, fcm_fault

DEADLINE_S = 1.0
OURS, THEIRS = OutgoingClient(DEVELOPMENT), OutgoingClient(CLOSED_NETWORK)
RECIPIENTS = {
    "smtp": "asha@example.com",
    "twilio": "+919876543210",
    "plivo": "+919876543210",
    "fcm": "token-of-a-phone",
    "webhook": "/hook",
}


def twilio_to(url: str, *, deadline_s: float = DEADLINE_S, **extra_fields: str) -> Twilio:
    values = {
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "twilio_phone_number": "+15017122661",
        "twilio_api_url": url,
        "twilio_extra_fields": extra_fields,
    }
    http = ProviderHttp(OURS, provider="twilio", deadline_s=deadline_s)
    return Twilio(values, http, public_url="https://noc.example.com/")


def plivo_to(url: str, *, deadline_s: float = DEADLINE_S, **changes: str) -> Plivo:
    values = {
        "plivo_auth_id": ACCOUNT,
        "plivo_auth_token": TOKEN,
        "plivo_sender": "+15017122661",
        "plivo_api_url": url,
        **changes,
    }
    http = ProviderHttp(OURS, provider="plivo", deadline_s=deadline_s)
    return Plivo(values, http, public_url="https://noc.example.com/")


def channel_to(provider: Provider, deadline_s: float = DEADLINE_S) -> Channel:
    match provider.kind:
        case "smtp":
            return SmtpChannel(
                f"{provider.url}?from=vigil@example.com&ca={provider.ca_file}", deadline_s=deadline_s
            )
        case "twilio":
            return twilio_to(provider.url, deadline_s=deadline_s)
        case "plivo":
            return plivo_to(provider.url, deadline_s=deadline_s)
        case "fcm":
            file = provider.credentials_file
            return FcmChannel(OURS, credentials_file=file, base_url=provider.url, deadline_s=deadline_s)
    return WebhookChannel(THEIRS, secret=WEBHOOK_SECRET, deadline_s=deadline_s)


def message_to(provider: Provider, **changes: Any) -> OutgoingMessage:
    recipient = RECIPIENTS[provider.kind]
    base = {
        "reference": uuid4().hex,
        "recipient": f"{provider.url}{recipient}" if provider.kind == "webhook" else recipient,
        "subject": "Critical: Panic guard-1",
        "text": f"Critical: Panic guard-1 <script> Reply {uuid4().hex[:4]}",
        "html": "<p>CRITICAL</p>" if provider.kind == "smtp" else "",
        "data": {"alert_id": "a"},
        "urgent": True,
    }
    return OutgoingMessage(**{**base, **changes})


@pytest.mark.parametrize("kind", list(RECIPIENTS))
def test_a_provider_takes_a_message_as_it_was_written(outer: dict[str, Provider], kind: str) -> None:
    provider = outer[kind]
    outgoing = message_to(provider)
    accepted = channel_to(provider).send(outgoing)
    [taken] = provider.accepted()
    assert taken["reference"] == outgoing.reference
    assert taken["body"].strip() == outgoing.text
    assert not taken["possible_duplicate"]
    assert accepted.provider_ref.endswith(taken["id"]) or outgoing.reference in accepted.provider_ref
    assert taken["to"] == RECIPIENTS[kind]


# (kind of failure, permanent, maybe_sent) for each mood. A message that the provider surely did not
# take is not "maybe".
MOODS: dict[str, dict[str, tuple[str, bool, bool]]] = {
    "429": {
        "smtp": ("refused", False, False),
        "twilio": ("rate_limited", False, False),
        "plivo": ("rate_limited", False, False),
        "fcm": ("rate_limited", False, False),
        "webhook": ("rate_limited", False, False),
    },
    "500": {
        "smtp": ("refused", False, False),
        "twilio": ("server_error", False, False),
        "plivo": ("server_error", False, False),
        "fcm": ("server_error", False, False),
        "webhook": ("server_error", False, False),
    },
    "hang": dict.fromkeys(RECIPIENTS, ("timeout", False, True)),
    "drop": dict.fromkeys(RECIPIENTS, ("dropped", False, True)),
    "malformed": {
        "smtp": ("bad_answer", False, True),
        "twilio": ("bad_answer", False, True),
        "plivo": ("bad_answer", False, True),
        "fcm": ("bad_answer", False, True),
    },
    "refuse": {
        "smtp": ("invalid_recipient", True, False),
        "twilio": ("invalid_recipient", True, False),
        "plivo": ("invalid_recipient", True, False),
        "fcm": ("invalid_recipient", True, False),
        "webhook": ("invalid_recipient", True, False),
    },
}


@pytest.mark.parametrize(
    ("mood", "kind", "expected"),
    [(mood, kind, expected) for mood, kinds in MOODS.items() for kind, expected in kinds.items()],
)
def test_a_failure_says_what_it_was_and_whether_the_message_may_have_gone_out(
    outer: dict[str, Provider], mood: str, kind: str, expected: tuple[str, bool, bool]
) -> None:
    provider = outer[kind]
    provider.behave(mood)
    with pytest.raises(SendFailed) as failure:
        channel_to(provider).send(message_to(provider))
    error = failure.value
    assert (error.kind, error.permanent, error.maybe_sent) == expected, str(error)
    if mood in ("drop", "malformed"):
        assert len(provider.accepted()) == 1, "it was taken, and only the answer lost"
    if mood == "429" and kind != "smtp":
        assert error.retry_after_s == 2
    assert TOKEN not in str(error)
    assert WEBHOOK_SECRET not in str(error)


@pytest.mark.parametrize("kind", list(RECIPIENTS))
def test_nobody_there_is_a_failure_before_anything_was_sent(
    kind: str, outer: dict[str, Provider], tmp_path: Path
) -> None:
    gone = Provider(kind, directory=tmp_path)
    gone.stop()
    with pytest.raises(SendFailed) as failure:
        channel_to(gone).send(message_to(gone))
    assert not failure.value.maybe_sent
    assert outer[kind].accepted() == []


def test_an_answer_that_drips_cannot_hold_anybody_beyond_the_deadline(tmp_path: Path) -> None:
    import socket
    import threading
    import time

    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        peer, _ = listener.accept()
        peer.recv(65_536)
        peer.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
        try:
            while True:
                peer.sendall(b" ")
                time.sleep(0.1)
        except OSError:
            peer.close()

    threading.Thread(target=drip, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    channel = twilio_to(url, deadline_s=0.5)
    started_s = time.monotonic()
    with pytest.raises(SendFailed) as failure:
        channel.send(OutgoingMessage(reference="r", recipient="+1", subject="", text="x"))
    assert failure.value.maybe_sent
    assert time.monotonic() - started_s < 1.5
    assert tmp_path.exists()


def post(url: str, data: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


RIGHT_SMS = {"To": "+919876543210", "From": "+15017122661", "Body": "help"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"TemplateId": "1107"}, 20001),
        ({"templateid": "1107"}, 20001),
        ({"DltTemplateId": "1107"}, 20001),
        ({"to": "+919876543210"}, 20001),
        ({"Reference": "r"}, 20001),
        ({"ScheduleAt": "2026-01-01T00:00:00Z"}, 20001),
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"To": "09876543210"}, 21211),
        ({"To": "+91 98765 43210"}, 21211),
        ({"From": "05017122661"}, 21212),
        ({"Body": "x" * 1601}, 21617),
    ],
)
def test_what_twilio_does_not_document_is_refused_as_twilio_does(
    outer: dict[str, Provider], changes: dict[str, str], code: int
) -> None:
    form = {name: value for name, value in {**RIGHT_SMS, **changes}.items() if value}
    basic = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    url = f"{outer['twilio'].url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    status, said = post(url, urllib.parse.urlencode(form).encode(), Authorization=f"Basic {basic}")
    assert (status, said["code"], said["status"]) == (400, code, 400)
    assert said["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert outer["twilio"].accepted() == []


def test_every_field_of_ours_is_documented_and_a_registered_id_stays_here(outer: dict[str, Provider]) -> None:
    provider = outer["twilio"]
    channel = twilio_to(provider.url, ValidityPeriod="600", RiskCheck="disable", To="+15005550006")
    channel.send(message_to(provider, template_id="1107160000000012345"))
    [taken] = provider.accepted()
    assert set(taken["form"]) == {"To", "From", "Body", "StatusCallback", "ValidityPeriod", "RiskCheck"}
    assert taken["form"]["To"] == RECIPIENTS["twilio"], "no further field stands in for one of ours"
    assert "1107160000000012345" not in str(taken["form"])


def test_a_field_that_twilio_does_not_have_is_a_failure_that_names_it(outer: dict[str, Provider]) -> None:
    provider = outer["twilio"]
    channel = twilio_to(provider.url, TemplateId="1107")
    with pytest.raises(SendFailed, match="20001 Unknown parameter TemplateId") as failure:
        channel.send(message_to(provider))
    assert not failure.value.maybe_sent


RIGHT_PLIVO_SMS = {"src": "+15017122661", "dst": "+919876543210", "text": "help"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"to": "+919876543210"}, "unknown parameter to"),
        ({"template_id": "1107"}, "unknown parameter template_id"),
        ({"reference": "r"}, "unknown parameter reference"),
        ({"dst": ""}, "dst"),
        ({"dst": "98765"}, "dst"),
        ({"src": ""}, "src"),
        ({"src": "GUARD-COMPANY-1"}, "src"),
        ({"text": ""}, "text"),
        ({"text": "x" * 1601}, "text"),
        ({"text": "\u0939" * 738}, "text"),
        ({"type": "rcs"}, "type"),
        ({"method": "PUT"}, "method"),
        ({"powerpack_uuid": "p"}, "powerpack_uuid"),
    ],
)
def test_what_plivo_does_not_document_is_refused(
    outer: dict[str, Provider], changes: dict[str, str], words: str
) -> None:
    body = {name: value for name, value in {**RIGHT_PLIVO_SMS, **changes}.items() if value}
    basic = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    url = f"{outer['plivo'].url}/v1/Account/{ACCOUNT}/Message/"
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}
    status, said = post(url, json.dumps(body).encode(), **headers)
    assert status == 400
    assert words in said["error"]
    assert outer["plivo"].accepted() == []


def test_plivo_gets_the_registered_ids_when_it_knows_the_entity(outer: dict[str, Provider]) -> None:
    provider = outer["plivo"]
    outgoing = message_to(provider, template_id="1107160000000012345")
    plivo_to(provider.url).send(outgoing)
    plivo_to(provider.url, plivo_sender="VIGIL", plivo_dlt_entity_id="1101").send(outgoing)
    plain, registered = (taken["message"] for taken in provider.accepted())
    assert set(plain) == {"src", "dst", "text", "type", "url", "method"}
    assert registered == {
        **plain,
        "src": "VIGIL",
        "dlt_entity_id": "1101",
        "dlt_template_id": "1107160000000012345",
    }


def test_an_account_that_plivo_does_not_know_is_not_authorized(outer: dict[str, Provider]) -> None:
    provider = outer["plivo"]
    with pytest.raises(SendFailed, match="plivo answered 401") as failure:
        plivo_to(provider.url, plivo_auth_token="wrong").send(message_to(provider))
    assert (failure.value.kind, failure.value.permanent) == ("not_authorized", False)


FCM_MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"token": "t", "sound": "default"}, 'Unknown name "sound"'),
    ({"token": "t", "notification": {"title": "t", "sound": "default"}}, 'Unknown name "sound"'),
    ({"token": "t", "android": {"notification": {"vibrate": True}}}, 'Unknown name "vibrate"'),
    ({"token": "t", "android": {"silent": True}}, 'Unknown name "silent"'),
    ({"token": "t", "apns": {"aps": {}}}, 'Unknown name "aps"'),
    ({"to": "t"}, 'Unknown name "to"'),
    ({"notification": {"title": "t"}}, "Recipient of the message is not set."),
    ({"token": "t", "topic": "noc"}, "Recipient of the message is not set."),
    ({"token": "t", "data": {"from": "x"}}, "Invalid data payload key: from"),
    ({"token": "t", "data": {"google.x": "x"}}, "Invalid data payload key"),
    ({"token": "t", "data": {"silent": True}}, "Invalid value"),
]


@pytest.mark.parametrize(("message", "words"), FCM_MESSAGES)
def test_what_fcm_does_not_document_is_refused_as_an_invalid_argument(
    message: dict[str, Any], words: str
) -> None:
    assert words in str(fcm_fault({"message": message}))
    assert words in str(fcm_fault({"validate_only": True, "message": message}))


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize("recipient", ["token-of-a-phone", "/topics/noc"])
def test_our_push_has_documented_fields_only_and_a_silent_one_no_sound(
    outer: dict[str, Provider], recipient: str, silent: bool
) -> None:
    provider = outer["fcm"]
    channel_to(provider).send(message_to(provider, recipient=recipient, silent=silent))
    [taken] = provider.accepted()
    android, apns = taken["message"]["android"]["notification"], taken["message"]["apns"]["payload"]["aps"]
    assert android["default_sound"] is android["default_vibrate_timings"] is not silent
    assert ("channel_id" in android) == silent
    assert ("sound" in apns) is not silent
    assert "sound" not in android


def test_twilio_is_asked_for_what_it_took_by_text_and_time(outer: dict[str, Provider]) -> None:
    provider = outer["twilio"]
    channel = channel_to(provider)
    outgoing = message_to(provider)
    started = datetime.now(UTC)
    assert channel.find(outgoing, since=started) is None
    for _ in range(3):
        channel.send(message_to(provider))
    provider.behave("drop", times=1)
    with pytest.raises(SendFailed):
        channel.send(outgoing)
    for _ in range(3):
        channel.send(message_to(provider))
    taken = next(kept for kept in provider.accepted() if kept["reference"] == outgoing.reference)
    assert channel.find(outgoing, since=started) == AcceptedMessage(provider_ref=taken["id"]), (
        "on a later page"
    )
    assert channel.find(outgoing, since=started + timedelta(minutes=1)) is None, (
        "that was another, earlier one"
    )
    provider.behave("500")
    with pytest.raises(CannotTell):
        channel.find(outgoing, since=started)


@pytest.mark.parametrize("kind", ["smtp", "plivo", "fcm", "webhook"])
def test_others_cannot_be_asked(outer: dict[str, Provider], kind: str) -> None:
    provider = outer[kind]
    with pytest.raises(CannotTell):
        channel_to(provider).find(message_to(provider), since=datetime.now(UTC))


@pytest.mark.parametrize("kind", list(RECIPIENTS))
def test_a_possible_duplicate_says_so(outer: dict[str, Provider], kind: str) -> None:
    provider = outer[kind]
    data = {"possible_duplicate": "true"}
    channel_to(provider).send(message_to(provider, possible_duplicate=True, data=data))
    [taken] = provider.accepted()
    assert taken["possible_duplicate"]


@pytest.mark.parametrize(
    "address", ["nobody", "a@b@c", "a@[", "", "a b@c.de", "é@x.org", "a@x.org\nBcc: e@x.org"]
)
def test_what_is_no_address_is_refused_for_good_before_anybody_is_called(
    outer: dict[str, Provider], address: str
) -> None:
    before = outer["smtp"].requests_seen()
    with pytest.raises(SendFailed, match="not an e-mail address") as failure:
        channel_to(outer["smtp"]).send(message_to(outer["smtp"], recipient=address))
    assert (failure.value.kind, failure.value.permanent) == ("invalid_recipient", True)
    assert outer["smtp"].requests_seen() == before


def test_a_long_mail_is_cut_into_the_lines_that_servers_take(outer: dict[str, Provider]) -> None:
    """RFC 5321, 4.5.3.1.6: lines have at most 1000 octets, and end in CR LF."""
    outgoing = message_to(outer["smtp"], html=f"<p>{'x' * 3000}</p>", text="y " * 3000)
    channel_to(outer["smtp"]).send(outgoing)
    [taken] = outer["smtp"].accepted()
    assert "x" * 3000 in taken["html"]
    assert taken["body"].split() == ["y"] * 3000


def test_mail_goes_over_tls_and_no_header_can_be_smuggled_in(outer: dict[str, Provider]) -> None:
    provider = outer["smtp"]
    hostile = "help\r\nBcc: eve@example.com\r\n\r\nbody"
    channel_to(provider).send(message_to(provider, subject=hostile))
    [taken] = provider.accepted()
    assert taken["tls"]
    assert "Bcc" not in taken["headers"]
    assert taken["subject"] == "help Bcc: eve@example.com body"
    assert taken["headers"]["Auto-Submitted"] == "auto-generated"
    assert taken["html"].strip() == "<p>CRITICAL</p>"
    untrusted = SmtpChannel(f"{provider.url}?from=vigil@example.com", deadline_s=DEADLINE_S)
    with pytest.raises(SendFailed) as failure:
        untrusted.send(message_to(provider))
    assert not failure.value.maybe_sent, "a certificate of nobody's ends it before a word"


@pytest.mark.parametrize(
    "url",
    ["http://host", "smtp://", "smtp://host:x", "smtp://host", "smtp://host?from=nobody",
     "smtp://mail.example.com?from=a@b.c&tls=off", "smtp://host?from=a@b.c&ca=/nowhere"],
)  # fmt: skip
def test_a_mail_url_that_cannot_work_is_named_at_start(url: str) -> None:
    with pytest.raises(Misconfigured, match="SMTP_URL"):
        SmtpChannel(url)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"type": "authorized_user"}'])
def test_a_file_that_is_no_service_account_is_named_at_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "account.json"
    file.write_text(content)
    for path in (file, tmp_path / "missing.json"):
        with pytest.raises(Misconfigured, match="FCM_CREDENTIALS_FILE"):
            FcmChannel(OURS, credentials_file=str(path))


def test_a_webhook_is_signed_over_time_and_body(outer: dict[str, Provider]) -> None:
    provider = outer["webhook"]
    outgoing = message_to(provider)
    WebhookChannel(THEIRS, secret=WEBHOOK_SECRET, clock=lambda: 1234.5).send(outgoing)
    [taken] = provider.accepted()
    expected = webhook.signature(WEBHOOK_SECRET.encode(), 1234, taken["raw"].encode())
    assert taken["signature"] == f"t=1234,v1={expected}"
    assert taken["data"]["alert_id"] == "a"


def strict(resolver: Resolve = resolve) -> WebhookChannel:
    return WebhookChannel(
        OutgoingClient(tenant([443, 8443]), resolver=resolver), secret=WEBHOOK_SECRET, deadline_s=DEADLINE_S
    )


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://2130706433/", "https://0x7f.1/",
     "https://169.254.169.254/latest/meta-data", "http://93.184.216.34/", "ftp://example.com/", "https:///x",
     "https://10.0.0.1:8443/", "https://[::ffff:10.0.0.1]/", "https://example.com:99999/"],
)  # fmt: skip
def test_a_webhook_goes_nowhere_but_out(url: str) -> None:
    with pytest.raises(SendFailed) as failure:
        strict().send(OutgoingMessage(reference="r", recipient=url, subject="", text=""))
    assert failure.value.kind in ("forbidden_address", "invalid_recipient", "unreachable")
    assert not failure.value.maybe_sent


def test_a_public_name_with_a_private_address_is_refused_whichever_it_is() -> None:
    for addresses in (["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["fd00::1"]):
        with pytest.raises(SendFailed, match="not public") as failure:
            strict(lambda _host, _port, found=addresses: found).send(  # type: ignore[misc]
                OutgoingMessage(reference="r", recipient="https://hook.example.com/", subject="", text="")
            )
        assert failure.value.kind == "forbidden_address"


def test_the_address_that_was_checked_is_the_one_that_is_called(outer: dict[str, Provider]) -> None:
    """A second look-up could lead elsewhere (DNS rebinding)."""
    provider = outer["webhook"]
    looked_up: list[str] = []

    def once(host: str, _port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    channel = WebhookChannel(OutgoingClient(CLOSED_NETWORK, resolver=once), secret=WEBHOOK_SECRET)
    channel.send(message_to(provider, recipient=f"http://hook.invalid:{provider.port}/hook"))
    assert looked_up == ["hook.invalid"]
    [taken] = provider.accepted()
    assert taken["host"] == f"hook.invalid:{provider.port}"


def test_a_webhook_follows_no_redirect(outer: dict[str, Provider]) -> None:
    provider = outer["webhook"]
    with pytest.raises(SendFailed, match="redirects"):
        channel_to(provider).send(message_to(provider, recipient=f"{provider.url}/redirect"))
    assert provider.accepted() == []


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("dbus://", "forbidden_address"),
        ("syslog://", "forbidden_address"),
        ("json://127.0.0.1/", "forbidden_address"),
        ("slack://", "invalid_recipient"),
        ("ntfy://127.0.0.1/topic", "forbidden_address"),
        ("ntfys://[::1]/topic", "forbidden_address"),
    ],
)
def test_apprise_is_offered_for_services_and_not_for_this_machine(url: str, kind: str) -> None:
    with pytest.raises(SendFailed) as failure:
        AppriseChannel(OutgoingClient(tenant([443])), deadline_s=DEADLINE_S).send(
            OutgoingMessage(reference="r", recipient=url, subject="s", text="t")
        )
    assert (failure.value.kind, failure.value.permanent) == (kind, True)


# (mood of the server: kind of failure, permanent, maybe_sent). With "accept", the server's answer
# to ntfy's JSON is a lost answer.
APPRISE_MOODS = {
    "refuse": ("invalid_recipient", True, False),
    "429": ("rate_limited", False, False),
    "500": ("server_error", False, False),
    "hang": ("timeout", False, True),
    "drop": ("dropped", False, True),
}


@pytest.mark.parametrize("mood", APPRISE_MOODS)
def test_a_failure_behind_apprise_says_what_it_was(outer: dict[str, Provider], mood: str) -> None:
    """ntfy's protocol is a POST of JSON to the root of the server."""
    provider = outer["ntfy"]
    provider.behave(mood)
    outgoing = OutgoingMessage(
        reference="r", recipient=f"ntfy://127.0.0.1:{provider.port}/topic", subject="s", text="t"
    )
    with pytest.raises(SendFailed) as failure:
        AppriseChannel(THEIRS, deadline_s=DEADLINE_S).send(outgoing)
    error = failure.value
    assert (error.kind, error.permanent, error.maybe_sent) == APPRISE_MOODS[mood], str(error)


def test_apprise_hands_a_message_to_a_real_server(outer: dict[str, Provider]) -> None:
    provider = outer["ntfy"]
    outgoing = OutgoingMessage(
        reference="r", recipient=f"ntfy://127.0.0.1:{provider.port}/topic", subject="s", text="t"
    )
    accepted = AppriseChannel(THEIRS, deadline_s=5).send(outgoing)
    assert accepted.provider_ref == "r"
    [taken] = provider.accepted()
    assert (taken["to"], taken["subject"], taken["body"]) == ("topic", "s", "t")
