"""Tests of the configuration of a part, alone and in a group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.environment import write_env
from ops.run import SECRETS_DIRECTORY, environment_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AMQP_URI", "DATABASE_URL", SECRETS_DIRECTORY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    write_env(tmp_path / "secrets" / "location.env", {"AMQP_URI": "amqp://location@a/v"})
    write_env(tmp_path / "secrets" / "telemetry.env", {"AMQP_URI": "amqp://telemetry@a/v"})
    return tmp_path


@pytest.mark.usefixtures("home")
def test_each_part_of_a_group_has_its_own_login() -> None:
    assert environment_of("location", alone=False)["AMQP_URI"] == "amqp://location@a/v"
    assert environment_of("telemetry", alone=False)["AMQP_URI"] == "amqp://telemetry@a/v"


@pytest.mark.usefixtures("home")
def test_what_the_operator_set_for_all_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URI", "amqp://elsewhere/v")
    assert environment_of("location", alone=False)["AMQP_URI"] == "amqp://elsewhere/v"


@pytest.mark.usefixtures("home")
def test_a_part_that_is_alone_has_the_environment_of_its_process() -> None:
    assert environment_of("location", alone=True) is os.environ


def test_in_an_installation_each_part_reads_the_files_of_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("location.amqp_uri", "telemetry.amqp_uri", "channels_encryption_key"):
        (home / name).write_text("secret")
    monkeypatch.setenv(SECRETS_DIRECTORY, str(home))
    monkeypatch.setenv("AMQP_URI_FILE", "/run/secrets/notifications.amqp_uri")
    found = environment_of("location", alone=False)
    assert found["AMQP_URI_FILE"] == str(home / "location.amqp_uri")
    assert found["CHANNELS_ENCRYPTION_KEY_FILE"] == str(home / "channels_encryption_key")
    assert "DATABASE_URL_FILE" not in found
    assert "AMQP_URI" not in found
