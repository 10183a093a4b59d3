"""Check that a fix was made during a shift, for tenants that want no other positions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

Shift = tuple[datetime, datetime]
"""Start and end of a shift. The end is not part of it."""
TOLERANCE_S = 300.0


def on_shift(recorded_at: datetime, shifts: Sequence[Shift] | None, *, tolerance_s: float) -> bool:
    """Return True when a shift with its tolerance covers the device time.

    Return True too when the tenant did not ask for it (`shifts` is None).
    """
    if shifts is None:
        return True
    tolerance = timedelta(seconds=tolerance_s)
    latest, earliest = recorded_at + tolerance, recorded_at - tolerance
    return any(start <= latest and earliest < end for start, end in shifts)
