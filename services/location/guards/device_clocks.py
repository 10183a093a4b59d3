"""Times that guards' clocks should have shown, and what fixes teach about the clocks. Pure.

The offset is measured in `services.ingestion.clock_offset`. A guard whose clock is right costs one
comparison for each fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from services.contracts.families import Fix, Origin
from services.ingestion.clock_offset import RIGHT, RIGHT_WITHIN_S, SourceClock, take

CORRECTED = "clock_corrected"
"""Quality mark of a fix with a corrected time: the device's time, less the offset of its clock."""
_RIGHT_WITHIN = timedelta(seconds=RIGHT_WITHIN_S)
Heard = tuple[datetime, datetime]
"""Times of a fix: when it was recorded, after correction, and when it was received."""


class CorrectedFixes(NamedTuple):
    """A guard's fixes in the given order, and what is known of the guard's clock after them."""

    fixes: list[Fix]
    clock: SourceClock


def needs_no_correction(origin: Origin, clock: SourceClock) -> bool:
    """Return True when no correction can change the time of the fix, and the fix teaches nothing."""
    return clock is RIGHT and (origin.clock_suspect or is_near(origin))


def is_near(origin: Origin) -> bool:
    """Return True when a fix was recorded at the time of its receipt, by its device's clock.

    Such a fix is never corrected.
    """
    return -_RIGHT_WITHIN <= origin.recorded_at - origin.received_at <= _RIGHT_WITHIN


def correct(fixes: Sequence[Fix], clock: SourceClock, heard: Heard | None) -> CorrectedFixes:
    """Correct one guard's new fixes.

    Args:
        fixes: Fixes of one guard that were never stored before.
        clock: What was known of the guard's clock before.
        heard: The times of the guard's newest fix before these, if there is one.
    """
    if all(needs_no_correction(fix.origin, clock) for fix in fixes):
        return CorrectedFixes(list(fixes), clock)

    found = list(fixes)
    received = sorted(range(len(fixes)), key=lambda n: _receipt(fixes[n].origin))
    for n in received:
        origin = fixes[n].origin
        at = origin.recorded_at
        if not origin.clock_suspect:
            timed = take(clock, at, origin.received_at, before=heard, buffered=origin.buffered)
            at, clock = timed.at, timed.clock
            if timed.corrected:
                found[n] = with_time(fixes[n], at)
        if heard is None or at >= heard[0]:
            heard = (at, origin.received_at)

    return CorrectedFixes(found, clock)


def is_late_by_us(recorded_at: datetime, received_at: datetime, heard: Heard | None) -> bool:
    """Return True for a fix that a newer one overtook within Vigil.

    The gateway received the newer fix after this one.
    """
    return heard is not None and recorded_at < heard[0] and received_at < heard[1]


def known_time(origin: Origin, clock: SourceClock) -> datetime:
    """Return the time of a fix by what is known of the clock already. The fix teaches nothing."""
    if origin.clock_suspect or is_near(origin) or clock.offset_s is None:
        return origin.recorded_at
    return min(origin.recorded_at - timedelta(seconds=clock.offset_s), origin.received_at)


def with_time(fix: Fix, at: datetime) -> Fix:
    """Return the fix as recorded at a corrected time."""
    origin = fix.origin
    quality = origin.quality if CORRECTED in origin.quality else (*origin.quality, CORRECTED)
    return msgspec.structs.replace(
        fix, origin=msgspec.structs.replace(origin, recorded_at=at, quality=quality)
    )


def _receipt(origin: Origin) -> tuple[datetime, datetime]:
    return origin.received_at, origin.recorded_at
