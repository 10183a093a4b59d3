"""Tests of the frames that `vigil watch` shows."""

from typing import Any

import pytest

from ops.feed.filter import FrameFilter
from services.contracts.events import Severity


def alert(source: str, severity: str) -> dict[str, Any]:
    return {"source_id": source, "severity": severity, "alert_type": "PANIC"}


CRITICAL = {"type": "critical_alert", "id": 1, "data": alert("guard-1", "CRITICAL")}
LOW = {"type": "alert_created", "id": 2, "data": alert("guard-2", "LOW")}
POSITIONS = {"type": "positions", "id": 3, "data": [{"guard_id": "guard-1"}, {"guard_id": "guard-2"}]}
CONNECTED = {"type": "connected", "tenant_id": 1}
HEARTBEAT = {"type": "heartbeat", "blind": False}
SNAPSHOT = {
    "type": "snapshot",
    "id": 4,
    "data": {
        "alerts": [CRITICAL["data"], LOW["data"]],
        "positions": POSITIONS["data"],
        "devices": [{"source_id": "cam-1"}],
        "missing": ["devices"],
    },
}


@pytest.mark.parametrize("frame", [CRITICAL, LOW, POSITIONS, CONNECTED, HEARTBEAT, SNAPSHOT])
def test_without_a_wish_everything_is_shown(frame: dict[str, Any]) -> None:
    assert FrameFilter().narrow(frame) == frame


def test_types() -> None:
    wanted = FrameFilter(types=frozenset({"positions"}))
    assert wanted.narrow(POSITIONS) == POSITIONS
    assert wanted.narrow(CRITICAL) is None
    assert wanted.narrow(CONNECTED) is None


def test_sources_narrow_lists_too() -> None:
    wanted = FrameFilter(sources=frozenset({"guard-1", "cam-1"}))
    assert wanted.narrow(CRITICAL) == CRITICAL
    assert wanted.narrow(LOW) is None
    assert wanted.narrow(POSITIONS) == {**POSITIONS, "data": [{"guard_id": "guard-1"}]}
    assert wanted.narrow({**POSITIONS, "data": [{"guard_id": "guard-9"}]}) is None
    assert wanted.narrow(HEARTBEAT) is None
    assert wanted.narrow(CONNECTED) == CONNECTED
    shown = wanted.narrow(SNAPSHOT)
    assert shown is not None
    assert shown["data"] == {
        "alerts": [CRITICAL["data"]],
        "positions": [{"guard_id": "guard-1"}],
        "devices": [{"source_id": "cam-1"}],
        "missing": ["devices"],
    }


def test_severity_is_the_least_and_of_alerts_alone() -> None:
    wanted = FrameFilter(severity=Severity.HIGH)
    assert wanted.narrow(CRITICAL) == CRITICAL
    assert wanted.narrow({**CRITICAL, "data": alert("guard-1", "HIGH")}) is not None
    assert wanted.narrow({**CRITICAL, "data": alert("guard-1", "MEDIUM")}) is None
    assert wanted.narrow(POSITIONS) is None
    shown = wanted.narrow(SNAPSHOT)
    assert shown is not None
    assert (shown["data"]["alerts"], shown["data"]["positions"]) == ([CRITICAL["data"]], [])
