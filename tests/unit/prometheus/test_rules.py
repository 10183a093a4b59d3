"""Tests that rules, dashboards and metrics agree: no query uses a metric that does not exist."""

import re
from typing import Any

import pytest
import yaml

from ops.environment import PROJECT
from ops.processes import PROCESSES
from tests.support import promql
from tests.support.promql import OF_PROMETHEUS, OF_THE_SCRAPE

RULES = promql.rules()
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
PLANNED = {
    "page": "GatewayDisconnected AlertQueueDeep BroadcastFailing ZoneViolation Blind Down ProcessMissing"
    " DependencyDown WatchdogSilent",
    "high": "TasksFailing MqttSlow CircuitOpen DeadLetters ConsumerPaused EventsUnaccounted LoopStalled BrokerDrops"
    " DiskFull PartitionsMissing DefaultPartitionFilling",
    "medium": "QueueBacklog WorkersBusy CertificateExpiring BackupOld ClockOff",
    "target": "NoMessages TaskSuccessLow ConnectionsDropped NotificationDeliveryLow EndToEndSlow GrowthHigh",
    "none": "Alive",
}
THRESHOLDS = {
    "VigilAlertQueueDeep": "> 50",
    "VigilBroadcastFailing": "> 0.05",
    "VigilZoneViolation": "> 0",
    "VigilTasksFailing": "> 0.10",
    "VigilMqttSlow": "> 1",
    "VigilQueueBacklog": "> 100",
    "VigilWorkersBusy": "> 0.9",
    "VigilTaskSuccessLow": "< 0.90",
    "VigilConnectionsDropped": "> 0.20",
    "VigilNotificationDeliveryLow": "< 0.95",
    "VigilEndToEndSlow": "> 0.5",
    "VigilGrowthHigh": "> 10e9",
}
"""Thresholds of the contract."""
HOLDS = {"VigilCircuitOpen": "5m", "VigilQueueBacklog": "10m", "VigilNoMessages": "5m"}
RECORD = re.compile(r"[a-z_]+:[a-z_]+:[a-z0-9_]+")


def recorded() -> dict[str, set[str] | None]:
    """Return the recorded series with their labels.

    The first part of a name has the labels that are left.
    """
    made: dict[str, set[str] | None] = {}
    for rule in RULES:
        if "record" in rule:
            level = rule["record"].split(":")[0]
            made[rule["record"]] = set() if level == "vigil" else {level}
    return made


SERIES = {**promql.declared(), **recorded()}


def check(expression: str) -> None:
    found = promql.names_in(expression)
    for name in found.metrics:
        assert name in SERIES or name in OF_PROMETHEUS, f"no metric {name!r} in: {expression}"
    for metric, label in found.matched:
        allowed = (SERIES.get(metric) or set()) | OF_PROMETHEUS.get(metric, set()) | OF_THE_SCRAPE
        assert label in allowed, f"{metric} has no label {label!r} in: {expression}"
    known = set().union(*(SERIES.get(name) or OF_PROMETHEUS.get(name) or set() for name in found.metrics))
    made = set(re.findall(r'"(\w+)", "[^"]*", "[^"]*", "[^"]*"\s*\)', expression))
    assert found.grouped <= known | OF_THE_SCRAPE | made, (
        f"unknown labels {found.grouped - known} in: {expression}"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    check(rule["expr"])


@pytest.mark.parametrize("place", promql.queries())
def test_a_panel_asks_for_what_there_is(place: str) -> None:
    check(promql.queries()[place])


@pytest.mark.parametrize(
    "expression",
    [
        "vigil_no_such_thing",
        'vigil_queue_depth{line="x"}',
        "sum by (device) (vigil_queue_depth)",
        "rate(vigil_task_success[5m])",
        "queue:vigil_queue_depth:min",
        "vigil_mqtt_processing_duration_seconds",
        'sum by (lane) (queue:vigil_queue_depth:max{queue="a"})',
    ],
)
def test_the_check_finds_what_there_is_not(expression: str) -> None:
    with pytest.raises(AssertionError):
        check(expression)


def test_every_alert_of_the_plan_is_there_with_its_urgency() -> None:
    planned = {f"Vigil{name}": severity for severity, names in PLANNED.items() for name in names.split()}
    assert {name: rule["labels"]["severity"] for name, rule in ALERTS.items()} == planned


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    annotations = ALERTS[name]["annotations"]
    assert annotations["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert len(annotations["summary"]) > 20
    assert annotations["summary"].rstrip().endswith((".", "(`vigil dlq`)."))


@pytest.mark.parametrize("name", sorted(THRESHOLDS))
def test_thresholds_are_the_contracts(name: str) -> None:
    assert THRESHOLDS[name] in ALERTS[name]["expr"]


def test_alerts_hold_as_long_as_the_contract_says() -> None:
    assert {name: ALERTS[name]["for"] for name in HOLDS} == HOLDS


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in (PROJECT / "prometheus" / "tests").glob("*.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for one in case["alert_rule_test"]:
                (fires if one["exp_alerts"] else silent).add(one["alertname"])
    assert fires == set(ALERTS)
    assert silent == set(ALERTS) - {"VigilAlive"}


def test_every_process_there_should_be_is_looked_for() -> None:
    [rule] = [rule for rule in RULES if rule.get("record") == "service:vigil_process_present:max"]
    looked_for = re.findall(r'vector\(0\), "service", "([\w-]+)"', rule["expr"])
    assert sorted(looked_for) == sorted(PROCESSES)


def test_recorded_names_have_level_metric_and_operation() -> None:
    names = [rule["record"] for rule in RULES if "record" in rule]
    assert all(RECORD.fullmatch(name) for name in names)
    assert len(names) == len(set(names))


def test_the_example_speaks_of_alerts_that_there_are() -> None:
    text = (PROJECT / "prometheus" / "alertmanager.yml").read_text()
    assert set(re.findall(r"Vigil[A-Z]\w+", text)) <= set(ALERTS)
