"""Tests of the image.

Its text is judged. Then its steps are carried out in a clean directory, and the result runs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.local import ports
from tests.deployment.dockerfile import Image, Stage, ignored, is_sent, parse

TEXT = (PROJECT / "Dockerfile").read_text()
STAGES = parse(TEXT)
RUNTIME: Stage = next(stage for stage in STAGES if stage.name == "runtime")
OPERATOR: Stage = next(stage for stage in STAGES if stage.name == "operator")
READY_S = 40.0
ABOUT_SERVERS = (
    "DATABASE_URL",
    "AMQP_URI",
    "REDIS_URL",
    "MQTT_",
    "VIGIL_REDIS",
    "VIGIL_TOPIC",
    "JWT_",
    "CHANNELS_",
)


def words(stage: Stage, word: str) -> list[str]:
    return [step.rest for step in stage.steps if step.word == word]


def test_every_base_is_an_exact_version() -> None:
    assert [stage.name for stage in STAGES] == ["builder", "runtime", "operator"]
    assert OPERATOR.image == "runtime"
    for stage in STAGES[:2]:
        assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", stage.image), stage.image
    assert len({stage.image for stage in STAGES[:2]}) == 1, "wheels of one Python do not fit another"


def test_it_runs_as_an_ordinary_user_with_a_number() -> None:
    assert words(RUNTIME, "USER") == ["10001:10001"]
    last = [step.word for step in RUNTIME.steps].index("USER")
    assert "RUN" not in [step.word for step in RUNTIME.steps[last:]]


def test_nothing_comes_from_anywhere_but_the_lock_and_the_tree() -> None:
    assert not any(step.word == "ADD" for stage in STAGES for step in stage.steps)
    assert "http://" not in TEXT.replace("http://127.0.0.1", "")
    assert "https://" not in TEXT
    installs = [rest for stage in STAGES for rest in words(stage, "RUN") if "pip " in rest]
    assert len(installs) == 3
    for rest in installs:
        assert "--require-hashes" in rest or "--no-index" in rest, rest
    assert not any(tool in TEXT for tool in ("curl ", "wget ", "sudo "))
    assert "apt-get" not in " ".join(step.rest for stage in STAGES[:2] for step in stage.steps)


def test_the_operator_s_image_has_the_client_programs_of_the_compose_file_s_server() -> None:
    server = re.search(r"postgis/postgis:(\d+)-", (PROJECT / "docker-compose.yml").read_text())
    assert server is not None
    [installs] = words(OPERATOR, "RUN")
    assert f"postgresql-client-{server[1]} " in installs
    script = re.search(r"/usr/share/postgresql-common/\S+", installs)
    assert script is not None
    # Debian's package is installed: it must have the script
    if Path("/usr/share/postgresql-common").exists():
        assert Path(script[0]).exists()
    assert words(OPERATOR, "USER")[-1] == "10001:10001"


def test_it_ends_on_a_signal_and_tells_how_it_is() -> None:
    assert words(RUNTIME, "STOPSIGNAL") == ["SIGTERM"]
    assert len(words(RUNTIME, "HEALTHCHECK")) == 1
    for word in ("CMD", "HEALTHCHECK"):
        assert '["python"' in words(RUNTIME, word)[0], "as a list: a shell would keep the signal"
    assert "org.opencontainers.image.version" in words(RUNTIME, "LABEL")[0]


def test_no_secret_gets_in() -> None:
    patterns = list(ignored(PROJECT))
    for path in (
        ".env",
        "secrets/jwt_secret",
        ".vigil/secrets.env",
        ".git/config",
        ".venv/bin/python",
        "tests/conftest.py",
        "services/__pycache__/config.pyc",
        "docker-compose.yml",
    ):
        assert not is_sent(path, patterns), path
    for path in (
        "config.yaml",
        "console/app.js",
        "migrations/versions/0001_the_road.py",
        "ops/run.py",
        "README.md",
    ):
        assert is_sent(path, patterns), path


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Yield the built image, outside pytest's own directory, which is closed to the image's user."""
    with tempfile.TemporaryDirectory(prefix="vigil-image-") as directory:
        Path(directory).chmod(0o755)
        made = Image(PROJECT, Path(directory), whole=False)
        made.build()
        close(made)
        yield made
        subprocess.run(["chmod", "-R", "u+w", directory], check=True, timeout=60)


def close(image: Image) -> None:
    """Remove all write permissions, as in a read-only root file system."""
    for top in ("srv", "opt"):
        subprocess.run(["chmod", "-R", "a-w", str(image.root / top)], check=True, timeout=60)


class Container:
    """A process of the image, with the image's user and environment.

    Of Vigil's settings it has only the servers' addresses.
    """

    def __init__(self, image: Image, environment: dict[str, str], **changes: str) -> None:
        given = {
            name: value
            for name, value in environment.items()
            if name.startswith(ABOUT_SERVERS) and "OWNER" not in name and "ADMIN" not in name
        }
        self.image = image
        self.ports = ports.choose({}, ["feed", "api"], prefer=False)
        self.environment = {
            **image.environment_here(),
            **given,
            "VIGIL_SERVER_HOST": "127.0.0.1",
            "VIGIL_FEED_PORT": str(self.ports["feed"]),
            "VIGIL_API_PORT": str(self.ports["api"]),
            **changes,
        }
        if file := given.get("CHANNELS_ENCRYPTION_KEY_FILE"):
            # The image's user cannot read the stack's own file, so the key comes by
            # the environment.
            self.environment["CHANNELS_ENCRYPTION_KEY"] = ",".join(Path(file).read_text().split())
            self.environment["CHANNELS_ENCRYPTION_KEY_FILE"] = ""

    def here(self, check: list[str]) -> list[str]:
        """Return a health check of the image or the Compose file, with the ports of this container."""
        numbers = {":8001": self.ports["feed"], ":8002": self.ports["api"]}
        for usual, port in numbers.items():
            check = [part.replace(usual, f":{port}") for part in check]
        return check

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, **self._how(), capture_output=True, text=True, timeout=60, check=False)  # type: ignore[call-overload,no-any-return]

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, **self._how(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )  # type: ignore[call-overload,no-any-return]

    def healthy(self, process: subprocess.Popen[str], *check: str) -> None:
        """Wait until the health check succeeds."""
        deadline_s = time.monotonic() + READY_S
        while (found := self.run(*check)).returncode != 0:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline_s:
                process.kill()
                output = process.communicate(timeout=10)[0]
                raise AssertionError(f"not healthy: {found.stderr}\n{output[-3000:]}")
            time.sleep(0.2)

    def _how(self) -> dict[str, object]:
        number = int(self.image.user.partition(":")[0])
        ids = {"user": number, "group": number, "extra_groups": []} if os.geteuid() == 0 else {}
        return {"cwd": self.image.workdir, "env": self.environment, **ids}


def test_its_steps_make_a_process_that_runs_on_a_closed_tree_and_ends_at_once(
    image: Image, environment: dict[str, str]
) -> None:
    assert {"COPY", "RUN", "ENV", "WORKDIR", "USER", "CMD"} <= set(image.carried_out)
    before = image.files()
    container = Container(image, environment)
    health = container.here(image.health)
    assert container.run(*health).returncode == 1
    process = container.start(*image.command)
    container.healthy(process, *health)
    with urllib.request.urlopen(f"http://127.0.0.1:{container.ports['api']}/", timeout=10) as answer:
        assert b"<html" in answer.read()
    process.send_signal(getattr(signal, image.stop_signal))
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert image.files() == before, "it wrote into its own tree"


def test_operators_commands_find_all_that_they_read(image: Image, environment: dict[str, str]) -> None:
    container = Container(image, environment)
    owner = {"VIGIL_OWNER_DATABASE_URL": environment["VIGIL_OWNER_DATABASE_URL"]}
    container.environment |= owner
    done = container.run("vigil", "migrate", "status")
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(image.root) in container.run("which", "vigil").stdout
    done = container.run("vigil", "topology")
    assert "queues declared" in done.stdout, done.stderr


def test_a_process_that_hangs_is_found_out(image: Image, environment: dict[str, str]) -> None:
    container = Container(image, environment)
    said = Path(image.environment_here()["VIGIL_RUNTIME_DIR"]) / "alerts.alive"
    said.write_text(f"{time.monotonic()} {os.getpid()} 10.0\n")
    assert container.run("python", "-m", "ops.hosting.liveness", "alerts").returncode == 0
    said.write_text(f"{time.monotonic() - 60} {os.getpid()} 10.0\n")
    done = container.run("python", "-m", "ops.hosting.liveness", "alerts")
    assert done.returncode == 1
    assert "alerts has not reported for 6" in done.stderr
    said.unlink()
