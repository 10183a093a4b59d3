"""Tests of the four dashboards: they are found by their uid, and readable without their author."""

from itertools import combinations
from typing import Any

import pytest
import yaml

from ops.environment import PROJECT
from tests.support import promql

BOARDS = promql.dashboards()
ALL = [(uid, panel) for uid, board in BOARDS.items() for panel in promql.panels(board)]
UNITS = {"short", "s", "bytes", "percentunit", "mps", "cps", "ops"}


def name(value: Any) -> str:
    return str(value["title"]) if isinstance(value, dict) else str(value)


def datasource() -> dict[str, Any]:
    text = (PROJECT / "grafana" / "provisioning" / "datasources" / "vigil.yml").read_text()
    [source] = yaml.safe_load(text)["datasources"]
    return dict(source)


def test_the_dashboards_of_the_contract_are_there() -> None:
    assert set(BOARDS) == {
        "services-monitoring",
        "mqtt-monitoring",
        "websocket-monitoring",
        "message-bus-unified",
    }
    for uid, board in BOARDS.items():
        assert (PROJECT / "grafana" / "dashboards" / f"{uid}.json").exists()
        assert board["title"] and board["description"]


@pytest.mark.parametrize(("uid", "panel"), ALL, ids=name)
def test_a_panel_says_what_it_shows_in_which_unit(uid: str, panel: dict[str, Any]) -> None:
    assert panel["title"] and len(panel["description"]) > 8, uid
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["targets"]
    for target in [panel, *panel["targets"]]:
        assert target["datasource"] == {"type": "prometheus", "uid": datasource()["uid"]}


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_lie_beside_each_other(uid: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[uid]["panels"]]
    ids = [panel["id"] for panel in BOARDS[uid]["panels"]]
    assert len(ids) == len(set(ids))
    for place in places:
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_what_is_firing_and_whether_the_road_is_alive_stand_first() -> None:
    first = [
        panel["title"] for panel in BOARDS["message-bus-unified"]["panels"] if panel["gridPos"]["y"] == 0
    ]
    assert first == [
        "Pages firing",
        "Test message, alert lane",
        "Test message, bulk lane",
        "Servers",
        "MQTT lanes",
        "Dead letters",
    ]


def test_the_datasource_knows_the_scrape_interval() -> None:
    scrape = yaml.safe_load((PROJECT / "prometheus" / "prometheus.yml").read_text())["global"]
    assert datasource()["jsonData"]["timeInterval"] == scrape["scrape_interval"]
