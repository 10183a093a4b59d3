"""Honest work beside an attack.

It is panics that must reach a websocket session, log-ins, and reads of the API.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.mqtt_device import MqttClient
from tests.support.noc_processes import Gateways
from tests.support.outside_clients import FeedSession, OutsideClients

PROJECT = Path(__file__).resolve().parents[3]
PANIC_PAUSE_S = 0.25


class Measured(NamedTuple):
    """Seconds that each operation took, or None for a failed one."""

    panics: list[float]
    log_ins: list[float | None]
    reads: list[float | None]
    attack: dict[str, Any]

    def says(self) -> str:
        return (
            f"panics {len(self.panics)}: p50 {p(self.panics, 0.5):.3f} s, max {max(self.panics):.3f} s;"
            f" log-ins {self.log_ins}; reads failed {self.reads.count(None)} of {len(self.reads)};"
            f" attack {self.attack}"
        )


def p(values: list[float], quantile: float) -> float:
    """Return the value below which this part of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * quantile))]


class Honest:
    """Three kinds of honest work at one gateway. `name` makes its sources and users its own."""

    def __init__(self, outside: OutsideClients, gateway: Gateways, name: str) -> None:
        self._base = gateway.fronts[0]
        self._name = f"{name}-{outside.run}"
        self._person = outside.person()
        self._token = outside.token(name=f"reader-{self._name}")
        self._broker = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"honest-{self._name}")
        self._at = outside.at(self._base)
        self._screen = FeedSession(self._at, since=None, token=self._token, tenant_id=1)
        self._screen.wait("snapshot", timeout_s=60)
        self._panics = 0

    def close(self) -> None:
        self._screen.close()
        self._broker.close()

    def work(self, seconds: float, *, attack: str | None = None, token: str = "") -> Measured:
        """Work for `seconds`, with the attack beside it."""
        attacker = self._attacker(attack, token, seconds) if attack else None
        ended_s = time.monotonic() + seconds
        log_ins: list[float | None] = []
        reads: list[float | None] = []
        threads = [
            threading.Thread(target=self._repeat, args=(self._log_in, log_ins, 1.0, ended_s)),
            threading.Thread(target=self._repeat, args=(self._read, reads, 0.2, ended_s)),
        ]
        for thread in threads:
            thread.start()
        panics: list[float] = []
        while time.monotonic() < ended_s:
            panics.append(self.panic())
            time.sleep(PANIC_PAUSE_S)
        for thread in threads:
            thread.join()
        answers = json.loads(attacker.communicate(timeout=60)[0]) if attacker else {}
        return Measured(panics, log_ins, reads, answers)

    def panic(self) -> float:
        """Press a button, and return the seconds until the alert reaches the session."""
        self._panics += 1
        source = f"guard-{self._name}-{self._panics}"
        started_s = time.monotonic()
        self._broker.publish(f"alert/panic/{source}", b'{"message": "help"}')
        came_s, _ = self._screen.wait(
            "critical_alert", lambda frame: frame["data"]["source_id"] == source, timeout_s=60
        )
        return float(came_s - started_s)

    def _log_in(self) -> bool:
        login, password = self._person
        body = {"user": login, "password": password}
        status, _ = self._at.request("POST", "/api/v1/session", body)
        return status == 200

    def _read(self) -> bool:
        status, _ = self._at.request("GET", "/api/v1/sites", token=self._token)
        return status == 200

    def _repeat(
        self, do: Callable[[], bool], took: list[float | None], pause_s: float, ended_s: float
    ) -> None:
        while time.monotonic() < ended_s:
            started_s = time.monotonic()
            try:
                done = do()
            except OSError:
                done = False
            took.append(time.monotonic() - started_s if done else None)
            time.sleep(pause_s)

    def _attacker(self, kind: str, token: str, seconds: float) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "tests.torture.attacks.attackers",
            kind,
            self._base,
            token,
            str(seconds),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
