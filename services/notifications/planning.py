"""Notices of a request, one for each recipient and channel, with channels for failover. Pure."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import msgspec

from services.contracts.events import NEVER_HELD_BACK, NotificationRequest, Target

REACHING = ("sms", "email", "push", "url")
"""Channels in the order in which they are tried when the wanted ones cannot reach a recipient."""

ENDED_BY = {
    "acknowledged": ("ACKNOWLEDGED", "IN_PROGRESS", "RESOLVED", "FALSE_ALARM"),
    "in_progress": ("IN_PROGRESS", "RESOLVED", "FALSE_ALARM"),
    "closed": ("RESOLVED", "FALSE_ALARM"),
}
"""Statuses of an alert in which no notification is needed any more, by a request's `until`."""


class Notice(msgspec.Struct, frozen=True):
    """One message to one recipient by one channel.

    `failover` holds the recipient's further channels and addresses, in order.
    """

    channel: str
    recipient: str
    name: str
    language: str
    failover: tuple[tuple[str, str], ...] = ()


def notices(request: NotificationRequest) -> list[Notice]:
    """Return the notices of a request, each (channel, recipient) once.

    A recipient without any of the wanted channels gets a notice by another channel. An alert of a
    type in `NEVER_HELD_BACK` is in no digest: it goes out by every channel that reaches a
    recipient.
    """
    channels = request.channels
    if request.alert.alert_type in NEVER_HELD_BACK and "digest" in channels:
        channels = [channel for channel in channels if channel != "digest"] or list(REACHING)

    found: dict[tuple[str, str], Notice] = {}
    for target in request.targets:
        ways = _ways(target, channels)
        used = {channel for channel, _ in ways}
        rest = tuple(
            (channel, target.addresses[channel])
            for channel in REACHING
            if channel in target.addresses and channel not in used and used != {"digest"}
        )

        for channel, recipient in ways:
            notice = Notice(channel, recipient, target.name, target.language, rest)
            found.setdefault((channel, recipient), notice)

    return list(found.values())


def _ways(target: Target, channels: list[str]) -> list[tuple[str, str]]:
    addresses = target.addresses
    if "digest" in channels and "email" in addresses:
        addresses = {**addresses, "digest": addresses["email"]}
    ways = [(channel, addresses[channel]) for channel in channels if channel in addresses]
    if ways or channels == ["digest"]:
        return ways
    return [(channel, addresses[channel]) for channel in REACHING if channel in addresses][:1]


def next_digest(now: datetime, digest_at: time) -> datetime:
    """Return the next time (UTC) at which a digest goes out."""
    today = now.replace(hour=digest_at.hour, minute=digest_at.minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)
