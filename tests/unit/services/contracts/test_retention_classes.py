"""Tests of the days of each retention class.

`tests/integration/test_retention.py` compares the classes with the SQL function.
"""

from services.contracts.retention_classes import RetentionDays, days_by_class

DAYS = RetentionDays(
    telemetry_days=1,
    positions_days=2,
    readings_days=3,
    health_days=4,
    rejected_days=5,
    alerts_days=60,
    presence_days=7,
    sessions_days=8,
    profile_changes_days=90,
)


def test_a_class_that_follows_another_has_its_days() -> None:
    days = days_by_class(DAYS, dedup_window_days=30)
    assert (days["storms"], days["transitions"], days["seen"]) == (60, 2, 30)
    assert list(days).index("alerts") < list(days).index("storms")
