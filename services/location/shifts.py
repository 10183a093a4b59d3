"""Whether a fix was made during a shift, for tenants that want no other positions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

Shift = tuple[datetime, datetime]
"""When it starts and ends; the end is not part of it."""
TOLERANCE_S = 300.0


def on_shift(recorded_at: datetime, shifts: Sequence[Shift] | None, *, tolerance_s: float) -> bool:
    """True when the tenant did not ask (`shifts` is None), or a shift with its tolerance covers device time."""
    if shifts is None:
        return True
    tolerance = timedelta(seconds=tolerance_s)
    latest, earliest = recorded_at + tolerance, recorded_at - tolerance
    return any(start <= latest and earliest < end for start, end in shifts)
