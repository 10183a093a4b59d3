"""Tests of image and installation with nothing borrowed.

Every wheel is fetched and checked against the lock's digests.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.local.stack import Stack
from ops.processes import PROCESSES
from tests.deployment.dockerfile import Image
from tests.deployment.installed import Installation
from tests.deployment.test_compose import SERVICES
from tests.deployment.test_dockerfile import Container, close


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vigil-whole-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_process_of_the_compose_file_runs_in_the_whole_image(
    directory: Path, environment: dict[str, str]
) -> None:
    image = Image(PROJECT, directory, whole=True)
    image.build()
    close(image)
    before = image.files()
    assert not list((image.root / "opt").rglob("borrowed.pth"))
    for process in PROCESSES:
        service = SERVICES[process.replace("_", "-")]
        container = Container(image, environment)
        check = container.here(service["healthcheck"]["test"][1:])
        running = container.start(*service["command"])
        container.healthy(running, *check)
        running.terminate()
        output, _ = running.communicate(timeout=30)
        assert running.returncode == 0, f"{process}: {output[-3000:]}"
    assert image.files() == before
    for top in ("srv", "opt"):
        for path in [image.root / top, *(image.root / top).rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_installation_with_the_locks_own_packages_passes_its_smoke_tests(
    directory: Path, servers: Stack
) -> None:
    installation = Installation(directory, servers, borrow=False)
    installation.prepare()
    try:
        installation.install()
        installation.start()
        installation.admin("tenant", "add", "1", "Guards")
        assert installation.alerts_of(installation.panic(), within_s=20)
        installation.back_up()
        assert "FAIL" not in installation.admin("health")
        for process in installation.supervisor.processes:
            process.kill()
        deadline_s = time.monotonic() + 120
        while any(p.restarts < 1 or p.state != "ready" for p in installation.supervisor.processes):
            assert time.monotonic() < deadline_s, {
                p.name: p.last_lines() for p in installation.supervisor.processes if p.state != "ready"
            }
            installation.supervisor.poll()
        assert "FAIL" not in installation.admin("health")
    finally:
        installation.stop()
