"""Tests of zones as people enter them.

Each field has its rule, and the message says how to correct it.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.geofencing.validation import FIELDS, ZoneDraft, changed, check_known, draft_of

CIRCLE = {"type": "Point", "coordinates": [77.0, 12.0]}
SQUARE = {"type": "Polygon", "coordinates": [[[77, 12], [77.01, 12], [77.01, 12.01], [77, 12.01]]]}
NIGHT = {"weekly": [{"days": ["mon"], "from": "22:00", "to": "06:00"}]}


def zone(**fields: Any) -> dict[str, Any]:
    return {"name": "Dock", "area": CIRCLE, "radius_m": 50, **fields}


def test_a_zone_with_a_name_and_an_area_is_required_of_all_and_enabled() -> None:
    draft = draft_of(zone())
    assert (draft.kind, draft.enabled, draft.site_id, draft.group_id, draft.guard_id) == (
        "required",
        True,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": " "}, "name is ' '; it must be 1 to 200"),
        ({"name": None}, "name is missing"),
        ({"name": "a\x00b"}, "printable"),
        ({"name": 7}, "name is 7"),
        ({"area": None}, "area is missing"),
        ({"kind": "fence"}, "kind is 'fence'; it must be one of required, forbidden, speed"),
        ({"kind": "speed"}, "speed_limit_mps is missing"),
        ({"kind": ["speed"]}, "kind is a list"),
        ({"speed_limit_mps": 5}, "only for zones of kind speed"),
        ({"kind": "speed", "speed_limit_mps": 0}, "it must be 0.5 to 100 metres a second"),
        ({"kind": "speed", "speed_limit_mps": "fast"}, "speed_limit_mps is 'fast'; it must be a number"),
        ({"site_id": "1"}, "site_id is '1'"),
        ({"site_id": 2**31}, "site_id is 2147483648"),
        ({"group_id": True}, "group_id is True"),
        ({"guard_id": ""}, "guard_id is empty"),
        ({"guard_id": "a\nb"}, "guard_id is"),
        ({"schedule": NIGHT}, "schedule needs a site"),
        (
            {"schedule": {"weekly": []}, "site_id": 1},
            "schedule has no window: the zone would never be in force",
        ),
        ({"schedule": []}, "schedule is a list; it must be an object"),
        ({"schedule": {"often": 1}, "site_id": 1}, "schedule"),
        ({"confirmation": []}, "fields enter and exit"),
        ({"confirmation": {"leave": {}}}, "fields enter and exit"),
        ({"confirmation": {"enter": {"grace_s": 1}}}, "its fields are fixes, seconds, dwell_s"),
        ({"confirmation": {"exit": {"dwell_s": 1}}}, "its fields are fixes, seconds, grace_s"),
        ({"confirmation": {"exit": {"fixes": 0}}}, "confirmation.exit.fixes is 0; it must be a whole number"),
        ({"confirmation": {"exit": {"fixes": 1.5}}}, "whole number from 1 to 100"),
        ({"confirmation": {"exit": {"seconds": 0}}}, "more than 0"),
        (
            {"confirmation": {"exit": {"grace_s": 1e6}}},
            "confirmation.exit.grace_s is 1e\\+06; it must be 0 to 86400",
        ),
        ({"enabled": "yes"}, "enabled is 'yes'"),
        ({"colour": "red"}, "a zone has no 'colour'; its fields are name, kind"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_the_remedy(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        draft_of(zone(**fields))


def test_all_fields_at_once() -> None:
    confirmation = {"enter": {"fixes": 3, "dwell_s": 30}, "exit": {"seconds": 120.0, "grace_s": 0}}
    draft = draft_of(
        zone(
            kind="speed",
            speed_limit_mps=8,
            site_id=1,
            group_id=2,
            guard_id="guard-7",
            schedule=NIGHT,
            confirmation=confirmation,
        )
    )
    assert draft.confirmation == confirmation
    assert set(draft.columns()) == set(FIELDS)


def test_a_change_touches_what_it_names() -> None:
    old = draft_of(zone(site_id=1, schedule=NIGHT))
    assert not changed(old, {}).differs_from(old)
    assert not changed(old, {"radius_m": 50.0, "area": CIRCLE}).differs_from(old)
    assert changed(old, {"radius_m": 60}).radius_m == 60
    assert changed(old, {"area": SQUARE}).radius_m is None
    assert changed(old, {"schedule": None, "site_id": None}).schedule is None
    with pytest.raises(Refused, match="schedule needs a site"):
        changed(old, {"site_id": None})
    with pytest.raises(Refused, match="name"):
        changed(old, {"name": None})


def test_a_limit_goes_with_its_kind() -> None:
    old = draft_of(zone(kind="speed", speed_limit_mps=8))
    assert changed(old, {"kind": "forbidden"}).speed_limit_mps is None
    with pytest.raises(Refused, match="only for zones of kind speed"):
        changed(old, {"kind": "forbidden", "speed_limit_mps": 8})
    with pytest.raises(Refused, match="speed_limit_mps is missing"):
        changed(draft_of(zone()), {"kind": "speed"})


def test_a_polygon_gets_no_radius_by_a_change_alone() -> None:
    with pytest.raises(Refused, match="radius_m is only for circles"):
        changed(draft_of({"name": "a", "area": SQUARE}), {"radius_m": 5})


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["enter", "exit", "fixes", "seconds", "weekly", "days"]),
            inner,
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(FIELDS), junk), st.booleans())
def test_whatever_comes_is_a_draft_or_refused(fields: dict[str, Any], sound: bool) -> None:
    old = draft_of(zone())
    try:
        draft = draft_of({**zone(), **fields} if sound else fields)
        assert isinstance(draft, ZoneDraft)
        draft.columns()
    except Refused as error:
        assert str(error)
    try:
        changed(old, fields).columns()
    except Refused as error:
        assert str(error)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["name"], "must be an object"),
        ({"name": "a", "colour": "red"}, "a zone has no 'colour'; its fields are name"),
    ],
)
def test_what_has_fields_that_no_zone_has_is_refused(fields: object, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_known(fields)
