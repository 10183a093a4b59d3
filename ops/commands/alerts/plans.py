"""Store of escalation policies and on-call schedules, and the files that commands read them from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ops.commands.connections import owner_database
from ops.input_output.input_files import INPUT_FILE, read_yaml, safe_name
from services.alerts.escalation_worker import EscalationPolicies
from services.alerts.policy_store import PolicyStore
from services.contracts.errors import Refused
from services.platform import config


def plans() -> PolicyStore:
    opened = owner_database()
    return PolicyStore(opened, EscalationPolicies.from_config(config.load()))


def read_document(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds. Raises `Refused`."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise Refused(f"{safe_name(path)} must hold one mapping, in YAML or JSON")
    return document


def document_argument(command: Any) -> Any:
    return click.argument("file", type=INPUT_FILE)(command)
