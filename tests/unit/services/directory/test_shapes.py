import pytest

from services.directory import passwords, shapes
from services.errors import Refused


@pytest.mark.parametrize(
    ("lat", "lon", "radius", "field"),
    [
        (91, 0, 10, "lat"),
        (0, 181, 10, "lon"),
        (float("nan"), 0, 10, "lat"),
        (0, 0, 0, "radius_m"),
        (0, 0, 1e6, "radius_m"),
    ],
)
def test_a_bad_circle_names_the_field(lat: float, lon: float, radius: float, field: str) -> None:
    with pytest.raises(Refused, match=field):
        shapes.circle(lat=lat, lon=lon, radius_m=radius)


def test_a_polygon_may_be_closed_or_not() -> None:
    corners = [[0, 0], [0, 1], [1, 1]]
    assert shapes.polygon(corners).equals(shapes.polygon([*corners, corners[0]]))


@pytest.mark.parametrize(
    "vertices",
    [
        [[0, 0], [1, 1]],
        [[0, 0], [1, 1], [0, 1], [1, 0]],
        [[0, 0], [0, 0], [0, 0]],
        [[0, 0], [0, 99], [1, 1]],
        [[0], [1], [2]],
    ],
)
def test_what_makes_no_polygon_is_refused(vertices: list[list[float]]) -> None:
    with pytest.raises(Refused):
        shapes.polygon(vertices)


def test_a_password_matches_itself_only_and_nobody_matches_none() -> None:
    stored = passwords.hash_password("correct horse")
    assert passwords.matches("correct horse", stored)
    assert not passwords.matches("wrong", stored)
    assert not passwords.matches("correct horse", None)
