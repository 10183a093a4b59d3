"""Tests of `make demo` as a newcomer runs it.

Prometheus has the intervals that it ships with. There are data after three minutes.
"""

import tempfile
import time
from pathlib import Path

import pytest

from tests.support import prometheus, promql
from tests.support.demo import demo

THREE_MINUTES_S = 180.0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_after_three_minutes_of_the_demo_every_panel_has_data(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="vigil-demo-") as directory,
        demo(Path(directory)) as target,
        prometheus.running(tmp_path, target=target, poll=lambda: None) as server,
    ):
        started_s = time.monotonic()
        assert not server.await_true(lambda: False, timeout_s=THREE_MINUTES_S)
        empty = [
            place for place, query in promql.panel_queries(rate_interval="1m") if not server.query(query)
        ]
        assert time.monotonic() - started_s < THREE_MINUTES_S + 60
        assert empty == []
        assert {
            rule["name"]: rule.get("lastError") for rule in server.rules() if rule["health"] != "ok"
        } == {}
