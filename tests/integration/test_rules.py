"""Tests of rules on the real database.

Overrides come into force, conditions hold across batches, and a broken rule stops all.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from ops.environment import PROJECT
from services.contracts.errors import NotFound, Refused
from services.contracts.events import Severity
from services.contracts.families import DEVICE, DeviceReading, Origin
from services.ingestion.source_registry import SourceRegistry
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.overrides import OverrideStore
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import RuleOverride, parse_rules
from services.telemetry.store import TelemetryStore
from tests.support.commands import run_vigil

NOW = datetime.now(UTC)


class Road:
    """Telemetry's pipeline from decoded readings to conditions, as the service has it.

    The test sets the clock.
    """

    def __init__(self, config: Config, database: Database) -> None:
        self.clock_s = 0.0
        rules = parse_rules(config.rules)
        self.overrides = OverrideStore(database, rules)
        self._store = TelemetryStore(database)
        self._registry = SourceRegistry(
            database, registration="open", default_tenant_id=1, clock=lambda: self.clock_s
        )
        self._rules = rules
        self.restart()

    def restart(self) -> None:
        """Start a new process, which knows only what is in the database."""
        book = RuleCache(self._rules, self._registry, self.overrides.of_tenant)
        self._intake = ReadingIntake(self._store, self._registry, DEVICE, book)

    def send(self, *readings: tuple[float, float | None], source: str = "d1") -> tuple[list[Any], list[Any]]:
        """Store a batch of (second, battery), and return (met, cleared)."""
        made = [DeviceReading(origin(source, second), level, None, None, None) for second, level in readings]
        outcome = self._intake.store(made, now=NOW)
        assert outcome.rejected == []
        return outcome.met, outcome.cleared


def origin(source: str, seconds: float) -> Origin:
    at = NOW + timedelta(seconds=seconds)
    return Origin(source, os.urandom(16), None, f"device/{source}/telemetry", at, at, False, (), None, "{}")


@pytest.fixture
def road(config: Config, database: Database) -> Road:
    return Road(config, database)


@pytest.fixture
def site(engine: Engine) -> int:
    """Write a site of tenant 1 with the device `at-site`, and return its id."""
    with engine.begin() as connection:
        made = int(
            connection.execute(
                text("INSERT INTO site (tenant_id, name) VALUES (1, 'dock') RETURNING site_id")
            ).scalar_one()
        )
        connection.execute(
            text(
                "INSERT INTO device (device_id, tenant_id, site_id, name, family)"
                " VALUES ('at-site', 1, :site, 'x', 'device')"
            ),
            {"site": made},
        )
    return made


def test_an_override_is_in_force_within_two_seconds_and_so_is_its_end(road: Road) -> None:
    assert road.send((0, 30)) == ([], [])
    road.overrides.put(
        RuleOverride(rule="battery", change={"raise_below": 50, "clear_from": 60, "severity": "HIGH"}),
        tenant_id=1,
    )
    road.clock_s += 1.0
    [condition], _ = road.send((1, 30))
    assert (condition.severity, condition.message) == (Severity.HIGH, "Battery at 30 %")
    road.overrides.remove("battery", tenant_id=1, site_id=None, source_type=None)
    road.clock_s += 1.0
    assert len(road.send((2, 30))[1]) == 1


def test_a_site_has_its_own_and_its_conditions_say_so(road: Road, site: int) -> None:
    change = {"raise_below": 50, "clear_from": 60}
    road.overrides.put(RuleOverride(rule="battery", change=change, site_id=site), tenant_id=1)
    road.overrides.put(RuleOverride(rule="battery", change={"enabled": False}), tenant_id=1)
    road.overrides.put(
        RuleOverride(rule="battery", change={**change, "enabled": True}, site_id=site), tenant_id=1
    )
    assert road.send((0, 10)) == ([], [])
    [condition], _ = road.send((0, 30), source="at-site")
    assert condition.site_id == site


def test_another_tenant_s_override_changes_nothing(road: Road, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')"))
    road.overrides.put(RuleOverride(rule="battery", change={"enabled": False}), tenant_id=2)
    assert len(road.send((0, 10))[0]) == 1
    assert {row["from"] for row in road.overrides.list_rules(1)} == {"config.yaml"}
    with pytest.raises(NotFound, match="no override of the tenant in tenant 1"):
        road.overrides.remove("battery", tenant_id=1, site_id=None, source_type=None)


def test_a_condition_holds_across_batches_and_restarts(road: Road, engine: Engine) -> None:
    road.overrides.put(RuleOverride(rule="battery", change={"hold_s": 60}), tenant_id=1)
    assert road.send((0, 30), (10, 15)) == ([], [])
    with engine.connect() as connection:
        [(conditions, pending)] = connection.execute(text("SELECT conditions, pending FROM source_state"))
    assert conditions == []
    assert datetime.fromisoformat(pending["battery"]) == NOW + timedelta(seconds=10)
    road.restart()
    assert road.send((69, 14)) == ([], [])
    assert road.send((5, 80)) == ([], [])  # late: says nothing about now
    [condition], _ = road.send((70, 14))
    assert condition.at == NOW + timedelta(seconds=70)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT conditions, pending FROM source_state")).all()
    assert rows == [(["battery"], None)]


def test_a_reading_that_does_not_meet_it_forgets_what_held(road: Road) -> None:
    road.overrides.put(RuleOverride(rule="battery", change={"hold_s": 60}), tenant_id=1)
    assert road.send((0, 15), (30, 22)) == ([], [])
    assert road.send((61, 15)) == ([], [])
    assert len(road.send((121, 15))[0]) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"change": {"raise_below": 50}}, "clear_from is 25, on the wrong side"),
        ({"change": {"alert": "PANIC"}}, "cannot be changed"),
        ({"rule": "nothing"}, "there is no rule"),
        ({"source_type": "SMOKE"}, "not for this rule"),
        ({"site_id": 99}, "no site 99 in tenant 1"),
        ({"site_id": 2**40}, "no site"),
        ({"site_id": "1 OR true"}, "rule override"),
        ({"change": ["x"]}, "rule override"),
        ({"change": {"hold_s": [[]]}}, "hold_s"),
    ],
)
def test_an_override_that_cannot_work_is_refused_and_leaves_no_trace(
    road: Road, changes: dict[str, Any], problem: str
) -> None:
    given: dict[str, Any] = {"rule": "battery", "change": {"hold_s": 5}, **changes}
    with pytest.raises(Refused, match=problem):
        road.overrides.put(RuleOverride(**given), tenant_id=1)
    assert {row["from"] for row in road.overrides.list_rules(1)} == {"config.yaml"}


def test_what_a_closer_override_stands_upon_is_not_taken_away(road: Road, site: int) -> None:
    road.overrides.put(RuleOverride(rule="battery", change={"clear_from": 60}), tenant_id=1)
    road.overrides.put(RuleOverride(rule="battery", change={"raise_below": 50}, site_id=site), tenant_id=1)
    with pytest.raises(Refused, match=f"site {site}"):
        road.overrides.remove("battery", tenant_id=1, site_id=None, source_type=None)
    road.overrides.remove("battery", tenant_id=1, site_id=site, source_type=None)
    road.overrides.remove("battery", tenant_id=1, site_id=None, source_type=None)


def test_an_override_that_config_yaml_broke_is_left_out_and_can_be_mended(
    road: Road, engine: Engine, site: int
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO rule_override (tenant_id, site_id, rule, change)"
                " VALUES (1, NULL, 'battery', '{\"clear_from\": 1}'), (1, :site, 'battery', '{\"clear_from\": 2}')"
            ),
            {"site": site},
        )
    assert len(road.send((0, 10))[0]) == 1
    assert [row["fault"] is not None for row in road.overrides.list_rules(1)[:3]] == [False, True, True]
    road.overrides.put(RuleOverride(rule="battery", change={"clear_from": 30}), tenant_id=1)
    road.overrides.remove("battery", tenant_id=1, site_id=site, source_type=None)


def test_the_commands_change_list_and_try_rules(
    environment: dict[str, str],
    engine: Engine,  # noqa: ARG001 - tenant 1 must be there
    site: int,
    tmp_path: Path,
) -> None:
    samples = tmp_path / "samples.jsonl"
    lines = [{"topic": f"device/{name}/telemetry", "payload": {"battery": 30}} for name in ("d1", "at-site")]
    samples.write_text("\n".join(map(json.dumps, lines)))
    said = run_vigil(
        environment,
        "rules",
        "set",
        "battery",
        "raise_below=50",
        "clear_from=60",
        "--site",
        str(site),
        "--json",
    )
    assert json.loads(said)["change"] == {"raise_below": 50, "clear_from": 60}
    listed = json.loads(run_vigil(environment, "rules", "list", "--tenant", "1", "--json"))
    assert [row["site_id"] for row in listed if row["from"] == "override"] == [site]
    assert "battery < 20" in run_vigil(environment, "rules", "list")
    tried = run_vigil(environment, "rules", "test", str(samples), "--tenant", "1").splitlines()
    assert tried == [
        "line 1: d1: battery over",
        "line 2: at-site: battery met, raises low battery, severity medium: Battery at 30 %",
    ]
    refused = run_vigil(environment, "rules", "set", "battery", "alert=PANIC", check=False)
    assert "these can be changed: raise_below" in refused
    assert "removed" in run_vigil(environment, "rules", "remove", "battery", "--site", str(site))
    assert "no override" in run_vigil(
        environment, "rules", "remove", "battery", "--site", str(site), check=False
    )


def test_a_broken_rule_is_one_clear_message_at_check_and_at_start(
    environment: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "config.yaml"
    broken.write_text((PROJECT / "config.yaml").read_text().replace("clear_from: 25", "clear_from: 15"))
    wrong = {**environment, "VIGIL_CONFIG": str(broken), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    clear = "config.yaml: rule battery: clear_from is 15, on the wrong side of raise_below; it must be at least 20"
    assert run_vigil(wrong, "check", check=False) == f"vigil: {clear}\n"
    started = subprocess.run(
        [sys.executable, "-m", "ops.run", "telemetry"],
        check=False,
        capture_output=True,
        text=True,
        env=wrong,
        cwd=PROJECT,
        timeout=60,
    )
    assert started.returncode == 1
    assert started.stderr.splitlines()[-1] == f"telemetry: {clear}"
