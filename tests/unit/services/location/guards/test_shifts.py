"""Tests of the fixes that belong to a shift."""

from datetime import UTC, datetime, timedelta

import pytest

from services.location.guards.shifts import on_shift

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
END = START + timedelta(hours=8)
LATER = (START + timedelta(days=1), END + timedelta(days=1))


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (-6, False),
        (-5, True),
        (0, True),
        (240, True),
        (484.9, True),
        (485, False),
        (1434, False),
        (1440, True),
    ],
)
def test_a_fix_belongs_to_a_shift_and_to_the_tolerance_round_it(minutes: float, expected: bool) -> None:
    at = START + timedelta(minutes=minutes)
    assert on_shift(at, [(START, END), LATER], tolerance_s=300) is expected


def test_without_a_shift_nothing_is_wanted_and_without_the_wish_everything() -> None:
    assert on_shift(START, [], tolerance_s=300) is False
    assert on_shift(START, None, tolerance_s=0) is True


def test_no_tolerance_means_none() -> None:
    assert on_shift(END, [(START, END)], tolerance_s=0) is False
    assert on_shift(START, [(START, END)], tolerance_s=0) is True
