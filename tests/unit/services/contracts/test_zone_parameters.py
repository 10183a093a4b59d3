"""Tests of the parameters that confirm a change: defaults, bounds, and what is made of a document."""

import pytest

from services.contracts import zone_parameters
from services.contracts.zone_parameters import (
    DIRECTIONS,
    PARAMETERS,
    Confirmation,
    Direction,
    confirmation_of,
    described,
    names_of,
    usual,
)
from tests.support.square_site import SETTINGS

BY_FIELD = {parameter.field: parameter for parameter in PARAMETERS}


def test_each_field_of_a_confirmation_is_declared_once_and_in_order() -> None:
    assert tuple(BY_FIELD) == Confirmation.__struct_fields__
    assert len(BY_FIELD) == len(PARAMETERS)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_two_parameters_of_a_direction_share_a_name(direction: Direction) -> None:
    assert len(set(names_of(direction))) == len(PARAMETERS)


def test_the_api_describes_both_directions() -> None:
    assert described() == (
        "`enter` {fixes, seconds, dwell_s} and `exit` {fixes, seconds, grace_s}, all optional"
    )


def test_a_zone_without_a_confirmation_has_that_of_the_installation() -> None:
    assert usual(SETTINGS) == Confirmation(2, 90.0, 0.0)


def test_a_document_changes_what_it_names_for_its_direction() -> None:
    default = Confirmation(2, 90.0)
    assert confirmation_of({"fixes": 4, "dwell_s": 30}, "enter", default) == Confirmation(4, 90.0, 30.0)
    assert confirmation_of({"grace_s": 30}, "exit", default) == Confirmation(2, 90.0, 30.0)
    assert confirmation_of({"grace_s": 30}, "enter", default) == default


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("fixes", 1, True),
        ("fixes", 100, True),
        ("fixes", 0, False),
        ("fixes", 101, False),
        ("fixes", 1.5, False),
        ("seconds", 0, False),
        ("seconds", 0.1, True),
        ("seconds", zone_parameters.LONGEST_S, True),
        ("hold_s", 0, True),
        ("hold_s", -1, False),
        ("hold_s", zone_parameters.LONGEST_S + 1, False),
    ],
)
def test_bounds(field: str, value: float, allowed: bool) -> None:
    assert BY_FIELD[field].allows(value) is allowed


def test_bounds_are_said_in_words() -> None:
    assert [parameter.bounds for parameter in PARAMETERS] == [
        "a whole number from 1 to 100",
        "more than 0 and at most 86400",
        "0 to 86400 seconds",
    ]
