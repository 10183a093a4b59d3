"""Tests of the console in a real Chromium, against the real stack."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.commands import run_vigil
from tests.support.outside_clients import FeedSession, OutsideClients

BROWSER = Path(__file__).parent / "browser"
SCREENSHOTS = os.environ.get("VIGIL_SCREENSHOTS", "")
"""Directory for a screenshot of each page. Empty: no screenshots."""


class Script:
    """A script that drives the browser.

    It reports what it saw, and goes on when the test says so.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def expect(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        said = self._process.stdout.readline().strip()
        assert said == word, self._process.stderr.read()

    def receive(self, word: str) -> Any:
        """Return the JSON that the script writes after the word."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        said, _, rest = self._process.stdout.readline().strip().partition(" ")
        assert said == word, self._process.stderr.read()
        return json.loads(rest)

    def order(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


@contextmanager
def running(name: str, outside: OutsideClients, **given: str) -> Iterator[Script]:
    """Run the script, which must end well."""
    environment = {
        **os.environ,
        "VIGIL_CONSOLE_URL": f"http://{outside.base}/",
        "CHROMIUM": shutil.which("chromium") or "chromium",
        "SCREENSHOTS": str(Path(SCREENSHOTS).resolve()) if SCREENSHOTS else "",
        **given,
    }
    with subprocess.Popen(
        ["node", name],
        cwd=BROWSER,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Script(process)
            if process.stdin:
                process.stdin.close()  # the script gets no further order
            assert process.wait(timeout=60) == 0, process.stderr and process.stderr.read()
        finally:
            process.terminate()


def _new_key_seals(outside: OutsideClients, screen: FeedSession, kid: str) -> bool:
    """Raise an alert, and return whether its frame is encrypted with the key `kid`."""
    outside.publish(f"alert/sos/guard-{secrets.token_hex(4)}", {"severity": "critical"})
    screen.wait("critical_alert")
    return kid in screen.kids


def test_log_in_see_a_panic_acknowledge_it_and_go_on_after_the_gateway_restarts(
    outside: OutsideClients,
) -> None:
    user, password = outside.person()
    source = f"guard-{outside.run}"
    given = {"VIGIL_LOGIN": user, "VIGIL_PASSWORD": password, "VIGIL_SOURCE": source}
    with running("console.mjs", outside, **given) as page:
        page.expect("live")
        outside.publish(
            f"alert/panic/{source}",
            {"severity": "critical", "message": "<script>alert(1)</script> gate\u202eetag"},
        )
        page.order("panic")
        page.expect("shown")
        page.expect("acknowledged")
        [(status, by)] = outside.rows(
            "SELECT status, acknowledged_by FROM mqtt_device_alert WHERE source_id = %s", source
        )
        assert (status, by) == ("ACKNOWLEDGED", user)

        supervisor = outside.stack.supervisor
        gateway = next(process for process in supervisor.processes if process.name == "noc_gateway")
        gateway.kill()
        outside.publish(f"alert/panic/{source}-2", {"severity": "critical", "message": "while away"})
        page.order("killed")
        page.expect("told")
        while gateway.state == "ready":
            supervisor.poll()
        assert supervisor.wait_ready(["noc_gateway"], timeout_s=30) == []
        page.order("restarted")
        page.expect("resumed")

        run_vigil(outside.env, "keys", "rotate")
        newest = next(iter(outside.ring.of_tenant(1)))
        screen = outside.screen()
        outside.until(lambda: _new_key_seals(outside, screen, newest))
        outside.publish(f"alert/panic/{source}-3", {"severity": "critical", "message": "under a new key"})
        page.order("rotated")
        page.expect("opened")

        run_vigil(outside.env, "user", "disable", user)
        page.order("disabled")
        page.expect("logged out")
        outside.publish(f"alert/panic/{source}-4", {"severity": "critical", "message": "nobody looks"})
        run_vigil(outside.env, "user", "enable", user)
        page.order("enabled")
        page.expect("back")


def test_the_page_says_that_it_may_be_blind_since_when_and_what_to_do(outside: OutsideClients) -> None:
    user, password = outside.person()
    with running("blind.mjs", outside, VIGIL_LOGIN=user, VIGIL_PASSWORD=password) as page:
        page.expect("live")
        with outside.frozen("redis"):
            page.order("redis frozen")
            page.expect("blind")
        page.order("redis goes on")
        page.expect("sees")
        with outside.frozen("watchdog"):
            page.order("watchdog frozen")
            page.expect("partly")
        page.order("watchdog goes on")
        page.expect("sees")
        # The gateway sends nothing here: the page goes by its own clock.
        with outside.frozen("noc_gateway"):
            page.order("noc_gateway frozen")
            page.expect("blind")
        page.order("noc_gateway goes on")
        page.expect("sees")


def test_a_panic_sounds_until_it_is_acknowledged_and_a_second_desk_shows_by_whom(
    outside: OutsideClients,
) -> None:
    first, second = outside.person(), outside.person()
    source = f"guard-{outside.run}"
    ann = f"Ann {outside.run}"
    run_vigil(outside.env, "contact", "add", ann, "--email", "ann@example.com")
    outside.execute(
        "UPDATE mqtt_device_alert SET status = 'RESOLVED', closed_at = now()"
        " WHERE status IN ('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS') AND tenant_id = 1"
    )
    given = {
        "VIGIL_LOGIN": first[0],
        "VIGIL_PASSWORD": first[1],
        "VIGIL_SECOND_LOGIN": second[0],
        "VIGIL_SECOND_PASSWORD": second[1],
        "VIGIL_SOURCE": source,
    }
    with running("desk.mjs", outside, **given) as page:
        page.expect("live")
        fix = {"lat": 12.9716, "lon": 77.5946, "accuracy": 12, "speed": 1.4, "heading": 40}
        outside.publish(f"guard/{source}/gps", fix)
        outside.publish(f"alert/panic/{source}", {"severity": "critical", "message": "help"})
        page.order("panic")
        for seen in ("sounding", "mapped", "acknowledged"):
            page.expect(seen)
        outside.publish(f"alert/intrusion/{source}-door", {"severity": "high", "message": "back door"})
        outside.publish(f"device/{source}-battery/telemetry", {"battery": 5})
        page.order("more")
        page.expect("handled")
        states = outside.rows(
            "SELECT alert_type, status, false_alarm_reason FROM mqtt_device_alert WHERE source_id LIKE %s"
            " ORDER BY alert_type",
            f"{source}%",
        )
        assert states == [
            ("INTRUSION", "FALSE_ALARM", "animal"),
            ("LOW_BATTERY", "RESOLVED", None),
            ("PANIC", "ACKNOWLEDGED", None),
        ]
        page.expect("checked")
    run_vigil(
        outside.env, "contact", "remove", ann
    )  # else she would be notified of the alerts of all later tests


def _walk(outside: OutsideClients, source: str) -> None:
    """Send six fixes of the last two minutes, some 10 m apart, eastwards."""
    now = datetime.now(UTC)
    for step in range(6):
        at = now - timedelta(seconds=120 - 20 * step)
        fix = {"lat": 12.9716, "lon": 77.5945 + step / 10_000, "accuracy": 8, "timestamp": at.isoformat()}
        outside.publish(f"guard/{source}/gps", fix)
    outside.until(
        lambda: outside.rows("SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s", source) == [(6,)]
    )


def test_a_track_is_played_back_and_a_zone_is_drawn_that_is_not_to_be_entered(
    outside: OutsideClients,
) -> None:
    user, password = outside.person("supervisor")
    source = f"guard-{outside.run}"
    place = f"Place {outside.run}"
    _walk(outside, source)
    # The zone will be drawn here, and the page's view goes here. The zone applies to nobody.
    run_vigil(outside.env, "zone", "add", place, "--circle", "12.9716", "77.5946", "300")
    run_vigil(outside.env, "zone", "disable", place)
    given = {
        "VIGIL_LOGIN": user,
        "VIGIL_PASSWORD": password,
        "VIGIL_SOURCE": source,
        "VIGIL_PLACE": place,
    }
    with running("zones.mjs", outside, **given) as page:
        page.expect("played")
        corners = page.receive("drawn")
        lats = [float(corner.partition(",")[0]) for corner in corners]
        assert 12.969 < min(lats) < 12.9716 < max(lats) < 12.974
        [(guard_id, kind, version)] = outside.rows(
            "SELECT guard_id, kind, version FROM zone WHERE name = %s", f"Yard of {source}"
        )
        assert (guard_id, kind, version) == (source, "forbidden", 2)

        outside.publish(f"guard/{source}-near/gps", {"lat": 12.9717, "lon": 77.595, "accuracy": 9})
        outside.until(lambda: outside.rows("SELECT 1 FROM guard_state WHERE guard_id = %s", f"{source}-near"))
        outside.execute(
            "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
            " VALUES (1, %s, now() - interval '1 hour', now() + interval '1 hour')",
            f"{source}-near",
        )

        def violated() -> bool:
            outside.publish(f"guard/{source}/gps", {"lat": 12.9716, "lon": 77.5951, "accuracy": 8})
            query = "SELECT count(*) FROM mqtt_device_alert WHERE source_id = %s AND alert_type = %s"
            return outside.rows(query, source, "GEOFENCE_VIOLATION") == [(1,)]

        outside.until(violated)
        page.order("entered")
        page.expect("seen")


def test_devices_report_and_what_went_wrong_are_pages_of_their_own(outside: OutsideClients) -> None:
    user, password = outside.person("admin")
    source = f"dev-{outside.run}"
    now = datetime.now(UTC)
    for step in range(8):
        at = now - timedelta(minutes=5 * (8 - step))
        reading = {"battery": 90 - step, "signal": -70 - step, "timestamp": at.isoformat()}
        outside.publish(f"device/{source}/telemetry", reading)
    outside.publish(f"guard/guard-{outside.run}/gps", {"lat": 43.0, "lon": 17.0, "accuracy": 5})
    known = "SELECT 1 FROM guard WHERE guard_id = %s"
    outside.until(lambda: outside.rows(known, f"guard-{outside.run}"))
    letter = outside.give_up_on_a_fix_of(f"guard-{outside.run}")
    stranger = {"lat": 43.0, "lon": 17.0, "client_id": 99, "note": "<b>stranger</b>"}
    outside.publish(f"guard/guard-{outside.run}/gps", stranger)
    refused = "SELECT 1 FROM rejected_message WHERE source_id = %s"
    outside.until(lambda: outside.rows(refused, f"guard-{outside.run}"))
    given = {"VIGIL_LOGIN": user, "VIGIL_PASSWORD": password, "VIGIL_SOURCE": source, "VIGIL_LETTER": letter}
    given["VIGIL_GUARD"] = f"guard-{outside.run}"
    with running("records.mjs", outside, **given) as page:
        page.expect("charted")
        outside.publish(f"device/{source}/telemetry", {"battery": 12, "signal": -80})
        page.order("low")
        page.expect("warned")
        page.expect("reported")
        page.expect("repaired")
        stored = "SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s"
        outside.until(lambda: outside.rows(stored, f"guard-{outside.run}") == [(2,)])
