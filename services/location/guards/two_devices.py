"""Two devices that report for one guard: positions jump to and fro between places far apart. Pure.

The judge believes one device, until the other agrees with itself while the first is quiet. The
guard may carry the other device, so a person must be notified. A broken receiver looks the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from services.contracts.events import AlertType, Condition
from services.geofencing.rule.track import EvaluatedFix

JUMPS_TO_TELL = 6.0
A_PLAUSIBLE_FIX = 0.25
"""Part of a jump that is forgotten with each believed fix.

One jump in five fixes never adds up.
"""
MOST = 10.0
"""Most jumps that are counted: forty believed fixes in a row end the condition."""


class RememberedJumps(NamedTuple):
    """Jumps that are not forgotten, and a flag: they were reported to the alerts service."""

    jumps: float = 0.0
    told: bool = False


QUIET = RememberedJumps()


def conclude(
    steps: Sequence[EvaluatedFix],
    before: RememberedJumps,
    *,
    guard_id: str,
    tenant_id: int,
    site_id: int | None,
) -> tuple[RememberedJumps, Condition | None]:
    """Conclude from fixes of one guard that came in their order, and in time.

    Returns:
        The jumps that are known now, and the condition that they begin or end. The condition is
        None when nothing has changed.
    """
    count, told = before
    began: EvaluatedFix | None = None
    ended: EvaluatedFix | None = None
    for step in steps:
        if step.implausible == "teleport":
            count = min(count + 1.0, MOST)
        elif step.implausible is None and count:
            count = max(count - A_PLAUSIBLE_FIX, 0.0)
        if not told and count >= JUMPS_TO_TELL and step.implausible == "teleport":
            told, began = True, step
        elif told and count == 0.0:
            told, ended = False, step

    after = RememberedJumps(count, told)
    if told == before.told:
        return after, None

    changed_by = began if told else ended
    assert changed_by is not None, "a step changed it"
    return after, _condition(changed_by, met=told, guard_id=guard_id, tenant_id=tenant_id, site_id=site_id)


def _condition(
    step: EvaluatedFix, *, met: bool, guard_id: str, tenant_id: int, site_id: int | None
) -> Condition:
    fix = step.fix
    dedup_key = f"{AlertType.EQUIPMENT_FAILURE}:{guard_id}:two_devices"
    message = f"{guard_id} is reported from one place again"

    detail: dict[str, float] = {}
    if met:
        distance_m = step.detail["distance_m"]
        detail = {
            "distance_m": distance_m,
            "believed_lat": step.detail["from_lat"],
            "believed_lon": step.detail["from_lon"],
        }

        message = (
            f"{guard_id} is reported from two places in turn, {distance_m / 1000:.1f} km apart: two devices report for"
            " this guard, or the receiver is broken. Only one place is shown: find out which device the guard carries."
        )

    return Condition(
        tenant_id=tenant_id,
        source_id=guard_id,
        alert_type=AlertType.EQUIPMENT_FAILURE,
        dedup_key=dedup_key,
        at=fix.recorded_at,
        key=hashlib.blake2b(fix.key + dedup_key.encode(), digest_size=16).digest(),
        message=message,
        lat=fix.lat,
        lon=fix.lon,
        detail=detail,
        site_id=site_id,
    )
