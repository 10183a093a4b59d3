"""Tests of Twilio's signature, delivery reports, replies, and further form fields."""

from __future__ import annotations

from typing import Any

import pytest

from services.notifications.channels.provider import Callback, HttpAnswer, HttpSender
from services.notifications.channels.twilio import Twilio, extra_fields, signature

URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
PARAMS = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
"""The example of Twilio's page "Webhooks security"."""


class NoHttp(HttpSender):
    """A client for tests that call no provider."""

    def call(self, method: str, url: str, **options: Any) -> HttpAnswer:
        raise AssertionError(f"{method} {url} {options}")

    def check(self, answer: HttpAnswer, *, permanent: bool = False, said: str = "") -> None:
        raise AssertionError(f"{answer} {permanent} {said}")


def account(token: str = "12345") -> Twilio:
    return Twilio({"twilio_auth_token": token}, NoHttp(), public_url="https://noc.example.com/")


def is_signed(given: str, *, token: str = "12345", **changes: str) -> bool:
    callback = Callback(url=URL, params={**PARAMS, **changes}, headers={"x-twilio-signature": given})
    return account(token).is_signed(callback)


def test_the_signature_is_that_of_the_documentation() -> None:
    assert signature(URL, PARAMS, "12345") == SIGNATURE
    assert is_signed(SIGNATURE)
    assert not is_signed(SIGNATURE, Digits="1235")
    assert not is_signed("é")
    assert not account().is_signed(Callback(url=URL, params=PARAMS))


def test_nothing_is_signed_by_an_account_without_a_token() -> None:
    assert not is_signed(signature(URL, PARAMS, ""), token="")


@pytest.mark.parametrize(
    ("status", "state"),
    [("delivered", "delivered"), ("undelivered", "failed"), ("failed", "failed"), ("sent", None), ("", None)],
)
def test_a_status_of_twilios_is_a_state_of_ours(status: str, state: str | None) -> None:
    params = {"MessageStatus": status, "ErrorCode": "30003", "MessageSid": "SM1"}
    report = account().status_report(Callback(url=URL, params=params))
    assert (report.state if report else None) == state
    assert report is None or report.provider_ref == "SM1"
    assert report is None or ("30003" in report.error) == (state == "failed")


def test_a_reply_has_the_name_of_its_message_or_of_its_content() -> None:
    params = {"From": "+919876543210", "Body": "yes", "MessageSid": "SM1"}
    assert tuple(getattr(account().reply(Callback(url=URL, params=params)), name) for name in (
        "from_number", "text", "message_id"
    )) == ("+919876543210", "yes", "SM1")  # fmt: skip

    unnamed = {**params, "MessageSid": ""}
    first, again, other = (
        account().reply(Callback(url=URL, params=p)).message_id
        for p in (unnamed, dict(unnamed), {**unnamed, "Body": "no"})
    )
    assert first == again != other


def test_the_answer_is_twiml() -> None:
    callback = Callback(url=URL)
    assert account().answer(callback, "<You> have it") == (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Message>&lt;You&gt; have it</Message></Response>',
        "application/xml",
    )
    assert account().answer(callback, "")[0].endswith("<Response></Response>")


def test_further_fields_of_an_sms_are_a_mapping_or_a_text() -> None:
    both = {"ValidityPeriod": "600", "RiskCheck": "disable"}
    assert extra_fields({"twilio_extra_fields": "ValidityPeriod=600, RiskCheck=disable"}) == (both, [])
    assert extra_fields({"twilio_extra_fields": both}) == (both, [])
    assert extra_fields({}) == ({}, [])

    usable, [problem] = extra_fields({"twilio_extra_fields": "To=+1,ValidityPeriod=600"})
    assert usable == {"ValidityPeriod": "600"}, "one that is wrong stops no other"
    assert "'To' cannot be set" in problem
