"""Tests of `vigil edge certificate`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.commands.servers.edge import edge
from ops.servers.edge.certificate import load, names_of


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VIGIL_PUBLIC_URL", raising=False)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path / "home"))


def run(tmp_path: Path, *more: str) -> tuple[int, str]:
    arguments = ["certificate", str(tmp_path / "edge.pem"), "--authority", str(tmp_path / "authority"), *more]
    done = CliRunner().invoke(edge, arguments)
    return done.exit_code, done.output


def test_the_certificate_is_for_the_host_of_the_public_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_PUBLIC_URL", "https://noc.example.com:8443/")
    assert run(tmp_path) == (0, f"made {tmp_path}/edge.pem for noc.example.com\n")
    assert names_of(load(tmp_path / "edge.pem")) == ["noc.example.com"]
    assert run(tmp_path) == (0, f"{tmp_path}/edge.pem is still good\n")


def test_a_host_may_be_named_and_without_any_it_is_for_this_machine(tmp_path: Path) -> None:
    assert run(tmp_path, "--host", "other.example.com")[0] == 0
    assert names_of(load(tmp_path / "edge.pem")) == ["other.example.com"]
    assert run(tmp_path)[0] == 0
    assert names_of(load(tmp_path / "edge.pem")) == ["localhost"]
