"""Low battery of a guard's phone, by the configured rule for the batteries of devices. Pure.

Phones send their battery with a fix. A guard is no device, so the rules of telemetry do not see it.
The thresholds, the severity and the message of the rule hold here. Overrides of tenants and sites
do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.contracts.events import AlertType, Condition, Severity
from services.contracts.families import Fix


class BatteryRule(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that are read from a rule. Settings that have no meaning here are ignored."""

    name: str
    source: str
    alert: AlertType
    raise_below: float
    field: str
    clear_from: float | None = None
    severity: Severity | None = None
    enabled: bool = True
    message: str | None = None


def battery_rule(rules: Iterable[Mapping[str, Any]]) -> BatteryRule | None:
    """Return the first rule that raises when the battery of a device is low; None when there is none."""
    for tree in rules:
        if (tree.get("source"), tree.get("field")) == ("device", "battery") and "raise_below" in tree:
            rule = msgspec.convert(tree, BatteryRule, strict=False)
            return rule if rule.enabled else None
    return None


def is_low(rule: BatteryRule, battery: float, *, before: bool) -> bool:
    """Return True when the battery is low now. Between the two thresholds it stays what it was."""
    clear_from = rule.raise_below if rule.clear_from is None else rule.clear_from
    return battery < rule.raise_below or (before and battery < clear_from)


def conclude(
    rule: BatteryRule, fixes: Sequence[Fix], *, low: bool, tenant_id: int, site_id: int | None
) -> tuple[bool, Condition | None]:
    """Conclude from a guard's fixes, in their order. Each fix has a battery.

    Returns:
        True when the battery is low now, and the condition that begins or ends. The condition is
        None when nothing has changed.
    """
    after, last = low, None
    for fix in fixes:
        assert fix.battery is not None, "the caller looks"
        now = is_low(rule, fix.battery, before=after)
        if now != after:
            after, last = now, fix
    if last is None or after == low:
        return after, None
    return after, _condition(rule, last, low=after, tenant_id=tenant_id, site_id=site_id)


def _condition(rule: BatteryRule, fix: Fix, *, low: bool, tenant_id: int, site_id: int | None) -> Condition:
    origin = fix.origin
    dedup_key = f"{rule.alert}:{origin.source_id}:{rule.name}"
    shown = f"{fix.battery:g}"
    message = f"Battery at {shown} %" if low else f"Battery back at {shown} %"

    if low and rule.message is not None:
        message = rule.message.replace("{value}", shown)

    return Condition(
        tenant_id=tenant_id,
        source_id=origin.source_id,
        alert_type=rule.alert,
        dedup_key=dedup_key,
        at=origin.recorded_at,
        key=hashlib.blake2b(origin.key + dedup_key.encode(), digest_size=16).digest(),
        message=message,
        severity=rule.severity,
        lat=fix.lat,
        lon=fix.lon,
        detail={"battery": fix.battery},
        site_id=site_id,
    )
