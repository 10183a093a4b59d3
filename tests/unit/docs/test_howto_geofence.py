"""Tests of the page on a new geofence parameter: its files and names are there, and its promise holds.

The promise is that everything else follows from the row. A further parameter is declared here, and
the check, the API's description, the command's options and the explanation show it.
"""

import ast
import re
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
import pytest

from ops.commands.zones import zone as zone_commands
from ops.environment import PROJECT
from services.contracts import zone_parameters
from services.contracts.errors import Refused
from services.contracts.zone_parameters import PARAMETERS, Confirmation, Parameter
from services.geofencing import validation
from services.geofencing.rule import confirmation, explanation
from services.geofencing.rule.confirmation import NeededEvidence
from services.geofencing.rule.transitions import EvidenceFix, TransitionEvidence
from services.platform.config import LocationSettings

PAGE = (PROJECT / "docs" / "howto" / "add-a-geofence-parameter.md").read_text()
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def example() -> Parameter:
    """Return the parameter that the page declares, evaluated from its text."""
    [row] = re.findall(r"^Parameter\($.*?^\)$", PAGE, re.MULTILINE | re.DOTALL)
    made: Parameter = eval(row, {"Parameter": Parameter})  # noqa: S307 - a page of our own
    return made


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Parameter:
    """Declare the page's parameter in every module that reads the declaration."""
    added = example()
    for module in (zone_parameters, validation, explanation, zone_commands):
        monkeypatch.setattr(module, "PARAMETERS", (*PARAMETERS, added))
    return added


def test_every_file_of_the_page_is_there() -> None:
    named = {
        name for name in re.findall(r"`([\w./]+)`", PAGE) if name.endswith((".py", ".yaml")) or "/" in name
    }
    assert len(named) >= 10
    assert [name for name in sorted(named) if not (PROJECT / name).exists()] == []


def test_the_names_of_the_page_are_there() -> None:
    assert {parameter.field for parameter in PARAMETERS} < {*Confirmation.__struct_fields__, "depth_m"}
    tree = ast.parse((PROJECT / "services" / "geofencing" / "rule" / "confirmation.py").read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert {"NeededEvidence", "needed_of", "confirmed"} <= defined
    assert callable(confirmation.needed_of)
    assert {p.default for p in PARAMETERS if isinstance(p.default, str)} <= set(
        LocationSettings.__struct_fields__
    )
    assert all(f"`{name}`" in PAGE for p in PARAMETERS for name in p.names.values())


@pytest.mark.usefixtures("declared")
def test_the_check_of_a_zone_follows_from_the_row() -> None:
    checked = validation._confirmation({"exit": {"depth_m": 50}})
    assert checked == {"exit": {"depth_m": 50}}
    with pytest.raises(Refused, match=r"confirmation.exit.depth_m is 5000; it must be 0 to 1000 metres"):
        validation._confirmation({"exit": {"depth_m": 5000}})


@pytest.mark.usefixtures("declared")
def test_the_description_of_the_api_follows_from_the_row() -> None:
    assert "`exit` {fixes, seconds, grace_s, depth_m}" in zone_parameters.described()


@pytest.mark.usefixtures("declared")
def test_the_options_of_the_command_follow_from_the_row() -> None:
    @click.command()
    @zone_commands.field_options
    def command(**_: Any) -> None: ...

    options = {option: p for p in command.params for option in p.opts}
    for name in ("--enter-depth-m", "--exit-depth-m"):
        assert name in PAGE
        assert options[name].type is click.FLOAT


@pytest.mark.usefixtures("declared")
def test_the_explanation_follows_from_the_row() -> None:
    fix = EvidenceFix("k", NOON, 0.0, 0.0, 8.0, distance_m=60.0)
    evidence = TransitionEvidence("fixes", (fix,), 1, fixes_needed=1, further_needed={"depth_m": 50.0})
    told = explanation.ExplainedTransition("guard-1", "exited", "Yard", 1, NOON, NOON, evidence)
    assert "and with the last fix at least 50 m beyond the edge" in explanation.explain(told)


def test_what_is_needed_besides_is_kept_with_the_evidence(
    declared: Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.geofencing.rule import transitions  # noqa: PLC0415 - changed for this test alone

    monkeypatch.setattr(transitions, "PARAMETERS", (*PARAMETERS, declared))
    deeper = msgspec.defstruct("Deeper", [("depth_m", float, 0.0)], bases=(NeededEvidence,), array_like=True)
    assert transitions._further(deeper(2, 90.0, 0.0, depth_m=50.0)) == {"depth_m": 50.0}
    assert transitions._further(deeper(2, 90.0, 0.0)) == {}
    assert transitions._further(None) == {}
