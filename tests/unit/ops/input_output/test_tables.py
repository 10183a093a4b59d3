"""Tests of rows as commands print them: no id is cut, at any width."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from ops.input_output import tables

ALERT_ID = "63c4d198-0395-4d02-be87-9a01347d6f00"
ROW: dict[str, Any] = {
    "alert_id": ALERT_ID,
    "alert_type": "GEOFENCE_VIOLATION",
    "source_id": "g" * 64,
    "message": "left the zone " * 20,
    "received_at": datetime(2026, 3, 1, 22, 0, 5, tzinfo=UTC),
    "note": None,
    "flags": ["drill", "late"],
}


def test_in_a_pipe_no_id_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([ROW], as_json=False)
    out = capsys.readouterr().out
    assert ALERT_ID in out
    assert "g" * 64 in out
    assert len(out.splitlines()) == 2


def test_on_a_narrow_terminal_each_value_has_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = tables.Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(tables, "Console", lambda **_: terminal)
    tables.show([ROW, ROW], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("alert_id")] == [f"alert_id     {ALERT_ID}"] * 2
    assert max(map(len, lines)) < 100


def test_a_time_has_its_year_and_offset(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([ROW], as_json=False)
    assert ROW["received_at"].astimezone().strftime("%Y-%m-%d %H:%M:%S%z") in capsys.readouterr().out


def test_control_characters_of_a_device_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables.show([{"message": "\x1b[2Jhidden\u202e"}], as_json=False)
    assert "\x1b" not in capsys.readouterr().out
