"""Tests of how long data are kept, and of the next run."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.environment import PROJECT
from services.contracts.errors import Misconfigured, Refused
from services.contracts.retention_classes import TENANT_CLASSES
from services.platform import config
from services.retention.schedule import check_policy, due, usual_days

TEXT = (PROJECT / "config.yaml").read_text()
AT_TWO = datetime(2026, 3, 2, 2, 10, tzinfo=UTC)


def test_each_class_has_its_days_and_what_hangs_on_another_follows_it() -> None:
    days = usual_days(config.parse(TEXT, {}))
    follow = {"storms", "shifts", "transitions", "implausible", "checkpoints", "clears", "seen"}
    assert set(days) == {*TENANT_CLASSES, *follow}
    assert days["storms"] == days["alerts"] == 1095
    assert days["shifts"] == days["transitions"] == days["implausible"] == days["positions"]
    assert days["seen"] == days["checkpoints"] == days["clears"] == 30
    assert list(days).index("alerts") < list(days).index("storms")


@pytest.mark.parametrize(
    ("ago_h", "hour", "expected"),
    [(None, 2, True), (None, 3, False), (24, 2, True), (1, 2, False), (24, 3, False), (31, 14, True)],
)
def test_a_run_is_due_once_a_day_in_its_hour_and_when_a_day_was_missed(
    ago_h: float | None, hour: int, expected: bool
) -> None:
    now = AT_TWO.replace(hour=hour)
    last = None if ago_h is None else now - timedelta(hours=ago_h)
    assert due(now=now, last_finished=last, run_hour=2) is expected


def test_a_policy_that_nobody_can_have_is_refused() -> None:
    check_policy("positions", 1)
    for name, days in (("seen", 30), ("everything", 30), ("positions", 0), ("positions", 36_501)):
        with pytest.raises(Refused):
            check_policy(name, days)


def test_alerts_are_not_kept_for_less_than_a_month_by_a_slip_of_the_pen() -> None:
    with pytest.raises(Misconfigured, match="alerts_days"):
        config.parse(TEXT.replace("alerts_days: 1095", "alerts_days: 10"), {})
