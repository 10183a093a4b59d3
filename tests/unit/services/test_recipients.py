"""Addresses: the usable are used, and each other one is named once with what a right one looks like."""

import pytest

from services import config
from services.errors import Refused
from services.recipients import check_contact, fallback, is_email, is_phone, is_push, is_url, split_list


@pytest.mark.parametrize("right", ["+919876543210", "+15017122661", "+4930123456"])
def test_phones_in_e164(right: str) -> None:
    assert is_phone(right)


@pytest.mark.parametrize(
    "wrong", ["9876543210", "+0123456789", "00919876543210", "+91 98765 43210", "+91", "", "+9x"]
)
def test_everything_else_is_no_phone(wrong: str) -> None:
    assert not is_phone(wrong)


def test_other_addresses() -> None:
    assert is_email("noc@example.com")
    assert not any(map(is_email, ["noc", "a@b\nBcc: x@y", "a b@c", "<a@b>", "a@b, c@d"]))
    assert is_push("/topics/noc")
    assert is_push("dQw4w9WgXcQ:APA91bH-x_y")
    assert not any(map(is_push, ["", "short", "/topics/", "a b c d e f g h"]))
    assert is_url("https://example.com/hook")
    assert is_url("ntfy://host/topic")
    assert not any(map(is_url, ["example.com", "https://", "https://a b", "https://[x"]))


def test_one_bad_recipient_is_named_and_stops_no_other() -> None:
    environ = {"ALERT_SMS_RECIPIENTS": "+919876543210, 98765", "ALERT_EMAIL_RECIPIENTS": "noc@example.com"}
    usable, problems = fallback(config.load(environ=environ).notifications)
    assert usable == {"sms": ["+919876543210"], "email": ["noc@example.com"]}
    [problem] = problems
    assert "ALERT_SMS_RECIPIENTS: '98765' is not a phone number in E.164" in problem


def test_a_contact_can_be_reached_somehow() -> None:
    check_contact(email="ann@example.com", phone="+919876543210")
    check_contact(email=None, phone=None, url="https://example.com/hook")
    with pytest.raises(Refused, match="needs an e-mail"):
        check_contact(email=None, phone=None)
    for field, fault in (
        ("email", {"email": "ann", "phone": None}),
        ("phone", {"email": None, "phone": "98765"}),
        ("push_token", {"email": None, "phone": None, "push_token": "x"}),
        ("url", {"email": None, "phone": None, "url": "x"}),
    ):
        with pytest.raises(Refused, match=f"^{field} is"):
            check_contact(**fault)  # type: ignore[arg-type]


def test_lists_are_parted_by_commas() -> None:
    assert split_list(" a, b ,,c") == ["a", "b", "c"]
