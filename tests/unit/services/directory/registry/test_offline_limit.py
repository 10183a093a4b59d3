"""Tests of offline limits as people write them."""

import pytest

from services.contracts.errors import Refused
from services.directory.registry import offline_limit


@pytest.mark.parametrize(
    ("text", "limit_s"),
    [("default", None), ("never", 0), ("0", 0), ("300", 300), ("86400", 86_400), ("1e3", 1000)],
)
def test_seconds_default_and_never_are_limits(text: str, limit_s: float | None) -> None:
    assert offline_limit.parse(text) == limit_s


@pytest.mark.parametrize("text", ["", "5 min", "-1", "nan", "inf", "1e12", "off"])
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(Refused, match="seconds"):
        offline_limit.parse(text)
