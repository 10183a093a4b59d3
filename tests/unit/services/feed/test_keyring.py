"""Tests of keys from a file that changes while Vigil runs.

Readers know a new key before any process encrypts with it.
"""

import base64
import os
from pathlib import Path

import pytest

from services.contracts.errors import Misconfigured
from services.feed.keyring import CHECK_S, SETTLE_S, KeyRing

A, B, C = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def raw(key: str) -> bytes:
    return base64.urlsafe_b64decode(key)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def write(path: Path, clock: Clock, *keys: str) -> None:
    path.write_text("\n".join(keys) + "\n")
    os.utime(path, (clock.now_s, clock.now_s))


def test_a_new_key_is_opened_with_at_once_and_sealed_with_once_all_know_it(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "keys"
    write(file, clock, A)
    ring = KeyRing("", file=str(file), clock=clock)
    assert ring.sealing() == raw(A)
    clock.now_s += 60
    write(file, clock, B, A)
    clock.now_s += CHECK_S
    assert list(ring.all()) == [raw(B), raw(A)]
    assert ring.sealing() == raw(A)
    # a process that starts just now
    assert KeyRing("", file=str(file), clock=clock).sealing() == raw(A)
    clock.now_s += SETTLE_S
    assert ring.sealing() == raw(B)
    write(file, clock, B)
    clock.now_s += CHECK_S
    assert list(ring.all()) == [raw(B)]
    assert ring.sealing() == raw(B)


def test_a_file_that_breaks_while_we_run_changes_nothing(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "keys"
    write(file, clock, A)
    ring = KeyRing("", file=str(file), clock=clock)
    for broken in ("garbage", ""):
        clock.now_s += 10
        file.write_text(broken)
        assert list(ring.all()) == [raw(A)]
    clock.now_s += 10
    file.unlink()
    assert ring.sealing() == raw(A)


def test_at_the_start_there_must_be_a_key(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("garbage")
    (tmp_path / "empty").write_text("\n")
    for file in ("bad", "empty", "missing"):
        with pytest.raises(Misconfigured):
            KeyRing("", file=str(tmp_path / file))
    with pytest.raises(Misconfigured, match="vigil keys generate"):
        KeyRing("")
    assert KeyRing(f"{C},{A}").sealing() == raw(C)
