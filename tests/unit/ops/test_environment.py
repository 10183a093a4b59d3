import os
import stat
from pathlib import Path

import pytest

from ops import environment
from ops.local import ports
from ops.local.supervisor import backoff_s


def test_what_is_written_is_read_back_and_private(tmp_path: Path) -> None:
    values = {"DATABASE_URL": "postgresql://a:b@c/d?e=f", "EMPTY": ""}
    environment.write_env(tmp_path / "x.env", values)
    assert environment.read_env(tmp_path / "x.env") == values
    assert stat.S_IMODE((tmp_path / "x.env").stat().st_mode) == 0o600


def test_a_value_that_would_break_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        environment.write_env(tmp_path / "x.env", {"A": "b\nC=d"})


def test_secrets_are_made_once(tmp_path: Path) -> None:
    first = environment.keep_secrets(tmp_path)
    assert environment.keep_secrets(tmp_path) == first
    assert len(set(first.values())) == len(first)


def test_the_operators_own_values_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.write_env(tmp_path / "stack.env", {"REDIS_URL": "redis://stack", "AMQP_URI": "amqp://stack"})
    # A copy takes its place: a variable that is set here must not reach the tests that start
    # real servers.
    monkeypatch.setattr(os, "environ", {"VIGIL_HOME": str(tmp_path), "REDIS_URL": "redis://mine"})
    environment.apply_environment()
    assert (os.environ["REDIS_URL"], os.environ["AMQP_URI"]) == ("redis://mine", "amqp://stack")


def test_ports_are_distinct_low_and_kept(tmp_path: Path) -> None:
    first = ports.remembered(tmp_path / "ports.json", prefer=False)
    assert len(set(first.values())) == len(first)
    assert all(port < 32768 for port in first.values())
    assert ports.remembered(tmp_path / "ports.json", prefer=False) == first


def test_back_off_doubles_and_ends() -> None:
    assert [backoff_s(n) for n in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert backoff_s(50) == 10.0
