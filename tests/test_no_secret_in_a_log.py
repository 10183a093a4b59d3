"""The last test of a run: no log contains a secret of this installation or of a test."""

import re

from ops.local.stack import Stack
from tests.support.canaries import canaries, secrets_of

MIN_LINES = 20


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
