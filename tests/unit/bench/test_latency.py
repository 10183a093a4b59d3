import json

import pytest

from bench import latency


def test_percentiles_are_those_of_the_nearest_rank_in_milliseconds() -> None:
    sent_s = {str(n): 10.0 for n in range(1, 101)}
    came_s = {str(n): 10.0 + n / 1000 for n in range(1, 101)}
    assert latency.percentiles("x", sent_s, came_s) == {"x_p50_ms": 50.0, "x_p95_ms": 95.0, "x_p99_ms": 99.0}


def test_a_message_that_did_not_come_is_not_left_out_of_the_figures() -> None:
    with pytest.raises(RuntimeError, match="1 of 2 did not come"):
        latency.percentiles("x", {"a": 1.0, "b": 1.0}, {"a": 1.1})
    with pytest.raises(RuntimeError, match="0 of 0"):
        latency.percentiles("x", {}, {})


def test_each_message_has_a_guard_of_its_own_and_every_twentieth_is_a_panic() -> None:
    made = [latency._message(number, 5) for number in range(40)]
    assert len({json.loads(payload)["msg_id"] for *_, payload in made}) == 40
    assert [n for n, (_, topic, _) in enumerate(made) if topic.startswith("alert/panic/")] == [19, 39]
