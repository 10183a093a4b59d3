"""Retention classes: the rows that are kept, by whose policy and for how many days. Pure.

To add a class for which a tenant may have a policy of its own:

1. Add its line to `RetentionDays` here, with the days of an installation whose config.yaml does not
   name it. The lower bound is the floor of the SQL function.
2. Write a migration that gives `vigil_retention_classes` the class: table, time and condition.

config.yaml may name the days. The configuration, the day's run, `vigil retention` and the
watchdog's tenant read this file. A test compares it with the function.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta


class RetentionDays(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Days that rows are kept, by class: one field for each class with a policy."""

    telemetry_days: Annotated[int, Meta(ge=1)]
    positions_days: Annotated[int, Meta(ge=1)]
    readings_days: Annotated[int, Meta(ge=1)]
    health_days: Annotated[int, Meta(ge=1)]
    rejected_days: Annotated[int, Meta(ge=1)]
    alerts_days: Annotated[int, Meta(ge=30)]
    presence_days: Annotated[int, Meta(ge=1)]
    sessions_days: Annotated[int, Meta(ge=1)]
    profile_changes_days: Annotated[int, Meta(ge=30)] = 1095


TENANT_CLASSES = tuple(name.removesuffix("_days") for name in RetentionDays.__struct_fields__)
"""Classes for which a tenant may have a policy of its own."""
FOLLOWING: Mapping[str, str] = MappingProxyType(
    {"storms": "alerts", "shifts": "positions", "transitions": "positions", "implausible": "positions"}
)
"""Classes that are kept as long as another class, whose policy they follow."""
OF_IDENTITIES = ("checkpoints", "clears", "seen")
"""Classes that are kept as long as identities of messages (`database.dedup_window_days`)."""


def days_by_class(own: RetentionDays, *, dedup_window_days: int) -> dict[str, int]:
    """Return the days of each class. The order is that of a run: alerts before their storms."""
    days = {name: int(getattr(own, f"{name}_days")) for name in TENANT_CLASSES}
    days |= {name: days[policy] for name, policy in FOLLOWING.items()}
    return days | dict.fromkeys(OF_IDENTITIES, dedup_window_days)
