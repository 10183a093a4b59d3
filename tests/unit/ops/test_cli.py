"""Tests of `vigil` itself: its version, and its answer to a mistyped command."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from click.testing import CliRunner

from ops.cli import COMMANDS, group


@pytest.mark.parametrize(("typed", "meant"), [("gaurd", "guard"), ("aler", "alert"), ("helth", "health")])
def test_a_mistyped_command_gets_the_one_that_is_meant(typed: str, meant: str) -> None:
    found = CliRunner().invoke(group, [typed])
    assert found.exit_code == 2
    assert f"Did you mean `vigil {meant}`?" in found.output


def test_a_word_that_is_near_to_no_command_gets_the_list() -> None:
    found = CliRunner().invoke(group, ["xyzzy"])
    assert found.exit_code == 2
    assert "Did you mean" not in found.output
    assert "`vigil --help` lists the commands" in found.output


def test_the_version_is_that_of_the_package() -> None:
    assert version("vigil") in CliRunner().invoke(group, ["--version"]).output


def test_a_command_is_in_the_file_of_its_name() -> None:
    others = {
        name: target for name, target in COMMANDS.items() if f".{name.replace('-', '_')}:" not in target
    }
    assert others == {
        **{name: f"ops.commands.stack.stack:{name}" for name in ("up", "down", "restart", "status", "logs")},
        "zone": "ops.commands.zones.all_of_zone:zone",
    }
