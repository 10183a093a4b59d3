"""Tests of the first hour: they type every line of the README and of docs/getting-started.md.

A demo runs meanwhile.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.runbook_shell import ONLY_LOOKS, Shell
from tests.support import runbook
from tests.support.demo import demo
from tests.support.runbook import PROJECT

PAGES = (PROJECT / "README.md", PROJECT / "docs" / "getting-started.md")


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Shell]:
    """Yield a terminal beside a demo of its own, in a directory that has the examples."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIL_", "MQTT_"))}
    with tempfile.TemporaryDirectory(prefix="vigil-newcomer-") as made:
        home = Path(made, "home")
        home.mkdir()
        Path(made).chmod(0o711)
        with demo(home) as _:
            ports = json.loads((home / "ports.json").read_text())
            env = {**given, "VIGIL_HOME": str(home), "PYTHONPATH": str(PROJECT)}
            env |= {"VIGIL_HTTP_PORT": str(ports["http"]), "MQTT_BROKER_PORT": str(ports["mqtt"])}
            work = Path(made, "work")
            work.mkdir()
            (work / "examples").symlink_to(PROJECT / "examples")
            shell = Shell(env, work, meanwhile=lambda: time.sleep(0.02))
            (work / "bin" / "vigil").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ops.cli "$@"\n')
            yield shell


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_that_a_newcomer_types_ends_well(newcomer: Shell, page: Path) -> None:
    blocks = [block for part in runbook.pages(page.read_text()) for block in part.blocks]
    typed = [line for block in blocks if block.kind == "sh" for line in block.commands]
    lines = [re.sub(r"\s+# .*", "", line) for line in typed]
    assert len(lines) > 8

    for looks, group in itertools.groupby(lines, key=lambda line: ONLY_LOOKS.match(line) is not None):
        if looks:
            newcomer.run(*group)
        else:
            for line in group:
                newcomer.run(line)

    failed = [line for line in newcomer.done["vigil health"].splitlines() if line.startswith("FAIL")]
    assert failed == []
