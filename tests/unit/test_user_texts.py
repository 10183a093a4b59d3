"""Tests of the texts that users and operators read: errors, log events, help, labels, notifications.

CONTRIBUTING.md has the rules for prose. `docs/glossary.md` has the words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.environment import PROJECT

FOLDERS = ("services", "gateway", "ops")
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
LOG_EVENT = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*_(\w+)")
IRREGULAR = {"found", "kept", "lost", "read", "sent", "written", "broadcast"}
"""Past participles that do not end in -ed."""


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def is_log_event(text: str) -> bool:
    """Return True for a snake_case subject with a past participle at the end: `batch_stored`."""
    found = LOG_EVENT.fullmatch(text)
    return found is not None and (found[1].endswith("ed") or found[1] in IRREGULAR)


def log_events(tree: ast.Module) -> Iterator[tuple[int, ast.expr]]:
    """Yield the events that a module logs: line and first argument."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func.value) == "log" and node.func.attr in LOG_METHODS:
            yield node.lineno, node.args[0]


def test_a_log_event_is_a_noun_and_a_past_participle() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}:{line}: {ast.unparse(event)}"
        for path, tree in trees()
        for line, event in log_events(tree)
        if not isinstance(event, ast.Constant) or not is_log_event(str(event.value))
    ]
    assert wrong == []


@pytest.mark.parametrize("event", ["batch_stored", "test_message_lost", "heartbeat_not_sent"])
def test_a_good_log_event_is_accepted(event: str) -> None:
    assert is_log_event(event)


@pytest.mark.parametrize("event", ["stored", "Batch stored", "nobody_to_tell", "server_does_not_answer"])
def test_a_bad_log_event_is_noticed(event: str) -> None:
    assert not is_log_event(event)
