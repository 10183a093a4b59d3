"""The names in a PromQL expression: metrics, and the labels of each.

Prometheus itself checks whether the expression is well formed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from ops.environment import PROJECT
from services.platform import metrics

TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<range>\[[^\]]*\])|(?P<number>\d[\w.]*)"""
    r"""|(?P<word>[a-zA-Z_:][\w:]*)|(?P<sign>[(){},]|[^\s\w])"""
)
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = GROUPING | {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}
OF_THE_SCRAPE = {"job", "instance"}
OF_PROMETHEUS = {
    "up": OF_THE_SCRAPE,
    "ALERTS": {"alertname", "alertstate", "severity"},
}


class PromqlNames(NamedTuple):
    """Names in an expression.

    `matched` has (metric, label) of selectors; `grouped` has the labels of by, on and so on.
    """

    metrics: set[str]
    matched: set[tuple[str, str]]
    grouped: set[str]


def names_in(expression: str) -> PromqlNames:
    tokens = [(m.lastgroup, m.group()) for m in TOKEN.finditer(expression)]
    found = PromqlNames(set(), set(), set())
    last, place, depth = "", "", 0
    for (kind, text), (_, following) in zip(tokens, [*tokens[1:], ("", "")], strict=True):
        if text == "{":
            place = "selector"
        elif text == "}" or (place == "labels" and text == ")"):
            place = ""
        elif kind == "word" and place == "selector":
            found.matched.add((last, text))
        elif kind == "word" and place == "labels":
            found.grouped.add(text)
        elif kind == "word" and text in GROUPING and following == "(":
            place = "labels"
        elif kind == "word" and text not in WORDS and following != "(" and not _is_grouping_ahead(following):
            last = text
            found.metrics.add(text)
        depth += {"(": 1, ")": -1}.get(text, 0)
    assert depth == 0, f"brackets do not match: {expression}"
    return found


def _is_grouping_ahead(following: str) -> bool:
    return following in ("by", "without")  # `sum by (x) (...)`: the word is an aggregation


def declared() -> dict[str, set[str]]:
    """Return every series that Vigil exports, with its labels."""
    series: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        labels = set(metric._labelnames)
        if isinstance(metric, Histogram):
            series |= {f"{metric._name}{end}": labels for end in ("_sum", "_count")}
            series[f"{metric._name}_bucket"] = labels | {"le"}
        else:
            series[f"{metric._name}_total" if metric._type == "counter" else metric._name] = labels
    return series


def rules() -> list[dict[str, Any]]:
    """Return all rules in their order."""
    files = sorted((PROJECT / "prometheus" / "rules").glob("*.yml"))
    return [
        rule
        for file in files
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by uid."""
    found = (json.loads(path.read_text()) for path in sorted(_dashboard_files()))
    return {board["uid"]: board for board in found}


def _dashboard_files() -> Iterator[Path]:
    return (PROJECT / "grafana" / "dashboards").glob("*.json")


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Return every query of every dashboard, by its place."""
    found = {}
    for uid, board in dashboards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                found[f"{uid}/{panel['title']}/{panel['id']}{target['refId']}"] = target["expr"]
        for annotation in board["annotations"]["list"]:
            found[f"{uid}/annotation {annotation['name']}"] = annotation["expr"]
    return found


def panel_queries(*, rate_interval: str) -> Iterator[tuple[str, str]]:
    """Yield every query of every panel with Grafana's variables put in."""
    for place, query in queries().items():
        if "/annotation " not in place:
            yield place, query.replace("$__rate_interval", rate_interval).replace("$task", ".*")
