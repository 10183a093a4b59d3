"""Goals of the bench: each with its bound, compared with the figures of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

NOT_MEASURED = "not measured"


class Goal(NamedTuple):
    """Figure, named by its path in the report, and its bound: at least, or at most."""

    words: str
    path: str
    bound: float
    at_least: bool = False

    @property
    def bound_in_words(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


class GoalLine(NamedTuple):
    """One line of the table. `is_met` is None when the figure was not measured."""

    goal: Goal
    value: float | None
    is_met: bool | None


GOALS = (
    Goal("flood: rate beside the plain peer's", "side_by_side.rate_to_peer", 1.2, at_least=True),
    Goal("flood: CPU per 1,000 beside the peer's", "side_by_side.cpu_to_peer", 1.0),
    Goal("flood: rate beside the floor's", "side_by_side.rate_to_floor", 0.6, at_least=True),
    Goal("flood: oldest marker on a session, s", "flood.vigil.marker_age_p100_s", 0.5),
    Goal("two of each: rate beside one of each", "copies.rate_two_to_one", 1.2, at_least=True),
    Goal("two of each: CPU per 1,000 beside one", "copies.cpu_two_to_one", 1.1),
    Goal("two of each: fixes late by our own doing", "copies.late_by_us", 0.0),
    Goal("200/s: to the commit, p50 ms", "quiet.vigil.position_commit_p50_ms", 15.0),
    Goal("200/s: to the commit, p99 ms", "quiet.vigil.position_commit_p99_ms", 40.0),
    Goal("200/s: position to the session, p50 ms", "quiet.vigil.position_noc_p50_ms", 30.0),
    Goal("200/s: position to the session, p99 ms", "quiet.vigil.position_noc_p99_ms", 100.0),
    Goal("200/s, two: position to the session, p50 ms", "copies.quiet_two.position_noc_p50_ms", 30.0),
    Goal("200/s, two: position to the session, p99 ms", "copies.quiet_two.position_noc_p99_ms", 100.0),
    Goal("200/s: CPU s per 1,000", "quiet.vigil.cpu_s_per_1000", 1.5),
    Goal("at rest: cores", "rest.cores", 0.04),
    Goal("at rest: MiB", "rest.mib", 600.0),
    Goal("bytes of a fix, all in", "growth.bytes_per_message.mqtt_guard_location", 300.0),
    Goal(
        "100 M fixes: latest of 10,000 guards, p95 ms",
        "queries.latest positions of 10,000.query_p95_ms",
        50.0,
    ),
    Goal("100 M fixes: a guard's day, p95 ms", "queries.a guard's day.query_p95_ms", 30.0),
    Goal("100 M fixes: nearest 10, p95 ms", "queries.nearest 10.query_p95_ms", 10.0),
    Goal("100 M fixes: open alerts, p95 ms", "queries.open alerts.query_p95_ms", 10.0),
    Goal("messages lost", "ledger.lost", 0.0),
    Goal("messages doubled", "ledger.duplicates", 0.0),
    Goal("messages stored out of order", "ledger.overtaken", 0.0),
    Goal("kills, two of each: lost", "kills.lost", 0.0),
    Goal("kills, two of each: doubled", "kills.duplicates", 0.0),
    Goal("kills, two of each: out of order", "kills.overtaken", 0.0),
)


def value_at(figures: Mapping[str, Any], path: str) -> float | None:
    """Return the figure at a dotted path of names; None when it is missing or no number."""
    found: Any = figures
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def judge(figures: Mapping[str, Any]) -> list[GoalLine]:
    """Return a line for each goal."""
    lines = []
    for goal in GOALS:
        value = value_at(figures, goal.path)
        is_met = None if value is None else value >= goal.bound if goal.at_least else value <= goal.bound
        lines.append(GoalLine(goal, value, is_met))
    return lines


def table(lines: list[GoalLine]) -> Iterator[str]:
    """Yield the lines for a terminal."""
    for goal, value, is_met in lines:
        met = {True: "met", False: "NOT MET", None: ""}[is_met]
        shown = NOT_MEASURED if value is None else f"{value:g}"
        yield f"  {goal.words:<46} {shown:>13}  {goal.bound_in_words:<8} {met}".rstrip()


def side_by_side(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratios of Vigil's flood to that of each contestant.

    Figures not measured are left out.
    """
    found = {}
    own_rate, own_cpu = (value_at(figures, f"flood.vigil.{name}") for name in ("per_s", "cpu_s_per_1000"))
    for other in ("peer", "floor", "naive"):
        rate, cpu = (value_at(figures, f"flood.{other}.{name}") for name in ("per_s", "cpu_s_per_1000"))
        if own_rate is not None and rate:
            found[f"rate_to_{other}"] = round(own_rate / rate, 3)
        if own_cpu is not None and cpu:
            found[f"cpu_to_{other}"] = round(own_cpu / cpu, 3)
    return found


def comparison(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the contestants side by side: a column for each, a line for each of their figures."""
    columns = ("vigil", "peer", "floor", "naive")
    yield f"  {'':<34}" + "".join(f"{name:>12}" for name in columns)
    for group, shown in (("flood", "flood"), ("quiet", "at 200/s")):
        names = {name: None for column in columns for name in figures.get(group, {}).get(column, {})}
        for name in names:
            values = [value_at(figures, f"{group}.{column}.{name}") for column in columns]
            yield f"  {shown + ' ' + name:<34}" + "".join(
                f"{'-' if value is None else format(value, 'g'):>12}" for value in values
            )
