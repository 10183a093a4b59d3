"""Providers for tests: servers in processes of their own, which behave as the test sets."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.providers.server import ACCOUNT, TOKEN

PROJECT = Path(__file__).resolve().parents[2]


WEBHOOK_SECRET = "webhook-secret-of-the-tests"


def settings_for(providers: Mapping[str, Provider]) -> dict[str, str]:
    """Return the environment of an installation that sends by these providers."""
    return {
        "SMTP_URL": f"{providers['smtp'].url}?from=vigil@example.com&ca={providers['smtp'].ca_file}",
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_PHONE_NUMBER": "+15017122661",
        "TWILIO_API_URL": providers["twilio"].url,
        "FCM_CREDENTIALS_FILE": providers["fcm"].credentials_file,
        "FCM_API_URL": providers["fcm"].url,
        "VIGIL_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "VIGIL_WEBHOOK_PRIVATE": "true",
    }


class Provider:
    """A provider process.

    `kind` is twilio, plivo, fcm, smtp, webhook or ntfy; `url` is where it takes messages.
    """

    def __init__(self, kind: str, *, directory: Path) -> None:
        self.kind = kind
        directory.mkdir(parents=True, exist_ok=True)
        self._log = (directory / f"{kind}.log").open("a")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.providers.server", kind, str(directory)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=PROJECT,
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port: int = said["port"]
        self._control = f"http://127.0.0.1:{said['control']}"
        self.credentials_file: str = said.get("credentials_file", "")
        self.ca_file: str = said.get("ca_file", "")
        self.url = f"smtp://127.0.0.1:{self.port}" if kind == "smtp" else f"http://127.0.0.1:{self.port}"

    def behave(self, mode: str, *, times: int | None = None) -> None:
        """Set the behaviour.

        After `times` messages the provider accepts again.

        The modes:

        - accept
        - slow: take it in the middle of 0.3 s
        - 429, 500
        - hang: for 60 s
        - drop: take it, then drop the answer
        - malformed: take it, then answer rubbish
        - refuse: for good
        """
        self._ask("/behave", {"mode": mode, "times": times})

    def accepted(self) -> list[dict[str, Any]]:
        """Return the messages that it took, in order.

        Each has id, to, reference, body, possible_duplicate, at (Unix time) and more by kind.
        """
        return list(self._ask("/accepted"))

    def requests_seen(self) -> int:
        """Return the number of attempts to hand over a message."""
        return int(self._ask("/seen"))

    def forget(self) -> None:
        """Forget the messages that it took so far."""
        self._ask("/forget", {})

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self._control + path, data=data, timeout=10) as answer:
            return json.loads(answer.read())
