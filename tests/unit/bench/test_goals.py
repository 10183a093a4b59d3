from typing import Any

import pytest

from bench import goals
from bench.goals import GOALS, Goal, comparison, judge, side_by_side, table, value_at

FIGURES: dict[str, Any] = {
    "flood": {
        "vigil": {"per_s": 12_000.0, "cpu_s_per_1000": 0.12, "marker_age_p100_s": 0.4},
        "peer": {"per_s": 10_000.0, "cpu_s_per_1000": 0.15},
        "floor": {"per_s": 24_000.0, "cpu_s_per_1000": 0.06},
    },
    "quiet": {"vigil": {"position_commit_p50_ms": 16.0}},
    "ledger": {"lost": 0, "balances": True},
}


def line(path: str, figures: dict[str, Any]) -> goals.GoalLine:
    [found] = [one for one in judge(figures) if one.goal.path == path]
    return found


def test_a_figure_is_found_by_its_path_and_what_is_no_number_is_none() -> None:
    assert value_at(FIGURES, "flood.vigil.per_s") == 12_000.0
    assert value_at(FIGURES, "flood.naive.per_s") is None
    assert value_at(FIGURES, "flood.vigil") is None
    assert value_at(FIGURES, "flood.vigil.per_s.more") is None


def test_ratios_are_of_vigil_to_each_that_was_measured() -> None:
    assert side_by_side(FIGURES) == {
        "rate_to_peer": 1.2,
        "cpu_to_peer": 0.8,
        "rate_to_floor": 0.5,
        "cpu_to_floor": 2.0,
    }
    assert side_by_side({}) == {}


@pytest.mark.parametrize(
    ("path", "is_met"),
    [
        ("side_by_side.rate_to_peer", True),
        ("side_by_side.rate_to_floor", False),
        ("quiet.vigil.position_commit_p50_ms", False),
        ("flood.vigil.marker_age_p100_s", True),
        ("ledger.lost", True),
        ("copies.late_by_us", None),
    ],
)
def test_a_goal_is_met_at_its_bound_and_unknown_when_nothing_was_measured(
    path: str, is_met: bool | None
) -> None:
    assert line(path, {**FIGURES, "side_by_side": side_by_side(FIGURES)}).is_met is is_met


def test_the_table_says_what_was_not_measured_and_what_was_not_met() -> None:
    goal = Goal("a thing", "a.b", 2.0)
    lines = [
        goals.GoalLine(goal, None, None),
        goals.GoalLine(goal, 3.0, False),
        goals.GoalLine(goal, 2.0, True),
    ]
    absent, missed, met = table(lines)
    assert goals.NOT_MEASURED in absent
    assert "met" not in absent.lower().replace("not measured", "")
    assert missed.endswith("NOT MET")
    assert met.endswith(" met")


def test_every_goal_has_a_path_of_its_own() -> None:
    assert len({goal.path for goal in GOALS}) == len(GOALS)


def test_contestants_stand_side_by_side_and_a_hole_is_a_dash() -> None:
    title, *rows = comparison(FIGURES)
    assert title.split() == ["vigil", "peer", "floor", "naive"]
    [rate] = [row for row in rows if "per_s" in row]
    assert rate.split()[-4:] == ["12000", "10000", "24000", "-"]
