"""Tests of addresses.

Usable ones are used. Each other one is named once, with an example of a right one.
"""

import pytest

from services.contracts.errors import Refused
from services.outgoing.contact_addresses import (
    check_contact,
    fallback,
    is_email,
    is_phone,
    is_push,
    is_url,
    masked_address,
    masked_contact,
    phone_fault,
    split_list,
)
from services.platform import config


@pytest.mark.parametrize("right", ["+919876543210", "+15017122661", "+4930123456"])
def test_phones_in_e164(right: str) -> None:
    assert is_phone(right)


@pytest.mark.parametrize(
    "wrong", ["9876543210", "+0123456789", "00919876543210", "+91 98765 43210", "+91", "", "+9x"]
)
def test_everything_else_is_no_phone(wrong: str) -> None:
    assert not is_phone(wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("+4407911123456", "the 0 after the country code 44"),
        ("+4407911123456", "write it as +447911123456"),
        ("+490301234567", "write it as +49301234567"),
        ("+9109876543210", "write it as +919876543210"),
        ("+810312345678", "write it as +81312345678"),
        ("+910000000000", "the 0 after the country code 91"),
        ("+9198765432100", "country code 91"),
        ("+861380013800", "country code 86"),
        ("+919", "digits only"),
        ("+11234567890", "no network of country code 1 has such a number"),
        ("+999123456789", "no country has this code"),
        ("9876543210", "digits only"),
        ("+９１９８７６５４３２１０", "digits only"),
        ("tel:+919876543210", "digits only"),
    ],
)
def test_a_phone_that_cannot_exist_is_refused_with_what_is_wrong(wrong: str, said: str) -> None:
    assert said in str(phone_fault(wrong))
    with pytest.raises(Refused, match="^phone is") as refused:
        check_contact(email=None, phone=wrong)
    assert "+919876543210" in str(refused.value)


@pytest.mark.parametrize("right", ["+390612345678", "+2250101234567", "+61491570156", "+5511987654321"])
def test_a_zero_that_belongs_to_the_number_is_no_trunk_zero(right: str) -> None:
    assert phone_fault(right) is None


@pytest.mark.parametrize(
    ("channel", "address", "shown"),
    [
        ("sms", "+919876543210", "+919876543210"),
        ("email", "a@x.org", "a@x.org"),
        ("push", "dQw4w9WgXcQ:APA91bH-secret", "...cret"),
        ("push", "/topics/noc", "/topics/noc"),
        ("url", "https://hooks.example.com/services/T0/B0/secret", "https://hooks.example.com/..."),
        ("url", "https://user:secret@hook.example.com:8443/x?key=secret", "https://hook.example.com/..."),
        ("url", "slack://secretA/secretB/secretC", "slack://..."),
        ("url", "tgram://123456:secret/44", "tgram://..."),
        ("url", "ntfy://ntfy.example.com/secret-topic", "ntfy://ntfy.example.com/..."),
        ("url", "https://[broken", "https://..."),
    ],
)
def test_lists_show_no_push_token_and_no_password_of_a_url(channel: str, address: str, shown: str) -> None:
    assert masked_address(channel, address) == shown


def test_a_contact_is_shown_with_what_is_set_and_what_is_not() -> None:
    row = {"name": "Asha", "email": "a@x.org", "phone": None, "push_token": None, "url": "slack://A/B/C"}
    assert masked_contact(row) == {**row, "url": "slack://...", "url_problem": None}
    assert masked_contact({**row, "url": None})["url_problem"] is None
    assert masked_contact({**row, "push_token": "token-of-a-phone"})["push_token"] == "...hone"


def test_a_stored_url_that_is_not_offered_any_more_is_shown_with_its_problem() -> None:
    row = {"name": "Asha", "email": "a@x.org", "phone": None, "push_token": None}
    shown = masked_contact({**row, "url": "workflows://127.0.0.1:34345/wf/sig?verify=no"})
    assert shown["url"] == "workflows://..."
    assert "'verify' of workflows:// is not allowed" in shown["url_problem"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("slack://T/A/x?verify=no", "'verify'"),
        ("discord://1/2?template=/etc/passwd", "'template'"),
        ("workflows://10.0.0.1/a/b", "not a host"),
        ("json://example.com/", "is not offered"),
        ("https://127.1/", "four numbers"),
        ("https://a b/", "characters"),
        ("https://example.com:99999/", "Port out of range"),
    ],
)
def test_a_url_that_leads_elsewhere_is_refused_with_the_field_and_the_reason(url: str, words: str) -> None:
    with pytest.raises(Refused, match="^url is") as refused:
        check_contact(email=None, phone=None, url=url)
    assert words in str(refused.value)
    check_contact(email="a@x.org", phone=None, url=url, only=["email"])


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
