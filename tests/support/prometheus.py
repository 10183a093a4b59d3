"""A private Prometheus for tests: on loopback, with the project's own configuration made faster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import eventlet
import yaml

from ops.environment import PROJECT
from ops.local import ports
from ops.local.supervisor import Process, Supervisor

FILES = PROJECT / "prometheus"
START_TIMEOUT_S = 60.0
POLL_S = 0.2
DURATION = re.compile(r"(?<![\w.])(?P<count>\d+)(?P<unit>[smhd])\b")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LEAST_S = 4
"""Shortest scaled duration in seconds: a range must hold a few samples, a second apart."""


class Prometheus:
    """A running server, queried by its API. `poll` is called during each wait."""

    def __init__(self, port: int, *, poll: Callable[[], None]) -> None:
        self.address = f"127.0.0.1:{port}"
        self._poll = poll

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        return list(self.get("query", query=expression)["result"])

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def firing(self, alert: str, labels: dict[str, str]) -> bool:
        """Return whether the alert with these labels fires now."""
        wanted = {"alertname": alert, "alertstate": "firing", **labels}
        selector = ",".join(f"{name}={json.dumps(value)}" for name, value in wanted.items())
        return bool(self.query(f"ALERTS{{{selector}}}"))

    def await_true(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            self._poll()
            eventlet.sleep(POLL_S)
        return True


@contextmanager
def running(
    directory: Path, *, target: str, poll: Callable[[], None], faster: int = 1, scrape_s: int | None = None
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `target` until the block ends.

    `faster` divides the durations in the rules.
    """
    port = ports.choose({}, ["prometheus"])["prometheus"]
    config = write_configuration(directory, target=target, faster=faster, scrape_s=scrape_s)
    command = [
        _program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    server = Prometheus(port, poll=poll)
    process = Process(
        "prometheus",
        command,
        log=directory / "prometheus.log",
        environment=os.environ,
        probe=server.is_ready,
        grace_s=15.0,
    )
    supervisor = Supervisor(directory / "state.json")
    try:
        supervisor.add(process)
        late = supervisor.wait_ready(["prometheus"], timeout_s=START_TIMEOUT_S)
        assert not late, process.last_lines()
        yield server
    finally:
        supervisor.stop()


def write_configuration(directory: Path, *, target: str, faster: int, scrape_s: int | None) -> Path:
    """Write the project's own configuration with another target and other intervals.

    It has no alerting, so nobody is notified.
    """
    config = yaml.safe_load((FILES / "prometheus.yml").read_text())
    del config["alerting"]
    [job] = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    if scrape_s is not None:
        every = f"{scrape_s}s"
        config["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    (directory / "rules").mkdir(parents=True, exist_ok=True)
    for path in (FILES / "rules").glob("*.yml"):
        (directory / "rules" / path.name).write_text(scaled(path.read_text(), faster=faster))
    made = directory / "prometheus.yml"
    made.write_text(yaml.safe_dump(config))
    return made


def scaled(rules: str, *, faster: int) -> str:
    """Return the rules with shorter `for` and ranges. Thresholds stay, also those of an age."""
    if faster == 1:
        return rules
    tree = yaml.safe_load(rules)
    for group in tree["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[[^\]]+\]", lambda m: _shorter(m.group(), faster), rule["expr"])
            if "for" in rule:
                rule["for"] = _shorter(rule["for"], faster)
    return yaml.safe_dump(tree, sort_keys=False, width=10_000)


def _shorter(text: str, faster: int) -> str:
    def shorter(match: re.Match[str]) -> str:
        return f"{max(LEAST_S, int(match['count']) * SECONDS[match['unit']] // faster)}s"

    return DURATION.sub(shorter, text)


def tool(name: str, *arguments: str) -> str:
    """Return the output of promtool or amtool.

    Raises:
        AssertionError: The tool found an error. The text is its output.
    """
    done = subprocess.run(
        [_program(name), *arguments], check=False, capture_output=True, text=True, timeout=100, cwd=FILES
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed; run `make monitoring`"
    return path
