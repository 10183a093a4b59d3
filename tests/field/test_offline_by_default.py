"""Tests that sources become OFFLINE without any configuration.

The time before a source was watched never counts.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

OFFLINE = "SELECT status FROM mqtt_device_alert WHERE source_id = %s AND alert_type = 'OFFLINE' ORDER BY received_at"
LIMITS_S = {"device": 93_600, "sensor": 93_600, "system": 300, "alert": 86_400}
TOPICS: dict[str, tuple[str, dict[str, Any]]] = {
    "device": ("device/{}/telemetry", {"battery": 80}),
    "sensor": ("sensor/{}/status", {"type": "DOOR", "state": "CLOSED"}),
    "system": ("system/health/{}", {"cpu": 10}),
    "alert": ("alert/sos/{}", {"message": "test press"}),
}


def registered(outside: OutsideClients, family: str) -> str:
    source = f"{family}-{secrets.token_hex(6)}"
    run_vigil(outside.env, "device", "add", source, "--family", family, "--no-credential")
    return source


def let_pass(outside: OutsideClients, source: str, seconds: float) -> None:
    """Move the source's registration, and the start of all services, so many seconds into the past."""
    for statement in (
        "UPDATE road_heard SET since = since - make_interval(secs => %s) WHERE service = 'telemetry'",
        "UPDATE offline_limit SET since = since - make_interval(secs => %s)",
    ):
        outside.execute(statement, seconds)
    outside.execute(
        "UPDATE device SET watched_since = watched_since - make_interval(secs => %s) WHERE device_id = %s",
        seconds,
        source,
    )


def test_a_source_is_offline_after_its_family_s_limit_and_back_with_its_next_message(
    outside: OutsideClients,
) -> None:
    # Given two sources of each family that never sent a message
    sources = {family: (registered(outside, family), registered(outside, family)) for family in LIMITS_S}
    for family in LIMITS_S:
        outside.until(
            lambda family=family: outside.rows("SELECT 1 FROM offline_limit WHERE family = %s", family)  # type: ignore[misc]
        )
    # When the limit has passed for the first one, and is about to pass for the second
    for family, (silent, younger) in sources.items():
        let_pass(outside, younger, LIMITS_S[family] - 120)
        let_pass(outside, silent, LIMITS_S[family] + 1)
    # Then the first one is OFFLINE, until it sends a message
    outside.until(lambda: statuses(outside, sources) == dict.fromkeys(LIMITS_S, [("NEW",)]), timeout_s=30)
    for family, (silent, _) in sources.items():
        topic, payload = TOPICS[family]
        outside.publish(topic.format(silent), payload)
    outside.until(
        lambda: statuses(outside, sources) == dict.fromkeys(LIMITS_S, [("RESOLVED",)]), timeout_s=30
    )
    # And the second one is not
    assert [outside.rows(OFFLINE, younger) for _, younger in sources.values()] == [[]] * len(LIMITS_S)


def statuses(
    outside: OutsideClients, sources: dict[str, tuple[str, str]]
) -> dict[str, list[tuple[Any, ...]]]:
    """Return the statuses of the alerts of each family's first source."""
    return {family: outside.rows(OFFLINE, silent) for family, (silent, _) in sources.items()}


def test_a_device_has_a_limit_of_its_own_over_the_api_and_the_command(outside: OutsideClients) -> None:
    source = registered(outside, "sensor")
    path = f"/api/v1/devices/{source}"
    token = outside.token(role="admin")
    change = {"silence_limit_s": 600}
    assert outside.request("PUT", f"{path}/silence-limit", change, token=token)[0] == 204
    assert outside.request("GET", path, token=token)[1]["silence_limit_s"] == 600
    let_pass(outside, source, 601)
    outside.until(lambda: outside.rows(OFFLINE, source) == [("NEW",)], timeout_s=30)
    said = run_vigil(outside.env, "device", "limit", source, "never")
    assert said == f"device {source}: offline limit is never\n"
    outside.until(lambda: outside.rows(OFFLINE, source) == [("RESOLVED",)], timeout_s=30)
    run_vigil(outside.env, "device", "limit", source, "default")
    assert outside.request("GET", path, token=token)[1]["silence_limit_s"] is None


@pytest.mark.parametrize("wrong", [-1, "5", 1e9, True, [], {"a": 1}])
def test_a_limit_that_is_none_is_refused(outside: OutsideClients, wrong: object) -> None:
    path = f"/api/v1/devices/x-{outside.run}/silence-limit"
    status, _ = outside.request("PUT", path, {"silence_limit_s": wrong}, token=outside.token(role="admin"))
    assert status == 400


def test_a_limit_is_set_by_admins_alone_and_for_devices_that_there_are(outside: OutsideClients) -> None:
    path = f"/api/v1/devices/x-{outside.run}/silence-limit"
    change = {"silence_limit_s": 60}
    assert outside.request("PUT", path, change, token=outside.token(role="operator"))[0] == 403
    assert outside.request("PUT", path, change, token=outside.token(role="admin"))[0] == 404
