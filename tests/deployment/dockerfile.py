"""A reader of a Dockerfile that carries out its steps in a plain directory.

It needs no container engine and no root. Without an engine, only the base image is missing:
this machine's Python stands in for the base image's. Users are not created: the process runs
under the number that `USER` names. A step that this file does not know is an error: no step is
skipped silently.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 600
ABSOLUTE = re.compile(r"(?<![\w.-])/(build|opt|srv|var|run)(?=[/:\s\"]|$)")
"""Paths of the image. Here they are in the directory instead."""


class Step(NamedTuple):
    word: str
    rest: str


class Stage(NamedTuple):
    image: str
    name: str
    steps: list[Step]


def parse(text: str) -> list[Stage]:
    """Return the stages in order."""
    joined = re.sub(
        r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    )
    stages: list[Stage] = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name or str(len(stages)), []))
        else:
            stages[-1].steps.append(Step(word, rest.strip()))
    return stages


def pairs(rest: str) -> dict[str, str]:
    """Return the KEY=VALUE words of an ENV or LABEL line as a dict."""
    return dict(word.split("=", 1) for word in shlex.split(rest))


def ignored(context: Path) -> Iterator[tuple[bool, str]]:
    """Yield (whether the pattern lets the file in again, pattern) of the .dockerignore, in order."""
    for line in (context / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.startswith("!"), line.lstrip("!")


def is_sent(path: str, patterns: list[tuple[bool, str]]) -> bool:
    """Return whether a file of the context is sent to the builder.

    The last pattern that fits decides.
    """
    sent = True
    parts = path.split("/")
    prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for let_in, pattern in patterns:
        fits = (
            any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
            if pattern.startswith("**/")
            else any(fnmatch.fnmatch(prefix, pattern) for prefix in prefixes)
        )
        if fits:
            sent = let_in
    return sent


def interpreter() -> str:
    """Return an interpreter of this Python's version that every user can run.

    This is the running Python, else the machine's Python of the same version.
    """
    own = Path(sys.executable).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (own, Path("/usr/bin", version), Path("/usr/local/bin", version)):
        if path.exists() and all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents):
            return str(path)
    raise AssertionError(f"every {version} of this machine is closed to ordinary users")


class Image:
    """The result of the Dockerfile in `context`, with `directory`/fs as its root.

    With `whole`, wheels are fetched and installed as the Dockerfile says. Otherwise the environment
    borrows the packages of the same lock from this project's own environment. The steps before and
    after are the same, and the build takes seconds.
    """

    def __init__(self, context: Path, directory: Path, *, whole: bool) -> None:
        self._context = context
        self._directory = directory
        self._whole = whole
        self.root = directory / "fs"
        self.environment: dict[str, str] = {}
        self.command: list[str] = []
        self.health: list[str] = []
        self.stop_signal = ""
        self.user = ""
        self.workdir = self.root
        self.carried_out: list[str] = []

    def build(self) -> None:
        for stage in parse((self._context / "Dockerfile").read_text()):
            self.root.mkdir(parents=True)
            self.environment, self.workdir = {}, self.root
            for step in stage.steps:
                getattr(self, f"_{step.word.lower()}")(step.rest)
                self.carried_out.append(step.word)
            if stage.name == "runtime":
                return
            self.root.rename(self._directory / stage.name)
        raise AssertionError("the Dockerfile has no stage runtime")

    def located(self, text: str) -> str:
        """Return the text with the image's paths replaced by the paths in the directory."""
        return ABSOLUTE.sub(lambda match: f"{self.root}/{match[1]}", text)

    def environment_here(self) -> dict[str, str]:
        return {name: self.located(value) for name, value in self.environment.items()}

    def files(self) -> dict[str, int]:
        """Return every file of the code and its environment.

        The value is the file's time of writing in nanoseconds.
        """
        return {
            str(path): path.lstat().st_mtime_ns
            for top in ("srv", "opt")
            for path in sorted((self.root / top).rglob("*"))
        }

    def _env(self, rest: str) -> None:
        self.environment |= pairs(rest)

    def _label(self, rest: str) -> None:
        assert pairs(rest)

    def _workdir(self, rest: str) -> None:
        self.workdir = Path(self.located(rest))
        self.workdir.mkdir(parents=True, exist_ok=True)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _expose(self, rest: str) -> None:
        assert all(port.isdigit() for port in rest.split())

    def _stopsignal(self, rest: str) -> None:
        self.stop_signal = rest

    def _healthcheck(self, rest: str) -> None:
        self.health = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def _copy(self, rest: str) -> None:
        words = shlex.split(rest)
        if words[0].startswith("--from="):
            source, target = words[1:]
            stage = self._directory / words[0].removeprefix("--from=")
            shutil.copytree(stage / source.lstrip("/"), self.located(target), symlinks=True)
            return
        *sources, target = words
        place = self.workdir / target if not target.startswith("/") else Path(self.located(target))
        patterns = list(ignored(self._context))
        for source in sources:
            self._copy_from_context(source, place, patterns)

    def _copy_from_context(self, source: str, place: Path, patterns: list[tuple[bool, str]]) -> None:
        tracked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", source],
            cwd=self._context,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        ).stdout.splitlines()
        sent = [name for name in tracked if is_sent(name, patterns) and (self._context / name).exists()]
        assert sent, f"COPY {source}: the .dockerignore keeps all of it back"
        for name in sent:
            to = place / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._context / name, to)

    def _run(self, rest: str) -> None:
        command = self._adapted(rest)
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.workdir,
            env={
                **os.environ,
                **self.environment_here(),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"

    def _adapted(self, rest: str) -> str:
        if rest.startswith("groupadd "):
            for option in ("--gid", "--uid"):
                assert f"{option} 10001" in rest
            return "true"
        if rest.startswith("install -d ") and os.geteuid() != 0:
            return self.located(re.sub(r"-[og] \d+ ", "", rest))
        if rest.startswith("python -m pip wheel "):
            return self.located(rest) if self._whole else "true"
        if rest.startswith("python -m venv "):
            made = self.located(f"{interpreter()} -m venv --without-pip /opt/venv")
            return f"{made} && {self._filled(rest.partition(' && ')[2])}"
        known = ("/opt/venv/bin/python -m ", "install -d ")
        assert rest.startswith(known), f"a RUN step that nobody knows how to carry out here: {rest}"
        return self._by_our_pip(rest)

    def _filled(self, install: str) -> str:
        if self._whole:
            return self._by_our_pip(install)
        site = f"/opt/venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        return f"echo {sysconfig.get_path('purelib')} >{self.located(site)}/borrowed.pth"

    def _by_our_pip(self, command: str) -> str:
        """Return the command with this machine's pip in place of the environment's.

        A Debian without python3-venv cannot give an environment a pip of its own.
        """
        venv = "/opt/venv/bin/python"
        return self.located(command.replace(f"{venv} -m pip", f"{sys.executable} -m pip --python {venv}"))
