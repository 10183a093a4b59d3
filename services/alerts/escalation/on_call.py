"""On-call schedules: a rota takes its members in turn, with a handover at a local time. Pure.

Times are local. A handover at 08:00 is at 08:00 also on the day the clocks change, so that a shift
there is an hour shorter or longer. `zoneinfo` knows the zones. A local time that a change skips is
taken as PEP 495 says (fold 0).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.contracts.errors import Refused

MAX_MEMBERS = 100
MAX_EXCEPTIONS = 500
MINUTES_OF_A_DAY = 1440
HOURS_AND_MINUTES = re.compile(r"[0-2][0-9]:[0-5][0-9]")


class OnCallOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exception to a rota: `member` is on call from `start` until before `end`.

    It holds whatever the turns of the rota say.
    """

    start: datetime
    end: datetime
    member: str


class OnCallRota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On-call schedule. `members` are names of contacts.

    They take turns of `turn_days`, from the handover on `first_day` on.
    """

    members: list[str]
    time_zone: str
    first_day: date
    handover: time = time(8)
    turn_days: int = 7
    exceptions: list[OnCallOverride] = []


def _with_seconds(document: Any) -> Any:
    """Return the document with seconds in its handover.

    Users write "20:00", and YAML 1.1 reads 20:00 without quotes as 1200, a number of base 60.
    """
    if not isinstance(document, dict):
        return document
    handover = document.get("handover")
    if isinstance(handover, int) and not isinstance(handover, bool) and 0 <= handover < MINUTES_OF_A_DAY:
        handover = f"{handover // 60:02}:{handover % 60:02}"
    if isinstance(handover, str) and HOURS_AND_MINUTES.fullmatch(handover):
        handover = f"{handover}:00"
    return {**document, "handover": handover} if "handover" in document else document


def parse(document: Any) -> OnCallRota:
    """Return a rota from plain data. Raises `Refused` naming the field and the remedy."""
    try:
        rota = msgspec.convert(_with_seconds(document), OnCallRota)
    except msgspec.ValidationError as error:
        raise Refused(f"rota: {error}") from error

    if not 1 <= len(rota.members) <= MAX_MEMBERS or not all(name.strip() for name in rota.members):
        raise Refused(f"members must be 1 to {MAX_MEMBERS} names of contacts")
    if not 1 <= rota.turn_days <= 366:
        raise Refused("turn_days must be from 1 to 366")
    if rota.handover.tzinfo is not None:
        raise Refused("handover is a local time without offset, such as 08:00; time_zone says where")
    if len(rota.exceptions) > MAX_EXCEPTIONS:
        raise Refused(f"exceptions: at most {MAX_EXCEPTIONS}; remove those that have ended")

    for exchange in rota.exceptions:
        if exchange.start.tzinfo is None or exchange.end.tzinfo is None:
            raise Refused("exceptions: start and end need an offset, such as 2026-01-31T18:00:00+05:30")
        if exchange.end <= exchange.start:
            raise Refused(f"exceptions: the end of {exchange.member}'s is not after its start")

    zone_of(rota.time_zone)
    return rota


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name. Raises `Refused`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Refused(f"time_zone {name!r} is not known; write it as Asia/Kolkata") from error


def on_call(rota: OnCallRota, at: datetime) -> str:
    """Return the member on call at an aware time.

    When exceptions overlap, the one that was written last counts.
    """
    for exchange in reversed(rota.exceptions):
        if exchange.start <= at < exchange.end:
            return exchange.member

    zone = zone_of(rota.time_zone)
    # The handover of the local day may be still to come. On a day when the clocks change, it may be
    # just past.
    day = at.astimezone(zone).date()
    if at < _handover(rota, day, zone):
        day -= timedelta(days=1)

    return rota.members[(day - rota.first_day).days // rota.turn_days % len(rota.members)]


def _handover(rota: OnCallRota, day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, rota.handover, zone).astimezone(UTC)
