"""Tests that input is bounded, and that an unknown field is named."""

import msgspec
import pytest

from services.contracts import api

COMING_IN = [shape for shape in vars(api).values() if isinstance(shape, type) and issubclass(shape, api.In)]


@pytest.mark.parametrize("shape", COMING_IN, ids=lambda shape: shape.__name__)
def test_an_unknown_field_is_refused_by_its_name(shape: type[msgspec.Struct]) -> None:
    with pytest.raises(msgspec.ValidationError, match="tenant_id"):
        msgspec.convert({"tenant_id": 2}, shape)


@pytest.mark.parametrize(
    ("shape", "given", "word"),
    [
        (api.NewSite, {"name": ""}, "name"),
        (api.NewSite, {"name": "s", "lat": 91}, "lat"),
        (api.Between, {"since": "2026-01-01T00:00:00", "until": "2026-01-02T00:00:00Z"}, "timezone"),
        (api.OfSite, {"site_id": 2**31}, "site_id"),
        (api.NewDevice, {"device_id": "d", "family": "guard"}, "family"),
    ],
)
def test_what_is_out_of_bounds_is_named(shape: type[msgspec.Struct], given: object, word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert(given, shape)
