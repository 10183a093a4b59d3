"""Tests that the files that cannot read Python have the settings that SMS providers declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.install import provider_files
from ops.install.provider_files import BLOCK, FILES, KINDS, outdated, render
from services.notifications.channels.sms_providers import SMS_PROVIDERS
from tests.unit.services.notifications.channels.test_provider import Least


def kinds_in(text: str) -> list[str]:
    return [found["kind"] for found in BLOCK.finditer(text)]


def test_no_file_is_out_of_date() -> None:
    assert outdated() == [], "run: python -m ops.install.provider_files"


def test_every_file_has_a_block_and_every_kind_is_used() -> None:
    found = {name: kinds_in((PROJECT / name).read_text()) for name in FILES}
    assert all(found.values()), found
    assert {kind for kinds in found.values() for kind in kinds} == set(KINDS)
    for name in FILES:
        assert (PROJECT / name).read_text().count("begin providers") == len(found[name]), name


def test_no_name_of_a_provider_stands_outside_of_its_block() -> None:
    for name in FILES:
        rest = BLOCK.sub("", (PROJECT / name).read_text()).lower()
        for provider in SMS_PROVIDERS:
            if not name.endswith(".md"):
                assert provider.name not in rest, f"{name}: a line about {provider.title} is written by hand"


@pytest.mark.parametrize("name", FILES)
def test_a_further_provider_comes_into_every_file(name: str) -> None:
    text = (PROJECT / name).read_text()
    written = render(text, (*SMS_PROVIDERS, Least))
    added = [line.strip() for line in written.splitlines() if "least_" in line.lower() or "Least" in line]
    assert added
    assert "least_" not in text.lower()
    assert render(written) == text, "nothing else is touched"


def test_a_secret_is_no_setting_in_the_clear() -> None:
    production, compose = (
        render((PROJECT / name).read_text(), [Least])
        for name in (".env.production.example", "docker-compose.yml")
    )
    assert "LEAST_KEY=" not in production
    assert "LEAST_API_URL=https://a.b" in production
    assert "LEAST_KEY: " not in compose
    assert "LEAST_KEY_FILE: /run/secrets/least_key" in compose


def test_the_command_writes_what_is_out_of_date_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings"
    file.write_text("a\n  # begin providers: compose_secrets\n  - gone\n  # end providers\nb\n")
    monkeypatch.setattr(provider_files, "PROJECT", tmp_path)
    monkeypatch.setattr(provider_files, "FILES", ("settings",))
    monkeypatch.setattr(provider_files.outdated, "__defaults__", (tmp_path,))
    assert provider_files.main(["--check"]) == 1
    assert "gone" in file.read_text()
    assert provider_files.main([]) == 0
    assert "  - twilio_auth_token\n  - plivo_auth_token\n  # end providers\nb\n" in file.read_text()
    assert provider_files.main(["--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "wrote settings"
