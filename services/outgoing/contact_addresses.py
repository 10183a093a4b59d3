"""Addresses of recipients: which are usable, and the faults of those that are not. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import phonenumbers

from services.contracts.errors import Refused
from services.outgoing.apprise_urls import url_fault as apprise_fault
from services.outgoing.rules import CLOSED_NETWORK, ForbiddenDestination, check_url
from services.platform.config import NotificationsSettings

EMAIL = re.compile(r"[^@\s,;<>\"\\]{1,64}@[^@\s,;<>\"\\]{1,253}")


def split_list(comma_list: str) -> list[str]:
    """Return the parts of a comma list: `a, b` -> [a, b]."""
    return [part.strip() for part in comma_list.split(",") if part.strip()]


def is_email(text: str) -> bool:
    """Return whether a text is an e-mail address in ASCII.

    Few mail servers take others (SMTPUTF8, RFC 6531), and an alarm must arrive.
    """
    return EMAIL.fullmatch(text) is not None and text.isprintable() and text.isascii()


def is_phone(text: str) -> bool:
    """Return whether a text is a phone number in E.164 (ITU-T).

    E.164 is a plus, country code and number, of a range that some network has.
    """
    return phone_fault(text) is None


def phone_fault(text: str) -> str | None:
    """Return the fault of a phone number, with the right form where it is known; None: usable."""
    if not re.fullmatch(r"\+[1-9][0-9]{6,14}", text):
        return "it must be a plus, the country code and the number, digits only"

    try:
        parsed = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return "no country has this code after the plus"

    if _has_trunk_zero(text, parsed):
        right = f"+{parsed.country_code}{text[len(str(parsed.country_code)) + 1 :].lstrip('0')}"
        meant = f"; write it as {right}" if _is_valid(right) else ""
        return f"the 0 after the country code {parsed.country_code} is dialled inside the country only{meant}"
    if not phonenumbers.is_possible_number(parsed):
        return f"a number of country code {parsed.country_code} has not {_digits(parsed)} digits after it"
    if not phonenumbers.is_valid_number(parsed):
        return f"no network of country code {parsed.country_code} has such a number"

    return None


def _has_trunk_zero(text: str, parsed: phonenumbers.PhoneNumber) -> bool:
    """Return whether a 0 stands after the country code of numbers without one (Italy's have one)."""
    national = text[len(str(parsed.country_code)) + 1 :]
    return national.startswith("0") and (
        phonenumbers.national_significant_number(parsed) != national
        or not phonenumbers.is_valid_number(parsed)
    )


def _digits(parsed: phonenumbers.PhoneNumber) -> int:
    return len(phonenumbers.national_significant_number(parsed))


def _is_valid(text: str) -> bool:
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(text)))
    except phonenumbers.NumberParseException:
        return False


def is_push(text: str) -> bool:
    """Return whether a text is a recipient of Firebase Cloud Messaging.

    A recipient is a registration token, or `/topics/NAME`.
    """
    return re.fullmatch(r"/topics/[A-Za-z0-9_.~%-]{1,200}|[A-Za-z0-9_:.-]{8,4096}", text) is not None


def is_url(text: str) -> bool:
    """Return whether a URL is a webhook, or one of a service that is offered."""
    return url_fault(text) is None


def url_fault(text: str) -> str | None:
    """Return the fault of a URL by its form, with the remedy; None: usable.

    No host is looked up.
    """
    if not text.lower().startswith(("https://", "http://")):
        return apprise_fault(text)
    try:
        check_url(text, CLOSED_NETWORK)
    except ForbiddenDestination as error:
        return str(error)
    return None


WITH_HOST = ("https", "http", "ntfy", "ntfys", "rocket", "rockets")
"""Schemes whose URLs name a host; in others a token stands in its place."""
CHECKS: dict[str, tuple[str, Callable[[str], bool], str]] = {
    "email": ("ALERT_EMAIL_RECIPIENTS", is_email, "an e-mail address such as noc@example.com"),
    "sms": ("ALERT_SMS_RECIPIENTS", is_phone, "a phone number in E.164 form, such as +919876543210"),
    "push": ("ALERT_PUSH_RECIPIENTS", is_push, "an FCM registration token or /topics/NAME"),
    "url": ("ALERT_URL_RECIPIENTS", is_url, "a URL such as https://example.com/hook or ntfys://host/topic"),
}
"""By channel: the variable, the test, and an example of a right address."""
FAULTS: dict[str, Callable[[str], str | None]] = {"sms": phone_fault, "url": url_fault}
"""By channel: the function that returns the exact fault of an address."""


def masked_address(channel: str, address: str) -> str:
    """Return an address as lists, records and packs show it: push tokens and URLs are secrets."""
    if channel == "push":
        return masked_push(address)
    return masked_url(address) if channel == "url" else address


def masked_push(token: str) -> str:
    """Return the last 4 characters of a registration token; a topic is no secret."""
    return token if token.startswith("/topics/") else f"...{token[-4:]}"


def masked_url(url: str) -> str:
    """Return the scheme, and the host of a webhook; the rest of such a URL is a password."""
    scheme, _, rest = url.partition("://")
    host = _host(url) if scheme.lower() in WITH_HOST else ""
    return f"{scheme[:20]}://{host}{'/' if host and rest else ''}..."


def masked_contact(row: dict[str, Any]) -> dict[str, Any]:
    """Return a contact's row for display, without the secret parts of its addresses.

    Those parts would let others write to the contact.
    """
    push_token, url = row["push_token"], row["url"]
    return {
        **row,
        "push_token": masked_push(push_token) if push_token else push_token,
        "url": masked_url(url) if url else url,
        "url_problem": url_fault(url) if url else None,
    }


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def fallback(config: NotificationsSettings) -> tuple[dict[str, list[str]], list[str]]:
    """Return the usable ALERT_..._RECIPIENTS by channel, and one sentence for each unusable one.

    One bad number stops no other.
    """
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
                fault = f" ({FAULTS[channel](address)})" if channel in FAULTS else ""
                shown = address if channel in ("sms", "email") else masked_address(channel, address)
                problems.append(
                    f"{variable}: {shown!r} is not {example}{fault}; it gets no notifications until it is corrected"
                )

    return usable, problems


def check_contact(
    *,
    email: str | None,
    phone: str | None,
    push_token: str | None = None,
    url: str | None = None,
    only: Collection[str] = ("email", "phone", "push_token", "url"),
) -> None:
    """Check that a contact can be reached somehow.

    `only`: the fields to look at; the others are unchanged.

    Raises:
        Refused: A field is not valid, or all are empty; the message names the field and the remedy.
    """
    given = {"email": email, "sms": phone, "push": push_token, "url": url}
    if not any(given.values()):
        raise Refused("a contact needs an e-mail address, a phone number, a push token or a URL")
    names = {"email": "email", "sms": "phone", "push": "push_token", "url": "url"}
    for channel, address in given.items():
        _, is_right, example = CHECKS[channel]
        if address and names[channel] in only and not is_right(address):
            fault = f": {FAULTS[channel](address)}" if channel in FAULTS else ""
            raise Refused(f"{names[channel]} is {address!r}; it must be {example}{fault}")
