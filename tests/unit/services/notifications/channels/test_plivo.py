"""Tests of Plivo's signature, delivery reports and replies."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from services.notifications.channels.plivo import Plivo, signature
from services.notifications.channels.provider import Callback
from tests.unit.services.notifications.channels.test_twilio import NoHttp

URL = "https://noc.example.com/api/v1/providers/plivo/inbound"
NONCE = "05429567804466091622"


def account(token: str = "token") -> Plivo:
    return Plivo({"plivo_auth_token": token}, NoHttp())


def signed(url: str = URL, *, token: str = "token", nonce: str = NONCE, **params: str) -> Callback:
    """Return a callback that is signed as Plivo's documentation has it."""
    digest = hmac.new(token.encode(), f"{URL}{nonce}".encode(), hashlib.sha256).digest()
    headers = {
        "x-plivo-signature-v2": base64.b64encode(digest).decode(),
        "x-plivo-signature-v2-nonce": nonce,
    }
    return Callback(url=url, params=params, headers=headers)


def test_a_signature_is_over_the_url_without_its_query_and_the_nonce() -> None:
    assert account().is_signed(signed())
    assert account().is_signed(signed(f"{URL}?a=b"))
    assert not account().is_signed(signed(f"{URL}/other"))
    assert not account().is_signed(signed(token="another"))
    assert not account().is_signed(Callback(url=URL))
    assert not account().is_signed(Callback(url=URL, headers={"x-plivo-signature-v2": "é"}))


def test_nothing_is_signed_without_a_token_or_a_nonce() -> None:
    assert not account("").is_signed(signed(token=""))
    assert not account().is_signed(signed(nonce=""))
    assert signature(URL, "", "token") != signature(URL, NONCE, "token")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("delivered", "delivered"),
        ("undelivered", "failed"),
        ("failed", "failed"),
        ("queued", None),
        ("", None),
    ],
)
def test_a_status_of_plivo_is_a_state_of_ours(status: str, state: str | None) -> None:
    report = account().status_report(signed(Status=status, ErrorCode="30", MessageUUID="u-1"))
    assert (report.state if report else None) == state
    assert report is None or report.provider_ref == "u-1"
    assert report is None or report.error == ("plivo: " + status + ", error 30" if state == "failed" else "")


def test_a_reply_is_from_a_number_in_e164() -> None:
    for number in ("919876543210", "+919876543210"):
        reply = account().reply(signed(From=number, To="15017122661", Text="yes", MessageUUID="u-2"))
        assert (reply.from_number, reply.text, reply.message_id) == ("+919876543210", "yes", "u-2")


def test_the_answer_is_plivos_xml_from_its_number_to_the_sender() -> None:
    callback = signed(From="919876543210", To="15017122661")
    body, content_type = account().answer(callback, "<You> have it")
    assert '<Message src="15017122661" dst="919876543210" type="sms">&lt;You&gt; have it</Message>' in body
    assert content_type == "application/xml"
    assert account().answer(callback, "")[0].endswith("<Response></Response>")
