"""Tests that each setting that cannot work is reported in one sentence, with the remedy."""

import msgspec
import pytest

from services.contracts.errors import Misconfigured
from services.notifications.settings import digest_time, extra_fields, problems
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
        ({"TWILIO_AUTH_TOKEN": ""}, ["TWILIO_AUTH_TOKEN missing"]),
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


def test_further_fields_of_an_sms_are_a_mapping_or_a_text() -> None:
    settings = config.load(
        environ={"TWILIO_EXTRA_FIELDS": "ValidityPeriod=600, RiskCheck=disable"}
    ).notifications
    assert extra_fields(settings) == ({"ValidityPeriod": "600", "RiskCheck": "disable"}, [])
    mapping = msgspec.structs.replace(settings, twilio_extra_fields={"ValidityPeriod": "600"})
    assert extra_fields(mapping) == ({"ValidityPeriod": "600"}, [])
    assert extra_fields(config.load(environ={}).notifications) == ({}, [])
    half = msgspec.structs.replace(settings, twilio_extra_fields="To=+1,ValidityPeriod=600")
    assert extra_fields(half)[0] == {"ValidityPeriod": "600"}, "one that is wrong stops no other"


def test_the_time_of_the_digest_is_a_time() -> None:
    assert digest_time(config.load(environ={}).notifications).hour == 7
    wrong = msgspec.structs.replace(config.load(environ={}).notifications, digest_at="seven")
    with pytest.raises(Misconfigured, match="digest_at"):
        digest_time(wrong)
    [problem] = problems(wrong)
    assert "digest_at is 'seven'; write it as 07:00" in problem
