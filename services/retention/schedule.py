"""Default retention times, and the time when a run is due. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from services.contracts.errors import Refused
from services.platform.config import Config

TENANT_CLASSES = (
    "telemetry",
    "positions",
    "readings",
    "health",
    "rejected",
    "alerts",
    "presence",
    "sessions",
    "profile_changes",
)
"""Classes for which a tenant may have a policy of its own."""
MAX_DAYS = 36_500
RESTED = timedelta(hours=20)
MISSED = timedelta(hours=30)


def usual_days(config: Config) -> dict[str, int]:
    """Return days by class, as `vigil_retention_classes` (migration 0018) names the classes.

    The order is that of a run: alerts before the storms that they were part of.
    """
    own: Mapping[str, int] = {name: getattr(config.retention, f"{name}_days") for name in TENANT_CLASSES}
    return {
        **own,
        "storms": own["alerts"],
        "shifts": own["positions"],
        "transitions": own["positions"],
        "implausible": own["positions"],
        "checkpoints": config.database.dedup_window_days,
        "clears": config.database.dedup_window_days,
        "seen": config.database.dedup_window_days,
    }


def due(*, now: datetime, last_finished: datetime | None, run_hour: int) -> bool:
    """Return whether a run is due.

    A run is due once a day, in its hour. It is due at any hour when a day was missed. A run that
    was broken off did not finish.
    """
    if last_finished is None:
        return now.hour == run_hour
    rested = now - last_finished
    return rested > MISSED or (rested > RESTED and now.hour == run_hour)


def check_policy(of_class: str, days: int) -> None:
    """Check a tenant's policy for a class. Raises `Refused` when no tenant can have it."""
    if of_class not in TENANT_CLASSES:
        raise Refused(f"there is no class {of_class!r}; choose from {', '.join(TENANT_CLASSES)}")
    if not 1 <= days <= MAX_DAYS:
        raise Refused(f"days must be a number from 1 to {MAX_DAYS}")
