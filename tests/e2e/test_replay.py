"""Tests of a recorded shift through the whole stack, and of what other zones would have made of it."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from ops.environment import PROJECT
from services.contracts.errors import Refused
from services.messaging.rpc_calls import SERIALIZER
from services.platform import config as configuration
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

LAT, LON = 12.9716, 77.5946
METRE = 1 / 111_195
WALK = [*[0] * 12, *range(0, 425, 25), *[400] * 60, *range(400, -25, -25), *[0] * 12]
"""Metres north of the middle, one fix each ten seconds: ten minutes outside of 200 m."""
BEGAN = datetime(2025, 11, 3, 22, 0, tzinfo=UTC)


class Shift:
    """A company with a yard of 200 m, a guard, and a recording.

    The recording shows the guard outside of the yard for ten minutes last year.
    """

    def __init__(self, outside: OutsideClients, directory: Path) -> None:
        self.outside = outside
        self.company = int(outside.run[:6], 16) + 1_000_000
        self.into = self.company + 1
        self.guard = f"guard-{outside.run}"
        tenant = ["--tenant", str(self.company)]
        run_vigil(outside.env, "tenant", "add", str(self.company), f"Company {outside.run}")
        run_vigil(outside.env, "guard", "add", self.guard, "--no-credential", *tenant)
        yard = ["--circle", str(LAT), str(LON), "200", "--guard", self.guard]
        run_vigil(outside.env, "zone", "add", "Yard", *yard, *tenant)
        self.file = directory / "shift.csv"
        rows = [
            f"{self.guard},{(BEGAN + timedelta(seconds=10 * nth)).isoformat()},{LAT + north * METRE},{LON},6"
            for nth, north in enumerate(WALK)
        ]
        self.file.write_text("\n".join(["guard,time,lat,lon,accuracy", *rows]) + "\n")

    def arguments(self, *more: str) -> list[str]:
        into = ["--zones-of", str(self.company), "--into", str(self.into)]
        return ["replay", str(self.file), *into, "--json", *more]

    def replay(self, *more: str) -> Any:
        return json.loads(run_vigil(self.outside.env, *self.arguments(*more)))


@pytest.fixture
def shift(outside: OutsideClients, tmp_path: Path) -> Shift:
    return Shift(outside, tmp_path)


def test_a_shift_of_last_year_goes_through_the_road_and_comes_to_what_it_was(shift: Shift) -> None:
    found = shift.replay("--speed", "300")
    assert (found["sent"], found["stored"], found["refused"]) == (len(WALK), len(WALK), {})
    assert (found["complete"], found["zones"], found["keeps"]) == (True, 1, "nothing")
    assert [item["kind"] for item in found["transitions"]] == [
        "entered",
        "exited",
        "violation_began",
        "entered",
        "violation_ended",
    ]
    left = datetime.fromisoformat(found["transitions"][1]["recorded_at"])
    assert timedelta(seconds=190) < left - BEGAN < timedelta(seconds=290)
    [alert] = found["alerts"]
    assert (alert["alert_type"], alert["track"], alert["status"]) == (
        "GEOFENCE_VIOLATION",
        shift.guard,
        "NEW",
    )
    over = datetime.fromisoformat(alert["cleared_at"]) - datetime.fromisoformat(alert["recorded_at"])
    assert timedelta(minutes=11) < over < timedelta(minutes=14), "by the clock of the recording"
    assert alert["occurrences"] > 5, "told again while it lasted"
    theirs = "SELECT count(*) FROM mqtt_guard_location WHERE tenant_id = %s"
    assert shift.outside.rows(theirs, shift.company) == [(0,)]
    recorded = "SELECT recorded_at FROM mqtt_guard_location WHERE tenant_id = %s ORDER BY 1"
    times = [at for (at,) in shift.outside.rows(recorded, shift.into)]
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {timedelta(seconds=10)}
    assert abs(datetime.now(UTC) - times[-1]) < timedelta(minutes=2)

    # The same again: the first replay's zones and guards are gone from the tenant, and the result
    # is the same.
    again = shift.replay("--speed", "1000")
    assert [item["kind"] for item in again["transitions"]] == [item["kind"] for item in found["transitions"]]
    assert set(again["guards"]).isdisjoint(found["guards"])
    assert shift.outside.rows("SELECT count(*) FROM zone WHERE tenant_id = %s", shift.into) == [(1,)]
    query = "SELECT status FROM mqtt_device_alert WHERE tenant_id = %s AND source_id = ANY(%s)"
    assert shift.outside.rows(query, shift.into, list(found["guards"])) == [("RESOLVED",)]

    said = tried(shift, radius_m=600)
    assert [zone["outcome"] for zone in said["zones"]] == ["changed"]
    assert {guard["guard_id"] for guard in said["guards"]} == {*found["guards"], *again["guards"]}
    [guard] = [guard for guard in said["guards"] if guard["guard_id"] in again["guards"]]
    assert (guard["violations_today"]["count"], guard["violations_edited"]["count"]) == (1, 0)
    assert [moment["kind"] for moment in guard["lost"]] == [
        "exited",
        "violation_began",
        "entered",
        "violation_ended",
    ]
    with pytest.raises(Refused, match="radius_m"):
        tried(shift, radius_m=-1)


def tried(shift: Shift, *, radius_m: float) -> Any:
    """Return the location service's answer for a yard of another size, asked as other services ask."""
    everybody = {"guard": None, "group": None}
    feature = {
        "type": "Feature",
        "properties": {"name": "Yard", "radius_m": radius_m, **everybody},
        "geometry": {"type": "Point", "coordinates": [LON, LAT]},
    }
    settled = configuration.load(environ=shift.outside.env)
    setup = {"AMQP_URI": settled.amqp.uri, "serializer": SERIALIZER, "ACCEPT": [SERIALIZER]}
    with ClusterRpcProxy(setup, timeout=20) as cluster:
        return cluster.location.try_zones(tenant_id=shift.into, document=json.dumps(feature))


def test_a_replay_that_is_stopped_tells_what_it_sent_and_another_tenant_is_never_touched(
    shift: Shift,
) -> None:
    command = [sys.executable, "-m", "ops.cli", *shift.arguments("--speed", "5")]
    running = subprocess.Popen(
        command,
        env=shift.outside.env,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        line = running.stderr.readline()
        assert f"of {len(WALK):,} fixes sent" in line, line
        refused = run_vigil(shift.outside.env, *shift.arguments(), check=False)
        assert "another replay goes into tenant" in refused
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert "stopped; waiting for what was sent" in err
    assert running.returncode == 1
    found = json.loads(out)
    assert 0 < found["sent"] < len(WALK)
    assert (found["stored"], found["complete"]) == (found["sent"], False)
    theirs = [*shift.arguments()[:-3], "--into", str(shift.company)]
    assert f"tenant {shift.company} is in use" in run_vigil(shift.outside.env, *theirs, check=False)
    assert shift.outside.rows("SELECT name FROM zone WHERE tenant_id = %s", shift.company) == [("Yard",)]


def test_a_file_that_is_wrong_is_named_by_line_and_field_before_anything_is_done(shift: Shift) -> None:
    shift.file.write_text(shift.file.read_text().replace(str(LON), "east"))
    said = run_vigil(shift.outside.env, *shift.arguments(), check=False)
    assert said.strip() == (
        f"vigil: {shift.file}: line 2: lon is 'east'; it must be a number, -180 to 180;"
        f" none of the {len(WALK)} points can be used"
    )
    assert shift.outside.rows("SELECT 1 FROM tenant WHERE tenant_id = %s", shift.into) == []
