"""Tests that queries about places are bounded.

They also check that zones have the fields that the directory takes.
"""

import msgspec
import pytest

from gateway.noc.api import place_shapes, shapes
from services.directory.drafts import FIELDS
from services.location import hindsight, trial

COMING_IN = [
    shape
    for shape in vars(place_shapes).values()
    if isinstance(shape, type) and issubclass(shape, shapes.In) and shape is not shapes.In
]


@pytest.mark.parametrize("shape", COMING_IN, ids=lambda shape: shape.__name__)
def test_an_unknown_field_is_refused_by_its_name(shape: type[msgspec.Struct]) -> None:
    with pytest.raises(msgspec.ValidationError, match="tenant_id"):
        msgspec.convert({"tenant_id": 2}, shape)


@pytest.mark.parametrize("shape", [place_shapes.ZoneFields, place_shapes.NewZone])
def test_a_zone_is_described_with_the_fields_that_the_directory_knows(shape: type[msgspec.Struct]) -> None:
    assert set(shape.__struct_fields__) == set(FIELDS)


@pytest.mark.parametrize(
    ("said", "made"),
    [
        (place_shapes.ZoneTrial, hindsight.ZoneTrial),
        (place_shapes.TriedZone, hindsight.TriedZone),
        (place_shapes.GuardDifference, trial.GuardDifference),
        (place_shapes.TriedMoment, trial.Moment),
        (place_shapes.TriedShift, trial.Shifted),
        (place_shapes.Violations, trial.Violations),
    ],
)
def test_a_trial_is_described_as_location_makes_it(
    said: type[msgspec.Struct], made: type[msgspec.Struct]
) -> None:
    assert set(said.__struct_fields__) == set(made.__struct_fields__)


@pytest.mark.parametrize(
    ("shape", "given", "word"),
    [
        (place_shapes.NewZone, {"name": "z"}, "area"),
        (place_shapes.NewZone, {"name": "z", "area": {}, "kind": "odd"}, "kind"),
        (place_shapes.NearestQuery, {"lat": 91, "lon": 0}, "lat"),
        (place_shapes.NearestQuery, {"lat": 1, "lon": 0, "limit": 101}, "limit"),
        (
            place_shapes.TrackQuery,
            {"since": "2026-01-01T00:00:00", "until": "2026-01-01T00:00:00Z"},
            "timezone",
        ),
        (place_shapes.ZoneTimeQuery, {"day": "2026-13-01"}, "day"),
    ],
)
def test_what_is_out_of_bounds_is_named(shape: type[msgspec.Struct], given: object, word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert(given, shape)
