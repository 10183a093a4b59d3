"""Times that devices report, checked for plausibility. Pure: the time of receipt comes in."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEAD_TOLERANCE_S = 10.0
"""A device clock that is off by less counts as right.

The difference includes the transport time.
"""
_SECONDS = re.compile(r"[0-9]{10}(?:[.,][0-9]{1,9})?")
_MILLISECONDS = re.compile(r"[0-9]{13}(?:[.,][0-9]{1,9})?")

Moment = datetime | int | float


class DeviceTime(NamedTuple):
    """Time at which a message is recorded.

    `proves`: the time may be part of the message's identity.
    """

    recorded_at: datetime
    suspect: bool
    proves: bool


def moment_of(value: object) -> datetime | None:
    """Return the time that a value gives; None for null and for empty text.

    The value is RFC 3339 text, or seconds (10 digits) or milliseconds (13 digits) of the epoch. The
    digits may be a number or text.

    Raises:
        ValueError: The value gives no time.
    """
    if value is None or isinstance(value, datetime):
        return value

    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if _SECONDS.fullmatch(text) or _MILLISECONDS.fullmatch(text):
            return _of_number(float(text.replace(",", ".")))
        try:
            return msgspec.convert(text, datetime)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _of_number(value if is_number else math.nan)  # type: ignore[arg-type]


def judge(
    timestamp: datetime | None,
    sent_at: datetime | None,
    quality: list[str],
    *,
    received_at: datetime,
    max_ahead_s: float,
    max_age_s: float,
    held_back: bool = False,
) -> DeviceTime:
    """Return the device's time when it is plausible, else the time of receipt.

    The function adds the name of each fault to `quality`. `sent_at` shows the lead of the device's
    clock, which is subtracted from the timestamp. A clock that seems slow is not corrected while
    messages may have been `held_back` on their way, because the delay looks the same.

    A timestamp that is plausible only after its correction proves no identity. A clock that stands
    still writes the same bytes for two presses of a button.
    """
    if timestamp is None:
        return DeviceTime(received_at, True, False)
    if timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=UTC)
        quality.append("timestamp_offset")

    try:
        ahead_s = (timestamp - received_at).total_seconds()
        plausible = -max_age_s <= ahead_s <= max_ahead_s
        lead_s = 0.0 if sent_at is None else _lead_s(sent_at, received_at)
        if abs(lead_s) > LEAD_TOLERANCE_S and not (held_back and lead_s < 0):
            corrected = timestamp - timedelta(seconds=lead_s)
            if -max_age_s <= (corrected - received_at).total_seconds() <= max_ahead_s:
                quality.append("clock_corrected")
                return DeviceTime(corrected.astimezone(UTC), False, plausible)
    except OverflowError:
        plausible = False

    if plausible:
        return DeviceTime(timestamp.astimezone(UTC), False, True)

    quality.append("timestamp")
    return DeviceTime(received_at, True, False)


def _lead_s(sent_at: datetime, received_at: datetime) -> float:
    aware = sent_at.replace(tzinfo=UTC) if sent_at.tzinfo is None else sent_at
    return (aware - received_at).total_seconds()


def _of_number(value: float) -> datetime:
    if 1e9 <= value < 1e10:
        return EPOCH + timedelta(seconds=value)
    if 1e12 <= value < 1e13:
        return EPOCH + timedelta(milliseconds=value)
    raise ValueError("a time in numbers has 10 digits (seconds) or 13 (milliseconds)")
