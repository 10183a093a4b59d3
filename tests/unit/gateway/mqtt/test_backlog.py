from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.mqtt import backlog
from gateway.mqtt.backlog import CATCH_UP_S, BrokerBacklog
from services.contracts.events import AlertType, DeviceAlert
from services.contracts.families import DeviceReading, Origin

START = datetime(2026, 11, 29, 18, 0, tzinfo=UTC).timestamp()
NOTE = "received_after_outage:2026-11-29T18:00:00Z/2026-11-29T18:00:42Z"


def reconnected(after_s: float = 42.0, *, had_session: bool = True) -> BrokerBacklog:
    found = BrokerBacklog(None)
    found.connecting(START - 100)
    found.connected(had_session=False)
    read(found, -1)
    read(found, 0)
    found.connecting(START + after_s)
    found.connected(had_session=had_session)
    return found


def read(found: BrokerBacklog, at_s: float, **changes: Any) -> str:
    found.ticked(START + at_s)
    options: dict[str, Any] = {"heard": True, "waited_s": 0.0, "outstanding": True, **changes}
    found.read(START + at_s, **options)
    return found.note


def test_what_comes_first_after_an_outage_bears_both_ends_of_it() -> None:
    found = reconnected()
    assert read(found, 42.01) == NOTE
    assert read(found, 43) == NOTE


def test_a_link_that_was_back_at_once_leaves_no_note() -> None:
    assert read(reconnected(1.5), 1.6) == ""


def test_without_a_session_the_broker_held_nothing() -> None:
    assert read(reconnected(had_session=False), 42.01) == ""


def test_the_first_start_of_all_does_not_know_since_when() -> None:
    found = BrokerBacklog(None)
    found.connecting(START)
    found.connected(had_session=True)
    assert read(found, 0.1) == "received_after_outage:/2026-11-29T18:00:00Z"


def test_a_new_process_knows_from_the_one_before_since_when() -> None:
    found = BrokerBacklog(START)
    found.connecting(START + 42)
    found.connected(had_session=True)
    assert read(found, 42.01) == NOTE


def ticking(found: BrokerBacklog, first_ms: int, last_ms: int) -> None:
    for at_ms in range(first_ms, last_ms, 5):
        found.ticked(START + at_ms / 1000)


def test_the_backlog_ends_when_the_socket_is_empty_and_all_is_acknowledged() -> None:
    found = reconnected()
    read(found, 42.01)
    ticking(found, 42_010, 42_310)
    assert read(found, 42.31, waited_s=0.3) == NOTE, "some is not acknowledged"
    ticking(found, 42_310, 42_610)
    assert read(found, 42.61, waited_s=0.3, outstanding=False) == ""


def test_a_wait_in_which_the_loop_stood_does_not_show_that_the_socket_was_empty() -> None:
    found = reconnected()
    read(found, 42.01)
    ticking(found, 42_010, 42_050)
    assert read(found, 42.5, waited_s=0.45, outstanding=False) == NOTE


def test_the_backlog_ends_after_a_while_whatever_the_load() -> None:
    found = reconnected()
    for tenth in range(421, 1019):
        assert read(found, tenth / 10) == NOTE
    assert read(found, 42 + CATCH_UP_S) == ""


def test_a_loop_that_did_not_read_for_long_is_an_outage_too() -> None:
    found = reconnected(1.0)
    assert read(found, 1.1) == ""
    assert read(found, 5.1) == "received_after_outage:2026-11-29T18:00:01Z/2026-11-29T18:00:05Z"


def test_an_outage_within_a_backlog_keeps_the_earlier_start() -> None:
    found = reconnected()
    read(found, 42.01)
    found.connecting(START + 50)
    found.connected(had_session=True)
    assert read(found, 50.1) == "received_after_outage:2026-11-29T18:00:00Z/2026-11-29T18:00:50Z"


ORIGIN = Origin("g", b"k" * 16, None, "t", datetime.now(UTC), datetime.now(UTC), False, ("lat",), None, "{}")


@pytest.mark.parametrize(
    ("message", "flags"),
    [
        (DeviceReading(ORIGIN, 50.0, None, None, None), None),
        (DeviceAlert(ORIGIN, AlertType.PANIC, None, "help", flags=("lat",)), ("lat", NOTE)),
    ],
)
def test_the_note_is_in_the_quality_and_among_the_flags_of_an_alert(
    message: Any, flags: tuple[str, ...] | None
) -> None:
    found = backlog.noted(message, NOTE)
    assert found.origin.quality == ("lat", NOTE)
    assert getattr(found, "flags", None) == flags
