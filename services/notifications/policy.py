"""Who would be told of an alert, by which channels. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.messages import Alert

SMS_LENGTH = 160


class Notice(msgspec.Struct, frozen=True):
    """One message to one recipient by one channel."""

    channel: str
    recipient: str
    body: str


def notices(
    alert: Alert, *, channels: Mapping[str, Sequence[str]], recipients: Mapping[str, Sequence[str]]
) -> list[Notice]:
    """The notices that the policy calls for. `channels` by severity, `recipients` by channel."""
    return [
        Notice(channel, recipient, body_of(alert, channel))
        for channel in channels.get(alert.severity, ())
        for recipient in recipients.get(channel, ())
    ]


def body_of(alert: Alert, channel: str) -> str:
    """What is said: the drill word first, then severity, type, source and text; an SMS in 160 characters."""
    drill = "DRILL " if alert.drill else ""
    at = alert.recorded_at.strftime("%H:%M:%SZ")
    text = f"{drill}{alert.severity} {alert.alert_type} {alert.source_id} {at} {alert.message}"
    return text[:SMS_LENGTH] if channel == "sms" else text


def split_list(comma_list: str) -> list[str]:
    """`a, b` -> [a, b]."""
    return [part.strip() for part in comma_list.split(",") if part.strip()]
