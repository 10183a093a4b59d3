"""Tests of four pages of docs/howto: what they name exists, and their lists are complete."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

from gateway.noc.api import asyncapi
from gateway.noc.api.operation import Operation
from gateway.noc.api.operations.all_operations import OPERATIONS
from ops.cli import COMMANDS
from ops.environment import PROJECT
from services.contracts import frames

HOWTO = PROJECT / "docs" / "howto"
NAMES = {
    "add-an-http-endpoint.md": {
        "Operation": "gateway.noc.api.operation",
        "beyond": "services.contracts.pagination",
        "DirectoryStore": "services.directory.registry.store",
    },
    "add-a-websocket-frame-field.md": {
        "ControlFrame": "services.contracts.frames",
        "ClientFrame": "services.contracts.frames",
        "Act": "services.contracts.frames",
        "FEED": "services.contracts.frames",
        "ALERT_RPCS": "gateway.noc.service",
    },
    "add-a-cli-command.md": {"COMMANDS": "ops.cli", "apply_environment": "ops.environment"},
    "change-the-map-style.md": {},
}
"""Objects that each page names, and their modules."""
MADE_UP = {"ops/commands/registry/guard_count.py"}
"""Files of an example that was tried and thrown away."""
FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:yaml|toml))`")


def text_of(page: str) -> str:
    return (HOWTO / page).read_text()


def children(folder: str, *, are_folders: bool) -> set[str]:
    """Return the modules or the packages in a folder."""
    found = PROJECT.joinpath(folder).iterdir()
    if are_folders:
        return {path.name for path in found if (path / "__init__.py").exists()}
    return {path.name for path in found if path.suffix == ".py" and path.name != "__init__.py"}


@pytest.mark.parametrize("page", NAMES)
def test_every_file_of_the_page_exists(page: str) -> None:
    named = set(FILE.findall(text_of(page)))
    assert named
    assert {name for name in named - MADE_UP if not (PROJECT / name).exists()} == set()


@pytest.mark.parametrize("page", NAMES)
def test_every_object_of_the_page_exists(page: str) -> None:
    for name, module in NAMES[page].items():
        assert f"`{name}`" in text_of(page)
        assert hasattr(importlib.import_module(module), name)


def test_an_operation_stands_in_one_of_the_files_that_the_page_lists() -> None:
    text = text_of("add-an-http-endpoint.md")
    files = children("gateway/noc/api/operations", are_folders=False) - {"all_operations.py"}
    assert {name for name in files if f"`{name}`" not in text} == set()
    assert all(isinstance(operation, Operation) for operation in OPERATIONS)


def test_a_field_of_a_frame_is_in_the_description_by_its_type_alone() -> None:
    described = asyncapi.document(version="1")["components"]["schemas"]
    for shape in (*frames.CONTROL.values(), *frames.CLIENT.values()):
        assert set(described[shape.__name__]["properties"]) == {"type", *shape.__struct_fields__}


def test_the_page_lists_the_frames_that_the_gateway_makes() -> None:
    text = text_of("add-a-websocket-frame-field.md")
    assert f"`ControlFrame`: {', '.join(f'`{kind}`' for kind in frames.CONTROL)}." in text


def test_a_command_stands_in_one_of_the_folders_that_the_page_lists() -> None:
    text = text_of("add-a-cli-command.md")
    folders = children("ops/commands", are_folders=True)
    assert {name for name in folders if f"`ops/commands/{name}`" not in text} == set()
    assert {target.split(".")[2] for target in COMMANDS.values()} == folders


def test_the_settings_of_the_map_are_in_the_configuration() -> None:
    text = text_of("change-the-map-style.md")
    noc = yaml.safe_load((PROJECT / "config.yaml").read_text())["noc"]
    variables = {"map_style_url": "VIGIL_MAP_STYLE_URL", "map_pmtiles_file": "VIGIL_MAP_PMTILES_FILE"}
    assert set(re.findall(r"`noc\.(\w+)`", text)) == set(variables)
    for setting, variable in variables.items():
        assert noc[setting] == f"${{{variable}:}}"
        assert f"`{variable}`" in text


@pytest.mark.parametrize("name", ["console/ground.js", "console/layers.js"])
def test_each_file_of_the_map_has_its_colours_in_a_light_and_a_dark_set(name: str) -> None:
    colours = Path(PROJECT / name).read_text().partition("const COLOURS = {")[2].partition("\n};")[0]
    sets = re.findall(r"^  (light|dark): \{(.*?)\}", colours, re.MULTILINE | re.DOTALL)
    [light, dark] = [sorted(re.findall(r"(\w+):", text)) for _, text in sets]
    assert light == dark
