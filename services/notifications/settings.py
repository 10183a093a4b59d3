"""Check of the settings of notifications: one sentence for each fault. Pure.

A fault stops nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import time

from services.contracts.errors import Misconfigured
from services.outgoing.contact_addresses import fallback, is_phone, phone_fault, split_list
from services.platform.config import Notifications

OWN_FIELDS = ("To", "From", "Body", "StatusCallback")
"""Form fields of an SMS that Vigil itself sets."""
TWILIO = ("twilio_account_sid", "twilio_auth_token", "twilio_phone_number")


def problems(config: Notifications) -> list[str]:
    """Return the faults of the settings. Each names the variable, the fault and the remedy."""
    return [
        *_firebase(config),
        *_twilio(config),
        *_public_url(config),
        *_digest(config),
        *fallback(config)[1],
    ]


def digest_time(config: Notifications) -> time:
    """Return the time of day of the digest. Raises `Misconfigured`."""
    try:
        return time.fromisoformat(config.digest_at)
    except ValueError as error:
        raise Misconfigured(
            f"config.yaml: notifications.digest_at is {config.digest_at!r}; write it as 07:00"
        ) from error


def extra_fields(config: Notifications) -> tuple[dict[str, str], list[str]]:
    """Return the further form fields of each SMS, and a sentence for each unusable field."""
    given = config.twilio_extra_fields
    if isinstance(given, str):
        pairs = [part.partition("=") for part in split_list(given)]
        given = {name.strip(): value.strip() for name, _, value in pairs}
    usable, problems_of_fields = {}, []
    for name, value in given.items():
        if name.isalnum() and name.isascii() and name not in OWN_FIELDS and value:
            usable[name] = value
            continue
        problems_of_fields.append(
            f"TWILIO_EXTRA_FIELDS: {name[:50]!r} cannot be set; write it as Name=value,Name=value with names of"
            f" Twilio's Messages resource other than {', '.join(OWN_FIELDS)}; SMS go out without it"
        )
    return usable, problems_of_fields


def _digest(config: Notifications) -> Iterator[str]:
    try:
        digest_time(config)
    except Misconfigured as error:
        yield str(error)


def _firebase(config: Notifications) -> Iterator[str]:
    if config.fcm_server_key:
        yield (
            "FCM_SERVER_KEY is set, but Google withdrew the API that took such keys in 2024: no push goes out by it;"
            " make a service account in the Firebase console, set FCM_CREDENTIALS_FILE to its JSON file, and remove"
            " FCM_SERVER_KEY"
        )


def _twilio(config: Notifications) -> Iterator[str]:
    missing = [name.upper() for name in TWILIO if not getattr(config, name)]
    if 0 < len(missing) < len(TWILIO):
        yield f"{' and '.join(missing)} missing: no SMS goes out until all three of Twilio's settings are there"
    number = config.twilio_phone_number
    if number and not is_phone(number):
        yield (
            f"TWILIO_PHONE_NUMBER: {number!r} is not in E.164 form ({phone_fault(number)}); write it as +15017122661;"
            " no SMS goes out"
        )
    yield from extra_fields(config)[1]


def _public_url(config: Notifications) -> Iterator[str]:
    url = config.public_url
    if url and not url.startswith(("https://", "http://")):
        yield f"VIGIL_PUBLIC_URL: {url!r} is not a URL; write it as https://noc.example.com"
