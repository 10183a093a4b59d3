"""Check of the settings of notifications: one sentence for each fault. Pure.

A fault stops nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time

from services.contracts.errors import Misconfigured
from services.notifications.channels.provider import (
    Provider,
    ProviderSetting,
    Values,
    required_of,
    text_of,
    variables,
)
from services.notifications.channels.sms_providers import SMS_PROVIDERS, settings_of
from services.outgoing.contact_addresses import fallback, is_phone, phone_fault
from services.platform.config import NotificationsSettings

SENDER_ID = re.compile(r"[A-Za-z0-9]{1,11}")
"""Sender of an SMS that is no number: GSM 03.40 has room for 11 characters."""


def problems(config: NotificationsSettings) -> list[str]:
    """Return the faults of the settings. Each names the variable, the fault and the remedy."""
    return [
        *_firebase(config),
        *_sms(config.providers),
        *_public_url(config),
        *_digest(config),
        *fallback(config)[1],
    ]


def digest_time(config: NotificationsSettings) -> time:
    """Return the time of day of the digest. Raises `Misconfigured`."""
    try:
        return time.fromisoformat(config.digest_at)
    except ValueError as error:
        raise Misconfigured(
            f"config.yaml: notifications.digest_at is {config.digest_at!r}; write it as 07:00"
        ) from error


def is_usable(provider: type[Provider], values: Values) -> bool:
    """Return whether every setting that an SMS provider needs is there, and all are of their kind."""
    is_complete = all(text_of(values, setting) for setting in required_of(provider))
    return is_complete and not any(_fault(setting, values) for setting in provider.settings)


def _digest(config: NotificationsSettings) -> Iterator[str]:
    try:
        digest_time(config)
    except Misconfigured as error:
        yield str(error)


def _firebase(config: NotificationsSettings) -> Iterator[str]:
    if config.fcm_server_key:
        yield (
            "FCM_SERVER_KEY is set, but Google withdrew the API that took such keys in 2024: no push goes out by it;"
            " make a service account in the Firebase console, set FCM_CREDENTIALS_FILE to its JSON file, and remove"
            " FCM_SERVER_KEY"
        )


def _sms(values: Values) -> Iterator[str]:
    known = {setting.name for setting in settings_of()}
    for name in sorted(values.keys() - known):
        yield f"config.yaml: notifications.{name} is not a setting of this version; remove it, or correct its name"
    for provider in SMS_PROVIDERS:
        yield from _provider(provider, values)


def _provider(provider: type[Provider], values: Values) -> Iterator[str]:
    needed = required_of(provider)
    missing = [setting for setting in needed if not text_of(values, setting)]
    if 0 < len(missing) < len(needed):
        yield (
            f"{variables(missing)} missing: no SMS goes out by {provider.title} until {variables(needed)} are all set"
        )

    for setting in provider.settings:
        if fault := _fault(setting, values):
            yield f"{setting.variable}: {fault}; no SMS goes out by {provider.title}"

    yield from provider.problems(values)


def _fault(setting: ProviderSetting, values: Values) -> str:
    """Return the fault of a setting that is not of its kind; empty: none."""
    value = values.get(setting.name, "")
    if not isinstance(value, str):
        return "" if setting.kind == "fields" else "it must be a text"
    is_sender_id = setting.kind == "sender" and SENDER_ID.fullmatch(value) and not value.isdigit()
    if not value or setting.kind not in ("phone", "sender") or is_sender_id or is_phone(value):
        return ""
    further = ", or as up to 11 letters and digits" if setting.kind == "sender" else ""
    return f"{value!r} is not in E.164 form ({phone_fault(value)}); write it as +15017122661{further}"


def _public_url(config: NotificationsSettings) -> Iterator[str]:
    url = config.public_url
    if url and not url.startswith(("https://", "http://")):
        yield f"VIGIL_PUBLIC_URL: {url!r} is not a URL; write it as https://noc.example.com"
