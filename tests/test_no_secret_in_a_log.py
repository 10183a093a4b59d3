"""The last test of a run: no secret of this installation, and none that a test sent through it, stands in any log."""

import re
from pathlib import Path

from ops.environment import read_env
from ops.stack import Stack
from tests.canaries import canaries

MIN_LINES = 20


def secrets_of(home: Path) -> set[str]:
    """What the installation itself keeps secret."""
    found = {value for name, value in read_env(home / "secrets.env").items() if value}
    found |= set((home / "feed.keys").read_text().split())
    for file in home.glob("login*.txt"):
        found |= {line.split()[1] for line in file.read_text().splitlines() if line.startswith("password")}
    return found


def test_no_secret_stands_in_any_log(stack: Stack) -> None:
    logs = sorted((stack.home / "log").glob("*.log*"))
    texts = {path.name: path.read_text(errors="replace") for path in logs}
    assert {"noc_gateway.log", "directory.log", "mosquitto.log", "postgres.log"} <= set(texts)
    assert sum(text.count("\n") for text in texts.values()) > MIN_LINES
    planted = secrets_of(stack.home) | canaries
    assert len(planted) >= 8
    for name, text in texts.items():
        leaked = [secret for secret in planted if secret in text]
        assert leaked == [], f"{name} holds a secret"
        assert not re.search(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.", text), f"{name} holds a token"
