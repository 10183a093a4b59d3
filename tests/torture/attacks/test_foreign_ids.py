"""Tests of one tenant's supervisor and devices that try to use the ids of another.

The honest source is received in its own tenant.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from services.directory.registry.source_ids import NOT_FREE
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

ROUNDS = 40
REGISTERED = "SELECT tenant_id FROM source_id WHERE source_key = %s"
ALERTS = "SELECT tenant_id, message FROM mqtt_device_alert WHERE source_id = %s ORDER BY received_at"


class Honest:
    """A tenant with five sources.

    They are a guard, a guard with a number as name, a button, a sensor and a device with digits
    as name.
    """

    def __init__(self, outside: OutsideClients) -> None:
        self.outside = outside
        number = int(outside.run, 16)
        self.tenant = 40_000_000 + number % 10_000_000
        self.attacker = self.tenant + 10_000_000
        for tenant in (self.tenant, self.attacker):
            run_vigil(outside.env, "tenant", "add", str(tenant), f"Tenant {tenant}")
        self.guard = f"guard-h{outside.run}"
        self.numbered = f"guard-{number}"
        self.button = f"button-{outside.run}"
        self.sensor = f"smoke-{outside.run}"
        self.digits = f"9{number}"
        for kind, its_id, *options in (
            ("guard", self.guard),
            ("guard", str(number)),
            ("device", self.button, "--family", "alert"),
            ("device", self.sensor, "--family", "sensor"),
            ("device", self.digits),
        ):
            run_vigil(
                outside.env, kind, "add", its_id, *options, "--tenant", str(self.tenant), "--no-credential"
            )

    @property
    def spellings(self) -> list[str]:
        """Return every way to write one of the ids."""
        number = self.numbered.removeprefix("guard-")
        held = [self.guard, self.numbered, self.button, self.sensor, self.digits]
        return [*held, number, f"guard-{self.digits}"]

    def keys(self) -> dict[str, list[tuple[Any, ...]]]:
        held = [self.guard, self.numbered, self.button, self.sensor, f"guard-{self.digits}"]
        return {key: self.outside.rows(REGISTERED, key) for key in held}


@pytest.fixture
def honest(outside: OutsideClients) -> Honest:
    return Honest(outside)


def ask(
    outside: OutsideClients, kind: str, its_id: str, tenant: int, *, family: str = "alert"
) -> tuple[int, Any]:
    """Create an id as the tenant's admin by POST."""
    body = {"guard_id": its_id} if kind == "guards" else {"device_id": its_id, "family": family}
    token = outside.token(tenant_id=tenant, role="admin")
    return outside.request("POST", f"/api/v1/{kind}", body, token=token)


def test_whoever_reaches_for_an_id_gets_one_answer_and_the_source_is_still_heard(
    outside: OutsideClients, honest: Honest, tmp_path: Path
) -> None:
    # Given two tenants, the first with five sources
    before = honest.keys()
    answers = set()

    # When the other's admin registers each of their ids in every kind, and so does their own
    for tenant in (honest.attacker, honest.tenant):
        for its_id in honest.spellings:
            for kind, family in (
                ("guards", ""),
                ("devices", "device"),
                ("devices", "sensor"),
                ("devices", "system"),
                ("devices", "alert"),
            ):
                status, said = ask(outside, kind, its_id, tenant, family=family)
                answers.add((status, said["detail"]))

    # and by the command, from a file
    for kind in ("guard", "device"):
        file = tmp_path / f"{kind}.csv"
        file.write_text("id\n" + "".join(f"{its_id}\n" for its_id in honest.spellings))
        said = run_vigil(
            outside.env, kind, "import", str(file), "--tenant", str(honest.attacker), check=False
        )
        assert f"0 added, {len(honest.spellings)} refused" in said

    # and strangers publish under these ids in other families, where registration is open
    outside.publish(f"guard/{honest.button}/gps", {"lat": 1.0, "lon": 1.0})
    outside.publish(f"guard/{honest.digits}/gps", {"lat": 1.0, "lon": 1.0})
    outside.publish(f"guard/{honest.sensor}/gps", {"lat": 1.0, "lon": 1.0})
    outside.publish(f"device/{honest.guard}/telemetry", {"battery": 50})
    outside.publish(f"system/health/{honest.numbered}", {"cpu": 5})
    outside.publish(f"sensor/{honest.button}/reading", {"type": "SMOKE", "value": 1})
    refused = "SELECT count(*) FROM rejected_message WHERE topic = ANY(%s)"
    topics = [f"guard/{name}/gps" for name in (honest.button, honest.digits, honest.sensor)]
    outside.until(lambda: outside.rows(refused, topics) == [(3,)])
    stored = "SELECT tenant_id FROM mqtt_device_telemetry WHERE device_id = %s"
    outside.until(lambda: outside.rows(stored, honest.guard) == [(honest.tenant,)])

    # Then all get the same answer, nothing was registered,
    assert answers == {(409, NOT_FREE)}
    assert honest.keys() == before
    assert set(before.values().__iter__().__next__()) == {(honest.tenant,)}
    # and the sources' messages arrive in their tenant, and the other tenant cannot disable
    # the sources
    token = outside.token(tenant_id=honest.attacker, role="admin")
    for kind, its_id in (("guards", honest.button), ("devices", honest.button), ("guards", honest.guard)):
        status, _ = outside.request("PATCH", f"/api/v1/{kind}/{its_id}", {"enabled": False}, token=token)
        assert status == 404
    for its_id in honest.spellings:
        outside.publish(f"alert/panic/{its_id}", {"message": f"help, {its_id}"})
    for its_id in honest.spellings:
        rows = outside.until(lambda its_id=its_id: outside.rows(ALERTS, its_id))
        assert {row[0] for row in rows} == {honest.tenant}, its_id


def test_a_foreign_id_takes_as_long_as_an_own_one(outside: OutsideClients, honest: Honest) -> None:
    """The statement and the index are the same: the medians are of one class."""
    taken: dict[str, list[float]] = {"foreign": [], "own": []}
    for _ in range(ROUNDS):
        for whose, tenant in (("foreign", honest.attacker), ("own", honest.tenant)):
            started_s = time.perf_counter()
            status, _ = ask(outside, "guards", honest.button, tenant)
            taken[whose].append(time.perf_counter() - started_s)
            assert status in (409, 429)
    foreign, own = (statistics.median(taken[whose]) for whose in ("foreign", "own"))
    print(f"foreign {foreign * 1000:.1f} ms, own {own * 1000:.1f} ms")
    assert abs(foreign - own) < max(0.01, 0.5 * own)
