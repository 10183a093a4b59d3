"""Tests of ten thousand guards on one map, in a real Chromium, by the real feed.

500 guards move each second.
"""

import math
import time
from datetime import UTC, datetime
from typing import Any

from services.feed.stream import FeedWriter
from services.platform import config as configuration
from tests.e2e.test_console import running
from tests.support.outside_clients import OutsideClients

GUARDS = 10_000
A_ROW = 100
FRAMES_A_SECOND = 4
"""Frames a second, as the location service sends them."""
A_FRAME = 125
FIRST_FRAME = 500
SECONDS = 10
TENANT = 10_000
"""A tenant of this test's own. Its crowd is on no other test's map."""
LONGEST_FRAME_MS = 100


def position(number: int, *, moved: float) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "guard_id": f"guard-{number}",
        "lat": 12.9 + (number % A_ROW) / 500 + moved,
        "lon": 77.5 + number // A_ROW / 500 + moved,
        "accuracy": 15.0,
        "speed": 1.2,
        "heading": float(number % 360),
        "recorded_at": now,
        "received_at": now,
        "in_geofence": True,
        "geofence_violation": number % 50 == 0,
    }


def test_ten_thousand_guards_keep_no_frame_waiting(outside: OutsideClients) -> None:
    outside.execute("INSERT INTO tenant (tenant_id, name) VALUES (%s, 'Crowd')", TENANT)
    login, password = outside.person("viewer", tenant_id=TENANT)
    feed = FeedWriter.from_config(configuration.load(environ=outside.env))

    def send(frames: int, *, a_frame: int, a_second: float) -> None:
        """Send frames at an even pace.

        Positions that do not fit into a session's queue are replaced by newer ones.
        """
        started_s = time.monotonic()
        for number in range(frames):
            time.sleep(max(0.0, started_s + number / a_second - time.monotonic()))
            numbers = range(number * a_frame, (number + 1) * a_frame)
            moved = math.sin(number) / 1000
            feed.publish(TENANT, "positions", [position(n % GUARDS, moved=moved) for n in numbers])

    given = {"VIGIL_LOGIN": login, "VIGIL_PASSWORD": password}
    with running("crowd.mjs", outside, GUARDS=str(GUARDS), SECONDS=str(SECONDS), **given) as page:
        page.expect("ready")
        send(GUARDS // FIRST_FRAME, a_frame=FIRST_FRAME, a_second=FRAMES_A_SECOND)
        page.order("sent")
        page.expect("filled")
        page.order("measure")
        send(SECONDS * FRAMES_A_SECOND, a_frame=A_FRAME, a_second=FRAMES_A_SECOND)
        figures = page.receive("measured")
    print(f"\n{figures}")
    assert figures["guards"] == GUARDS
    assert figures["moved"] >= 0.9 * SECONDS * FRAMES_A_SECOND * A_FRAME
    assert figures["p99_ms"] < LONGEST_FRAME_MS
    assert figures["longest_task_ms"] < LONGEST_FRAME_MS
