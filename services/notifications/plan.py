"""What a request to tell people comes to: one notice for each person and channel, and what to go on with. Pure."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import msgspec

from services.messages import NEVER_HELD_BACK, NotificationRequest, Target

REACHING = ("sms", "email", "push", "url")
"""Channels in the order in which a person is tried whom the wanted ones cannot reach."""

ENDED_BY = {
    "acknowledged": ("ACKNOWLEDGED", "IN_PROGRESS", "RESOLVED", "FALSE_ALARM"),
    "in_progress": ("IN_PROGRESS", "RESOLVED", "FALSE_ALARM"),
    "closed": ("RESOLVED", "FALSE_ALARM"),
}
"""The statuses of an alert in which nobody needs to be told any more, by a request's `until`."""


class Notice(msgspec.Struct, frozen=True):
    """One message to one person by one channel; `failover` holds their further channels and addresses, in order."""

    channel: str
    recipient: str
    name: str
    language: str
    failover: tuple[tuple[str, str], ...] = ()


def notices(request: NotificationRequest) -> list[Notice]:
    """The notices of a request, each (channel, recipient) once. Who has none of those channels is told by another.

    An alert that nothing holds back is in no digest: it goes out by every channel that reaches a person.
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
    """The next time (UTC) that a digest goes out."""
    today = now.replace(hour=digest_at.hour, minute=digest_at.minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)
