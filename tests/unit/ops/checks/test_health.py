from pathlib import Path

import pytest

from ops.checks import health
from services.supervision import restarts


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(restarts.VARIABLE, str(tmp_path))


def test_restarts_are_well_without_records_and_without_restarts() -> None:
    assert health.stalls() == "no records here"
    restarts.begin("alerts", stalled_s=None)
    assert health.stalls() == "none"


def test_a_process_that_was_killed_is_named_and_is_well() -> None:
    for _ in range(3):
        restarts.begin("alerts", stalled_s=None)
    assert health.stalls().startswith("alerts: restarted 2 times, last at ")
    assert health.stalls().endswith("because it was killed or crashed")


def test_a_loop_that_stood_within_the_last_hour_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    restarts.begin("mqtt-gateway-alert", stalled_s=None)
    restarts.begin("mqtt-gateway-alert", stalled_s=5.0)
    with pytest.raises(health.CheckFailed) as found:
        health.stalls()
    assert str(found.value).startswith("mqtt-gateway-alert: restarted once, last at ")
    assert str(found.value).endswith("because its loop stood still for 5 s")
    monkeypatch.setattr(health, "STALL_NOTICE", health.timedelta(0))
    assert health.stalls().startswith("mqtt-gateway-alert: restarted once")


def test_a_process_is_told_with_its_restarts() -> None:
    state = {"name": "alerts", "state": "ready", "restarts": 2, "last_end": "it was ended by SIGKILL"}
    assert health.running(state) == "ready, 2 restarts, last because it was ended by SIGKILL"
