import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.location.live_positions.frame_pace import FramePace


def pace() -> FramePace:
    return FramePace(shortest_s=0.03, longest_s=0.25, share=0.1)


def test_the_first_round_goes_at_once_and_one_after_a_pause_too() -> None:
    mine = pace()
    assert mine.rest_s(now_s=7) == 0
    mine.ended(began_s=7, now_s=7.001)
    assert mine.rest_s(now_s=8) == 0


@pytest.mark.parametrize(
    ("cost_s", "pause_s"), [(0.0, 0.03), (0.001, 0.03), (0.01, 0.1), (0.1, 0.25), (5, 0.25)]
)
def test_the_pause_grows_with_what_a_round_costs(cost_s: float, pause_s: float) -> None:
    mine = pace()
    mine.ended(began_s=1, now_s=1 + cost_s)
    assert mine.rest_s(now_s=1) == pytest.approx(pause_s)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_a_round_never_waits_longer_than_the_longest_pause(costs_s: list[float]) -> None:
    mine, now_s = pace(), 0.0
    for cost_s in costs_s:
        now_s += mine.rest_s(now_s=now_s)
        mine.ended(began_s=now_s, now_s=now_s + cost_s)
        assert 0 <= mine.rest_s(now_s=now_s + cost_s) <= 0.25
        now_s += cost_s


@pytest.mark.parametrize(
    "changes", [{"shortest_s": 0.0}, {"shortest_s": 1.0}, {"share": 0.0}, {"share": 1.5}]
)
def test_senseless_bounds_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shortest_s"):
        FramePace(**{"shortest_s": 0.03, "longest_s": 0.25, "share": 0.1, **changes})
