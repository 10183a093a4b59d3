"""Addresses that people are told at: which are usable, and what is wrong with those that are not. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import phonenumbers

from services.config import Notifications
from services.errors import Refused

EMAIL = re.compile(r"[^@\s,;<>\"\\]{1,64}@[^@\s,;<>\"\\]{1,253}")


def split_list(comma_list: str) -> list[str]:
    """`a, b` -> [a, b]."""
    return [part.strip() for part in comma_list.split(",") if part.strip()]


def is_email(text: str) -> bool:
    """ASCII only: few mail servers take others (SMTPUTF8, RFC 6531), and an alarm must arrive."""
    return EMAIL.fullmatch(text) is not None and text.isprintable() and text.isascii()


def is_phone(text: str) -> bool:
    """E.164 (ITU-T): a plus, country code and number, and such a number can exist."""
    if not re.fullmatch(r"\+[1-9][0-9]{6,14}", text):
        return False
    try:
        return bool(phonenumbers.is_possible_number(phonenumbers.parse(text)))
    except phonenumbers.NumberParseException:
        return False


def is_push(text: str) -> bool:
    """A registration token, or `/topics/NAME`, of Firebase Cloud Messaging."""
    return re.fullmatch(r"/topics/[A-Za-z0-9_.~%-]{1,200}|[A-Za-z0-9_:.-]{8,4096}", text) is not None


def is_url(text: str) -> bool:
    """`scheme://...`: a webhook, or what apprise knows."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc) and text.isprintable() and " " not in text


CHECKS: dict[str, tuple[str, Callable[[str], bool], str]] = {
    "email": ("ALERT_EMAIL_RECIPIENTS", is_email, "an e-mail address such as noc@example.com"),
    "sms": ("ALERT_SMS_RECIPIENTS", is_phone, "a phone number in E.164 form, such as +919876543210"),
    "push": ("ALERT_PUSH_RECIPIENTS", is_push, "an FCM registration token or /topics/NAME"),
    "url": ("ALERT_URL_RECIPIENTS", is_url, "a URL such as https://example.com/hook or ntfy://host/topic"),
}
"""By channel: the variable, the test, and what a right one looks like."""


def fallback(config: Notifications) -> tuple[dict[str, list[str]], list[str]]:
    """(usable ALERT_..._RECIPIENTS by channel, one sentence for each that is not): one bad number stops no other."""
    lists = {
        "email": config.email_recipients,
        "sms": config.sms_recipients,
        "push": config.push_recipients,
        "url": config.url_recipients,
    }
    usable: dict[str, list[str]] = {}
    problems = []
    for channel, comma_list in lists.items():
        variable, is_right, example = CHECKS[channel]
        for address in split_list(comma_list):
            if is_right(address):
                usable.setdefault(channel, []).append(address)
            else:
                problems.append(
                    f"{variable}: {address!r} is not {example}; nobody is told there until it is mended"
                )
    return usable, problems


def check_contact(
    *, email: str | None, phone: str | None, push_token: str | None = None, url: str | None = None
) -> None:
    """A contact that can be reached somehow. Raises `Refused` naming the field and the remedy."""
    given = {"email": email, "sms": phone, "push": push_token, "url": url}
    if not any(given.values()):
        raise Refused("a contact needs an e-mail address, a phone number, a push token or a URL")
    names = {"email": "email", "sms": "phone", "push": "push_token", "url": "url"}
    for channel, address in given.items():
        _, is_right, example = CHECKS[channel]
        if address and not is_right(address):
            raise Refused(f"{names[channel]} is {address!r}; it must be {example}")
