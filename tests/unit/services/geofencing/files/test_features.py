from typing import Any

import pytest

from services.contracts.errors import Refused
from services.geofencing.files.features import Feature, check_count, check_size, feature_of, without_twins

AREA = {"type": "Point", "coordinates": [0, 0]}


def test_texts_are_understood_as_what_they_mean() -> None:
    properties = {
        "name": " Dock ",
        "kind": "speed",
        "speed_limit_mps": "8.5",
        "radius_m": "50",
        "enabled": "FALSE",
        "schedule": '{"weekly": []}',
        "confirmation": "",
        "group": " ",
        "fid": 3,
    }
    feature = feature_of(1, properties, AREA)
    assert feature.fields == {
        "name": "Dock",
        "kind": "speed",
        "speed_limit_mps": 8.5,
        "radius_m": 50.0,
        "enabled": False,
        "schedule": {"weekly": []},
        "confirmation": None,
        "group": None,
        "area": AREA,
    }
    assert feature.ignored == ("fid",)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, "name is None"),
        ({"name": "a", "site": 7}, "site is 7; it must be a name"),
        ({"name": "a", "guard": 7}, "guard is 7; it must be a guard id"),
        ({"name": "a", "radius_m": "wide"}, "radius_m is 'wide'"),
        ({"name": "a", "schedule": "{"}, "schedule is not JSON"),
        ({"name": "a", "schedule": "[" * 100_000}, "schedule is not JSON"),
        ({"name": "a", "schedule": "\ud800"}, "schedule is not JSON"),
        ({"name": "a", "enabled": "perhaps"}, "enabled is 'perhaps'"),
    ],
)
def test_what_cannot_be_read_is_its_reason(properties: dict[str, Any], said: str) -> None:
    feature = feature_of(4, properties, AREA)
    assert feature.index == 4
    assert said in feature.reason


def test_of_two_of_one_name_the_second_is_refused() -> None:
    first, second, third = (feature_of(n, {"name": name}, AREA) for n, name in ((1, "a"), (2, "a"), (3, "b")))
    kept = without_twins([first, second, third])
    assert kept[0] == first
    assert "feature 1 bears that name too" in kept[1].reason
    assert kept[2] == third


def test_a_refused_one_takes_nobody_s_name() -> None:
    bad = Feature(index=1, name="a", reason="no geometry")
    good = feature_of(2, {"name": "a"}, AREA)
    assert without_twins([bad, good]) == [bad, good]


def test_files_are_bounded() -> None:
    with pytest.raises(Refused, match="split it"):
        check_size(bytes(32 * 1024 * 1024 + 1))
    with pytest.raises(Refused, match="split it"):
        check_count(10_001)
