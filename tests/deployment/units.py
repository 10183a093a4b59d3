"""A reader of systemd's units.

It returns what a service manager would start: command, environment, credentials.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

from ops.environment import read_env


class Service(NamedTuple):
    """Commands and environment of one unit, as its file has them."""

    commands: list[list[str]]
    environment: dict[str, str]
    directory: str
    kind: str


class Unit:
    """One unit file. A setting may occur several times, as in systemd."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: list[tuple[str, str]] = []
        self._read(path)

    def _read(self, path: Path) -> None:
        for line in path.read_text().splitlines():
            if line and line[0] not in "#[":
                name, _, value = line.partition("=")
                self.settings.append((name, value))

    def of_instance(self, instance: str) -> Unit:
        """Return the unit of one instance, with its drop-in files."""
        made = Unit(self.path)
        for path in sorted(self.path.parent.glob(f"{self.path.stem}{instance}.service.d/*.conf")):
            made._read(path)
        return made

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.settings if key == name]

    def one(self, name: str) -> str:
        [value] = self.all(name)
        return value

    def service(self, *, instance: str, credentials: Path, owner: int, word: str = "") -> Service:
        """Return the service with %i and %d put in.

        The credentials are copied as systemd does it, for one user to read.
        """
        if instance:
            return self.of_instance(instance).service(
                instance="", credentials=credentials, owner=owner, word=instance
            )
        shutil.rmtree(credentials, ignore_errors=True)
        credentials.mkdir(parents=True)
        for line in self.all("LoadCredential"):
            name, _, source = line.partition(":")
            copy = credentials / name
            shutil.copy(source, copy)
            copy.chmod(0o400)
            if os.geteuid() == 0:
                os.chown(copy, owner, owner)

        def put_in(text: str) -> str:
            return text.replace("%i", word).replace("%d", str(credentials))

        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}
        for file in self.all("EnvironmentFile"):
            assert Path(file).exists(), f"{self.path.name} reads {file}"
            environment |= read_env(Path(file))
        environment |= dict(put_in(word).split("=", 1) for word in self.all("Environment"))
        return Service(
            [shlex.split(put_in(line)) for line in self.all("ExecStart")],
            environment,
            (self.all("WorkingDirectory") or ["/"])[0],
            self.one("Type"),
        )
