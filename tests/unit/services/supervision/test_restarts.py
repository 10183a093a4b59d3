from pathlib import Path

import pytest

from services.supervision import restarts
from services.supervision.restarts import DIED, STALLED


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(restarts.VARIABLE, str(tmp_path / "restarts"))
    return tmp_path / "restarts"


def test_a_first_start_and_one_after_an_end_in_order_are_no_restarts() -> None:
    assert restarts.begin("alerts", stalled_s=None)[0] == ""
    restarts.end("alerts")
    cause, record = restarts.begin("alerts", stalled_s=None)
    assert (cause, record.restarts, restarts.in_words(record)) == ("", 0, "not restarted")


def test_each_end_that_nobody_asked_for_is_counted_with_its_cause() -> None:
    restarts.begin("lane", stalled_s=None)
    assert restarts.begin("lane", stalled_s=None)[0] == DIED
    cause, record = restarts.begin("lane", stalled_s=5.0)
    assert (cause, record.restarts, record.stalls) == (STALLED, 2, 1)
    assert record.noticed_at is not None
    at = f"{record.noticed_at:%Y-%m-%d %H:%M} UTC"
    assert restarts.in_words(record) == (
        f"restarted 2 times, last at {at} because its loop stood still for 5 s"
    )


def test_the_cause_of_the_last_one_stays_through_ends_in_order() -> None:
    restarts.begin("lane", stalled_s=None)
    restarts.begin("lane", stalled_s=None)
    restarts.end("lane")
    assert restarts.begin("lane", stalled_s=None)[0] == ""
    assert "restarted once, last at" in restarts.in_words(restarts.records()["lane"])
    assert restarts.in_words(restarts.records()["lane"]).endswith("because it was killed or crashed")


def test_every_process_has_its_record() -> None:
    restarts.begin("alerts", stalled_s=None)
    restarts.begin("telemetry.2", stalled_s=None)
    assert set(restarts.records()) == {"alerts", "telemetry.2"}


def test_a_record_that_is_no_record_is_begun_anew(directory: Path) -> None:
    restarts.begin("lane", stalled_s=None)
    (directory / "lane.restarts").write_bytes(b'{"running": "perhaps"')
    assert restarts.begin("lane", stalled_s=None)[0] == ""


def test_without_a_directory_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(restarts.VARIABLE)
    assert restarts.begin("lane", stalled_s=5.0)[0] == ""
    restarts.end("lane")
    assert (restarts.records(), restarts.path("x"), restarts.report_path("x")) == ({}, None, None)
