"""Tests of monitoring: a real Prometheus scrapes the whole stack with a fleet.

Every panel has data, and every rule can be judged.
"""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import eventlet
import pytest

from ops.commands.stack.demo import provision, simulator
from ops.local.stack import Stack
from tests.support import prometheus, promql
from tests.support.prometheus import FILES, Prometheus

SCRAPE_S = 1
RATE_INTERVAL = "8s"
"""Grafana's $__rate_interval: four scrapes at least."""
DATA_TIMEOUT_S = 45.0


def test_rules_and_configurations_are_valid() -> None:
    prometheus.tool("promtool", "check", "rules", *map(str, sorted((FILES / "rules").glob("*.yml"))))
    prometheus.tool("promtool", "check", "config", "prometheus.yml")
    prometheus.tool("amtool", "check-config", "alertmanager.yml")


@pytest.mark.parametrize("path", sorted((FILES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_alerts_fire_and_clear_as_they_should(path: Path) -> None:
    prometheus.tool("promtool", "test", "rules", str(path))


@pytest.fixture(scope="module")
def watched(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes the stack with a fleet, as `make demo` has it."""
    provision(stack, guards=10)
    fleet = simulator(stack, guards=10, rate=40)
    stack.supervisor.add(fleet)
    directory = tmp_path_factory.mktemp("prometheus")
    try:
        with prometheus.running(
            directory, target=stack.addresses()["http"], poll=stack.supervisor.poll, scrape_s=SCRAPE_S
        ) as server:
            yield server
    finally:
        stack.supervisor.stop(only=["simulator"])
        stack.supervisor.processes.remove(fleet)


@pytest.mark.timeout(400)  # the first test that uses the stack waits for it
def test_every_panel_has_data_and_every_rule_is_judged(watched: Prometheus) -> None:
    empty = dict(promql.panel_queries(rate_interval=RATE_INTERVAL))

    def all_have_data() -> bool:
        for place in [place for place, query in empty.items() if watched.query(query)]:
            del empty[place]
        return not empty

    assert watched.await_true(all_have_data, timeout_s=DATA_TIMEOUT_S), f"without data: {empty}"
    rules = watched.rules()
    assert {rule["name"] for rule in rules} == {r.get("alert") or r["record"] for r in promql.rules()}
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert watched.firing("VigilAlive", {})
    assert not watched.query('ALERTS{alertname=~"VigilDown|VigilProcessMissing|VigilDependencyDown"}')


def test_many_readers_of_metrics_cost_one_exposition(stack: Stack) -> None:
    url = f"http://{stack.addresses()['http']}/metrics/export/"

    def read(_: int) -> bytes:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())

    texts = list(eventlet.GreenPool(40).imap(read, range(40)))
    assert b"vigil_worker_capacity" in texts[0]
    assert len(set(texts)) <= 3
