"""Tests of times of shifts as operators write them."""

from datetime import UTC, datetime

import pytest

from ops.commands.registry.shift import time_of, values_of
from services.contracts.errors import Refused


@pytest.mark.parametrize(
    "written", ["2026-03-01T22:00+05:30", " 2026-03-01T16:30:00Z ", "2026-03-01 16:30+00:00"]
)
def test_a_time_is_a_moment(written: str) -> None:
    assert time_of(written) == datetime(2026, 3, 1, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "why"), [("2026-03-01T22:00", "time zone"), ("tomorrow", "not a time"), ("", "not a time")]
)
def test_a_time_without_its_zone_or_that_is_none_is_refused(written: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        time_of(written)


def test_a_guard_is_named_as_everywhere() -> None:
    assert values_of("7", "2026-03-01T22:00Z", "2026-03-02T06:00Z")["guard_id"] == "guard-7"
