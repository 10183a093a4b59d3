"""Tests that each setting that cannot work is reported in one sentence, with the remedy."""

import msgspec
import pytest

from services.contracts.errors import Misconfigured
from services.notifications.channels.plivo import Plivo
from services.notifications.channels.twilio import Twilio
from services.notifications.settings import digest_time, is_usable, problems
from services.platform import config

RIGHT = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": "t",
    "TWILIO_PHONE_NUMBER": "+15017122661",
    "VIGIL_PUBLIC_URL": "https://noc.example.com",
    "ALERT_SMS_RECIPIENTS": "+919876543210",
}


def said(**changes: str) -> list[str]:
    return problems(config.load(environ={**RIGHT, **changes}).notifications)


def test_what_is_right_is_not_talked_about() -> None:
    assert said() == []
    assert problems(config.load(environ={}).notifications) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FCM_SERVER_KEY": "AAAA"}, ["FCM_SERVER_KEY", "2024", "FCM_CREDENTIALS_FILE"]),
        ({"ALERT_SMS_RECIPIENTS": "98765"}, ["ALERT_SMS_RECIPIENTS", "E.164", "+919876543210"]),
        ({"TWILIO_PHONE_NUMBER": "5017122661"}, ["TWILIO_PHONE_NUMBER", "E.164"]),
        ({"ALERT_SMS_RECIPIENTS": "+4407911123456"}, ["the 0 after the country code 44", "+447911123456"]),
        (
            {"ALERT_SMS_RECIPIENTS": "+910000000000, +919876543210"},
            ["'+910000000000'", "gets no notifications"],
        ),
        ({"ALERT_URL_RECIPIENTS": "https://"}, ["ALERT_URL_RECIPIENTS", "a URL such as"]),
        ({"TWILIO_PHONE_NUMBER": "+4407911123456"}, ["TWILIO_PHONE_NUMBER", "+447911123456"]),
        (
            {"TWILIO_EXTRA_FIELDS": "ValidityPeriod=600,Body=x"},
            ["TWILIO_EXTRA_FIELDS", "'Body'", "Name=value"],
        ),
        ({"TWILIO_EXTRA_FIELDS": "ValidityPeriod"}, ["'ValidityPeriod' cannot be set"]),
        ({"TWILIO_EXTRA_FIELDS": "Risk Check=disable"}, ["'Risk Check' cannot be set"]),
        ({"TWILIO_AUTH_TOKEN": ""}, ["TWILIO_AUTH_TOKEN missing", "by Twilio until TWILIO_ACCOUNT_SID, "]),
        ({"PLIVO_AUTH_ID": "MA1"}, ["PLIVO_AUTH_TOKEN and PLIVO_SENDER missing", "by Plivo until"]),
        (
            {"PLIVO_AUTH_ID": "MA1", "PLIVO_AUTH_TOKEN": "t", "PLIVO_SENDER": "15017122661"},
            ["PLIVO_SENDER", "E.164"],
        ),
        (
            {"PLIVO_AUTH_ID": "MA1", "PLIVO_AUTH_TOKEN": "t", "PLIVO_SENDER": "GUARDCOMPANY"},
            ["PLIVO_SENDER", "11 letters"],
        ),
        ({"VIGIL_PUBLIC_URL": "noc.example.com"}, ["VIGIL_PUBLIC_URL", "https://"]),
        (
            {"ALERT_EMAIL_RECIPIENTS": "noc@example.com, noc"},
            ["ALERT_EMAIL_RECIPIENTS", "'noc'", "e-mail address"],
        ),
    ],
)
def test_each_fault_is_one_sentence(changes: dict[str, str], words: list[str]) -> None:
    [problem] = said(**changes)
    assert all(word in problem for word in words)


def test_a_secret_is_not_repeated() -> None:
    assert "AAAA-secret" not in str(said(FCM_SERVER_KEY="AAAA-secret"))
    assert "secret" not in str(said(ALERT_URL_RECIPIENTS="https://host/secret path"))
    assert "secret" not in str(said(ALERT_PUSH_RECIPIENTS="secret token"))


def test_a_provider_is_used_when_all_that_it_needs_is_there_and_right() -> None:
    sender_id = {"plivo_auth_id": "MA1", "plivo_auth_token": "t", "plivo_sender": "VIGIL"}
    assert is_usable(Plivo, sender_id)
    assert is_usable(Plivo, {**sender_id, "plivo_sender": "+15017122661"})
    assert not is_usable(Plivo, {**sender_id, "plivo_sender": "GUARDCOMPANY"})
    assert not is_usable(Plivo, {**sender_id, "plivo_auth_token": ""})
    assert not is_usable(Plivo, {**sender_id, "plivo_api_url": {"a": "b"}})
    assert not is_usable(Twilio, sender_id)


def test_a_key_that_no_provider_declares_is_named() -> None:
    settings = config.load(environ={}).notifications
    unknown = msgspec.structs.replace(settings, providers={**settings.providers, "twilio_acount_sid": "AC1"})
    [problem] = problems(unknown)
    assert problem.startswith("config.yaml: notifications.twilio_acount_sid is not a setting")
    mapping = msgspec.structs.replace(settings, providers={"twilio_phone_number": {"a": "b"}})
    assert "TWILIO_PHONE_NUMBER: it must be a text; no SMS goes out by Twilio" in problems(mapping)


def test_the_time_of_the_digest_is_a_time() -> None:
    assert digest_time(config.load(environ={}).notifications).hour == 7
    wrong = msgspec.structs.replace(config.load(environ={}).notifications, digest_at="seven")
    with pytest.raises(Misconfigured, match="digest_at"):
        digest_time(wrong)
    [problem] = problems(wrong)
    assert "digest_at is 'seven'; write it as 07:00" in problem
