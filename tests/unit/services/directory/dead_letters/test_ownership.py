"""Tests of a dead letter's tenant.

No tenant sees a letter about another tenant, or about an unknown source.
"""

import inspect
from datetime import UTC, datetime

import msgspec
import pytest
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from ops.processes import PROCESSES, service_class
from services.contracts.events import AlertType, Condition, ConditionsEvent
from services.contracts.families import Fix, FixBatch, Origin
from services.directory.dead_letters.ownership import BODIES, belongs, event_type_of, owners_of
from services.messaging import event_queue_name
from services.messaging.consumer import EventHandler

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPS = event_queue_name("mqtt_gateway", "guard_gps_received", "location", "process_guard_gps")
MET = event_queue_name("telemetry", "alert_condition_met", "alerts", "open_for_telemetry")


def batch(*guards: str) -> bytes:
    fixes = [
        Fix(
            Origin(guard, b"k" * 16, None, "t", NOW, NOW, False, (), None, "{}"),
            1,
            2,
            3,
            None,
            None,
            None,
            False,
        )
        for guard in guards
    ]
    return msgspec.msgpack.encode(FixBatch(fixes))


def conditions(*tenants: int) -> bytes:
    found = [Condition(tenant, "d", AlertType.FIRE, "k", NOW, b"k" * 16, "m") for tenant in tenants]
    return msgspec.msgpack.encode(ConditionsEvent(found))


def test_every_event_that_anybody_handles_is_known() -> None:
    handled = {
        (entrypoint.event_type, entrypoint.body_type)
        for process in PROCESSES
        for _, method in inspect.getmembers(service_class(process), inspect.isfunction)
        for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ())
        if isinstance(entrypoint, EventHandler)
    }
    assert len(handled) > 10
    assert handled <= set(BODIES.items())


def test_the_event_is_read_off_the_queue() -> None:
    assert event_type_of(GPS) == "guard_gps_received"
    assert event_type_of("rpc.alerts") == ""


@pytest.mark.parametrize(
    ("queue", "body", "mine"),
    [
        (GPS, batch("guard-1"), True),
        (GPS, batch("guard-1", "guard-1"), True),
        (GPS, batch("guard-1", "guard-2"), False),
        (GPS, batch("guard-2"), False),
        (GPS, batch("guard-unknown"), False),
        (GPS, batch("guard-1", "guard-unknown"), False),
        (GPS, batch(), False),
        (GPS, b"\xc1", False),
        ("elsewhere", batch("guard-1"), False),
        (MET, conditions(1), True),
        (MET, conditions(2), False),
        (MET, conditions(1, 2), False),
    ],
)
def test_a_letter_is_a_tenants_when_all_of_it_is(queue: str, body: bytes, mine: bool) -> None:
    assert belongs(owners_of(queue, body), 1, {"guard-1": 1, "guard-2": 2}) is mine
