"""A judge of the runbook's blocks. Each kind of command is judged by the tool that would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import click
import yaml
from prometheus_client.metrics import MetricWrapperBase as Collector

from ops import cli
from ops.processes import PROCESSES
from services.platform import metrics
from tests.support.runbook import PROJECT, CommandBlock, simple_commands

SHELL = {"curl", "grep", "mosquitto_pub", "df", "tail", "date"}
UNITS_OF_DEBIAN = {
    "rabbitmq-server",
    "redis-server",
    "postgresql",
    "prometheus",
    "prometheus-alertmanager",
    "systemd-timesyncd",
}
VERBS_OF_SYSTEMCTL = {
    "start",
    "stop",
    "restart",
    "status",
    "enable",
    "kill",
    "list-dependencies",
    "list-timers",
    "reload",
}
VERBS_OF_COMPOSE = {"up", "ps", "logs", "restart", "stop", "start", "kill", "run", "build"}
OPTIONS_OF_COMPOSE = {"--detach", "--wait", "--rm", "--force-recreate", "--tail", "50"}
PROFILES = {"monitoring", "operator", "simulator"}
TIMEOUT_S = 90.0
MAY_SAY_NO = ("vigil health", "vigil check", "vigil check --deploy")
"""Commands that judge: they end with 1 when they find something.

On a stack that other tests use too, they may find something.
"""
ONLY_LOOKS = re.compile(
    r"(curl|df|date|vigil (health|status|logs|check|latest|rejected|report|watch|alert|\w+ (list|show|history)))\b"
)
"""Lines that change nothing. Neighbouring ones run together, to save time."""
INSTALLER = PROJECT / "ops" / "install" / "install.sh"
UNITS = PROJECT / "ops" / "install" / "systemd"
COMPOSE = PROJECT / "docker-compose.yml"


class Wrong(AssertionError):  # noqa: N818
    """A command that cannot be carried out as it is written."""


def judge(block: CommandBlock, line: str) -> None:
    """Check that a command exists.

    Raises:
        Wrong: The project does not have what the line names.
    """
    judges = {"sh systemd": _systemd, "sh compose": _compose}
    judged = judges.get(block.kind, _local)
    # judge each of them, also after one fails
    there = [judged(words) for words in simple_commands(line)]
    if not all(there):
        raise Wrong(f"{line}: what it names is not in the project")


def vigil(arguments: list[str]) -> bool:
    """Return whether click itself can parse the command, as if it were run.

    This covers subcommands, options, arguments and their types.
    """
    command: click.Command = cli.group
    context = click.Context(command, info_name="vigil")
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            raise Wrong(f"vigil {' '.join(arguments)}: there is no {rest[0]}")
        command, context = found, click.Context(found, info_name=rest.pop(0), parent=context)
    if rest == ["--help"]:
        return True
    try:
        with command.make_context(context.info_name, rest, parent=context.parent):
            return True
    except click.BadParameter as error:
        # the file may be on another machine
        if not isinstance(error.param and error.param.type, click.Path):
            raise Wrong(f"vigil {' '.join(arguments)}: {error.format_message()}") from error
        return True
    except (click.UsageError, click.exceptions.Exit) as error:
        raise Wrong(f"vigil {' '.join(arguments)}: {error}") from error


def _local(words: list[str]) -> bool:
    program, *arguments = words
    if program == "vigil":
        return vigil(arguments)
    if program not in SHELL:
        raise Wrong(f"{program} is not for the local stack")
    if program == "grep" and not is_metric(arguments[-1]):
        raise Wrong(f"no metric is called {arguments[-1]}")
    if program == "curl" and not any("127.0.0.1:8000/" in word for word in arguments):
        raise Wrong(f"curl of something else: {arguments}")
    return True


def is_metric(name: str) -> bool:
    """Return whether services/platform/metrics.py declares the metric.

    Series of counters and histograms have suffixes.
    """
    declared = {found.describe()[0].name for found in vars(metrics).values() if isinstance(found, Collector)}
    return any(name == stem + end for stem in declared for end in ("", "_total", "_count", "_sum"))


def _systemd(words: list[str]) -> bool:
    program, *arguments = words
    plain = [word for word in arguments if not word.startswith("-")]
    if program == "vigil-admin":
        return vigil(arguments)
    if program == "systemctl":
        verb, *names = plain
        if verb not in VERBS_OF_SYSTEMCTL:
            raise Wrong(f"systemctl has no {verb} here")
        _check_units(names)
        if verb == "reload" and not all(map(_reloads, names)):
            raise Wrong(f"{' '.join(names)} cannot be reloaded")
    elif program == "journalctl":
        if "-u" in arguments:
            _check_units([arguments[arguments.index("-u") + 1]])
        elif arguments != ["--vacuum-size=500M"]:
            raise Wrong(f"journalctl {arguments}")
    elif program == "ops/install/install.sh":
        if INSTALLER.exists():
            done = subprocess.run(
                ["bash", str(INSTALLER), *arguments, "--dry-run"],
                check=False,
                capture_output=True,
                text=True,
                timeout=30,
            )
            if done.returncode != 0:
                raise Wrong(f"{program} {arguments}: {done.stderr}")
        return INSTALLER.exists()
    elif words not in (["timedatectl", "status"], ["timedatectl", "set-ntp", "true"]):
        raise Wrong(f"{words} is not for systemd")
    return UNITS.exists() or "vigil" not in " ".join(words)


def _reloads(name: str) -> bool:
    unit = UNITS / f"{name}.service"
    return unit.exists() and "ExecReload=" in unit.read_text()


def _check_units(names: list[str]) -> None:
    for name in names:
        template, at, instance = name.partition("@")
        if name in UNITS_OF_DEBIAN:
            continue
        if at and (template != "vigil" or instance not in {*PROCESSES, "*"}):
            raise Wrong(f"no process is called {name}")
        file = f"{template}@.service" if at else name if "." in name else f"{name}.service"
        if not name.startswith("vigil") or (UNITS.exists() and not (UNITS / file).exists()):
            raise Wrong(f"there is no unit {file}")


def _compose(words: list[str]) -> bool:
    if words == ["docker", "image", "prune", "--force"]:
        return True
    if words[:2] != ["docker", "compose"]:
        raise Wrong(f"{words} is not for Compose")
    rest = words[2:]
    if rest[0] == "--profile":
        if rest[1] not in PROFILES:
            raise Wrong(f"there is no profile {rest[1]}")
        rest = rest[2:]
    verb, *arguments = rest
    if verb not in VERBS_OF_COMPOSE:
        raise Wrong(f"docker compose has no {verb} here")
    options = [word for word in arguments if word in OPTIONS_OF_COMPOSE]
    names = [word for word in arguments if word not in options]
    if verb == "run" and options != ["--rm"]:
        raise Wrong(f"{words}: it would leave a container behind")
    asked = names[1:] if verb == "run" else []
    names = names[:1] if verb == "run" else names
    unknown = set(names) - _services() if COMPOSE.exists() else set()
    if unknown:
        raise Wrong(f"docker-compose.yml has no {unknown}")
    if names == ["vigil"] and asked:
        return vigil(asked) and COMPOSE.exists()
    return COMPOSE.exists()


def _services() -> set[str]:
    return set(yaml.safe_load(COMPOSE.read_text())["services"])


def filled(line: str, values: dict[str, str]) -> str:
    """Return the line with its placeholders filled in.

    Raises:
        Wrong: The table does not have a placeholder.
    """
    for name in re.findall(r"<[a-z ]+>", line):
        if name not in values:
            raise Wrong(f"{line}: nobody says what {name} is")
        line = line.replace(name, values[name])
    return line


def make_shim(directory: Path, python: str) -> Path:
    """Make a `vigil` for the PATH that runs this tree."""
    file = directory / "vigil"
    file.write_text(f'#!/bin/sh\ncd "{PROJECT}" && exec "{python}" -m ops.cli "$@"\n')
    file.chmod(0o755)
    return file


class Shell:
    """A runner of lines, as somebody at a terminal would run them.

    Each line runs once, however many pages have it.
    """

    def __init__(self, env: dict[str, str], directory: Path, *, meanwhile: Callable[[], None]) -> None:
        bin_directory = directory / "bin"
        bin_directory.mkdir()
        make_shim(bin_directory, sys.executable)
        self.env = {**env, "PATH": f"{bin_directory}:{os.environ['PATH']}"}
        self.done: dict[str, str] = {}
        self._directory = directory
        self._meanwhile = meanwhile

    def run(self, *lines: str) -> None:
        """Run the lines that did not run yet, together.

        It fails when a line does not end well, or not in time.
        """
        started = [(line, *self._start(line)) for line in dict.fromkeys(lines) if line not in self.done]
        deadline_s = time.monotonic() + TIMEOUT_S
        try:
            while any(child.poll() is None for _, child, _, _ in started):
                if time.monotonic() > deadline_s:
                    raise Wrong(f"{lines}: not done after {TIMEOUT_S:g} s")
                self._meanwhile()
        finally:
            for _, child, _, _ in started:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        for line, child, out, err in started:
            with out, err:
                said, complaint = _read(out), _read(err)
            if not ended_well(line, child.returncode, said, complaint):
                raise Wrong(f"{line}: exit code {child.returncode}\n{said}\n{complaint}")
            self.done[line] = said

    def _start(self, line: str) -> tuple[subprocess.Popen[str], IO[str], IO[str]]:
        out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when read
        command = ["bash", "-o", "pipefail", "-c", self._here(line)]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=self.env,
            cwd=self._directory,
            text=True,
        )
        return child, out, err

    def _here(self, line: str) -> str:
        """Return the line with the ports of this stack in place of the usual ones."""
        line = line.replace("127.0.0.1:8000", f"127.0.0.1:{self.env.get('VIGIL_HTTP_PORT', 8000)}")
        return line.replace("mosquitto_pub ", f"mosquitto_pub -p {self.env.get('MQTT_BROKER_PORT', 1883)} ")


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def ended_well(line: str, code: int, said: str, complaint: str) -> bool:
    if code == 1 and line in MAY_SAY_NO:
        return bool(said) and "vigil:" not in complaint
    # grep: this metric has no series yet (its name is checked before). curl would report what is
    # wrong with it.
    nothing_found = code == 1 and "| grep vigil_" in line and not said and not complaint
    return code == 0 or nothing_found
