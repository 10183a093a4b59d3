"""Default retention times, and the time when a run is due. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.contracts.errors import Refused
from services.contracts.retention_classes import TENANT_CLASSES, days_by_class
from services.platform.config import Config

MAX_DAYS = 36_500
RESTED = timedelta(hours=20)
MISSED = timedelta(hours=30)


def usual_days(config: Config) -> dict[str, int]:
    """Return the days by class, in the order of a run."""
    return days_by_class(config.retention, dedup_window_days=config.database.dedup_window_days)


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
