"""Tests of zones and tracks in the table: who may change them, who may read them."""

from gateway.noc.api.operation import PLACE
from gateway.noc.api.operations.zones import TRACKS, ZONES
from services.contracts.api import Id


def test_zones_are_changed_by_supervisors_and_signed() -> None:
    changing = [o for o in ZONES if o.method != "GET"]
    assert {o.role for o in changing} == {"supervisor"}
    assert {o.id for o in changing if not o.signed} == {"check_zone", "try_zones"}


def test_everybody_may_look() -> None:
    assert {o.role for o in ZONES if o.method == "GET"} | {o.role for o in TRACKS} == {"viewer"}


def test_a_zone_in_a_path_is_its_number() -> None:
    """A name may contain a slash."""
    places = [o for o in ZONES if PLACE.search(o.path)]
    assert places
    assert all(o.types == {"zone_id": Id} for o in places)
