"""Tests that queries about places are bounded.

They also check that zones have the fields that the directory takes.
"""

import msgspec
import pytest

from services.contracts import api, api_zones
from services.geofencing.rule import what_if
from services.geofencing.validation import FIELDS
from services.location import what_if as what_if_on_record

COMING_IN = [
    shape
    for shape in vars(api_zones).values()
    if isinstance(shape, type) and issubclass(shape, api.In) and shape is not api.In
]


@pytest.mark.parametrize("shape", COMING_IN, ids=lambda shape: shape.__name__)
def test_an_unknown_field_is_refused_by_its_name(shape: type[msgspec.Struct]) -> None:
    with pytest.raises(msgspec.ValidationError, match="tenant_id"):
        msgspec.convert({"tenant_id": 2}, shape)


@pytest.mark.parametrize("shape", [api_zones.ZoneFields, api_zones.NewZone])
def test_a_zone_is_described_with_the_fields_that_the_directory_knows(shape: type[msgspec.Struct]) -> None:
    assert set(shape.__struct_fields__) == set(FIELDS)


@pytest.mark.parametrize(
    ("said", "made"),
    [
        (api_zones.ZoneTrial, what_if_on_record.WhatIfResult),
        (api_zones.TriedZone, what_if_on_record.EditedZone),
        (api_zones.GuardDifference, what_if.GuardChanges),
        (api_zones.TriedMoment, what_if.OneSidedTransition),
        (api_zones.TriedShift, what_if.ShiftedTransition),
        (api_zones.Violations, what_if.ViolationTotals),
    ],
)
def test_a_trial_is_described_as_location_makes_it(
    said: type[msgspec.Struct], made: type[msgspec.Struct]
) -> None:
    assert set(said.__struct_fields__) == set(made.__struct_fields__)


@pytest.mark.parametrize(
    ("shape", "given", "word"),
    [
        (api_zones.NewZone, {"name": "z"}, "area"),
        (api_zones.NewZone, {"name": "z", "area": {}, "kind": "odd"}, "kind"),
        (api_zones.NearestQuery, {"lat": 91, "lon": 0}, "lat"),
        (api_zones.NearestQuery, {"lat": 1, "lon": 0, "limit": 101}, "limit"),
        (
            api_zones.TrackQuery,
            {"since": "2026-01-01T00:00:00", "until": "2026-01-01T00:00:00Z"},
            "timezone",
        ),
        (api_zones.ZoneTimeQuery, {"day": "2026-13-01"}, "day"),
    ],
)
def test_what_is_out_of_bounds_is_named(shape: type[msgspec.Struct], given: object, word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert(given, shape)
