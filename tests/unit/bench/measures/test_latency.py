import json
from datetime import UTC, datetime

import pytest

from bench.ledger import messages
from bench.measures import latency

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def test_percentiles_are_those_of_the_nearest_rank_in_milliseconds() -> None:
    sent_s = {str(n): 10.0 for n in range(1, 101)}
    came_s = {str(n): 10.0 + n / 1000 for n in range(1, 101)}
    assert latency.percentiles("x", sent_s, came_s) == {"x_p50_ms": 50.0, "x_p95_ms": 95.0, "x_p99_ms": 99.0}


def test_a_message_that_did_not_come_is_not_left_out_of_the_figures() -> None:
    with pytest.raises(RuntimeError, match="1 of 2 did not come"):
        latency.percentiles("x", {"a": 1.0, "b": 1.0}, {"a": 1.1})
    with pytest.raises(RuntimeError, match="0 of 0"):
        latency.percentiles("x", {}, {})


def test_a_position_waits_for_itself_and_a_panic_for_its_source() -> None:
    fix = latency.position("m1", "guard-1", NOW)
    assert (fix.waits, fix.topic) == ("m1", "guard/guard-1/gps")
    assert json.loads(fix.payload)["msg_id"] == "m1"
    assert json.loads(fix.payload)["timestamp"] == NOW.isoformat()
    call = latency.panic("m2", "guard-1", NOW)
    assert (call.waits, call.topic) == ("alert:guard-1", "alert/panic/guard-1")


def test_guards_that_are_timed_are_none_of_the_ledger_s() -> None:
    entries = messages.make(count=5000, sources=1000, seed=1, run="r", now=NOW)
    of_ledger = {entry.topic.split("/")[1] for entry in entries if entry.family == "guard"}
    assert of_ledger.isdisjoint({latency.guard(number) for number in range(latency.GUARDS)})
