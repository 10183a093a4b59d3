import base64
import hashlib
import re
from itertools import product

import pytest

from ops.servers.privileges import PRIVILEGES
from ops.servers.rabbitmq_users import NOTHING, any_of, calls_of, definitions, rights_of
from services.messaging.topology import event_queue_name

DELAYS = [1, 5]
UUID = "3f0c7a52-8f0a-4a5e-9d2c-0a1b2c3d4e5f"


def topic(process: str, exchange: str) -> tuple[str, str]:
    [found] = [t for t in rights_of(process, retry_delays_s=DELAYS).topics if t.exchange == exchange]
    return found.write, found.read


def test_a_pattern_matches_whole_names_only() -> None:
    assert any_of([]) == NOTHING
    pattern = any_of([re.escape("rpc.alerts")])
    assert re.search(pattern, "rpc.alerts")
    for other in ("rpc.alertsx", "xrpc.alerts", "rpcxalerts", "rpc.alerts.more", ""):
        assert not re.search(pattern, other)


def test_a_process_reads_and_declares_its_own_queues_and_no_other() -> None:
    queues = {
        (process, event_queue_name(source, event, may.service, handler))
        for process, may in PRIVILEGES.items()
        for source, event, handler in may.consumes
    }
    for process, (owner, queue) in product(PRIVILEGES, queues):
        rights = rights_of(process, retry_delays_s=DELAYS)
        for pattern in (rights.configure, rights.read, rights.write):
            assert bool(re.search(pattern, queue)) == (process == owner)


def test_calls_are_limited_by_routing_key() -> None:
    write, read = topic("location", "nameko-rpc")
    assert re.search(write, "alerts.list_alerts")
    assert re.search(write, UUID), "it answers what it is asked"
    for call in (
        "directory.open_session",
        "alerts.acknowledge_alert",
        "alerts.list_alerts.x",
        "#",
        "alerts.*",
    ):
        assert not re.search(write, call)
    assert re.search(read, "location.*")
    for key in ("directory.*", "#", "*.*", "*", "location.#"):
        assert not re.search(read, key)


def test_who_only_calls_answers_nobody() -> None:
    write, read = topic("watchdog", "nameko-rpc")
    assert not re.search(write, UUID)
    assert re.search(read, UUID)


def test_the_gateways_of_mqtt_call_nobody() -> None:
    for process in ("mqtt_gateway-alert", "mqtt_gateway-bulk"):
        rights = rights_of(process, retry_delays_s=DELAYS)
        assert calls_of(process) == set()
        assert not re.search(rights.write, "nameko-rpc")
        assert not re.search(rights.read, "nameko-rpc")


def test_a_retry_goes_back_to_a_queue_of_the_process_itself() -> None:
    own = event_queue_name("mqtt_gateway", "guard_gps_received", "location", "process_guard_gps")
    for exchange in ("vigil.retry.1s", "vigil.retry.5s"):
        write, read = topic("location", exchange)
        assert read == NOTHING
        assert re.search(write, own)
        assert not re.search(write, own.replace("location", "alerts"))
        assert not re.search(write, "rpc.directory")


def test_the_directory_sends_dead_letters_to_event_queues_only() -> None:
    write, _ = topic("directory", "vigil.retry.1s")
    assert re.search(write, "evt-telemetry-alert_condition_met--alerts.open_for_telemetry")
    assert not re.search(write, "rpc.alerts")
    assert not re.search(write, "vigil.dead")


@pytest.mark.parametrize("process", list(PRIVILEGES))
def test_nobody_may_publish_to_the_default_exchange(process: str) -> None:
    rights = rights_of(process, retry_delays_s=DELAYS)
    for pattern in (rights.configure, rights.write, rights.read):
        for name in ("amq.default", "", "amq.topic", "mine"):
            assert not re.search(pattern, name) or pattern == NOTHING


def test_definitions_hold_hashes_and_no_password() -> None:
    made = definitions(
        {"telemetry": "t-password"},
        operator_password="o-password",
        vhost="v",
        retry_delays_s=DELAYS,
    )
    assert "password" not in str(made).replace("password_hash", "").replace("rabbit_password_hashing", "")
    held = {user["name"]: base64.b64decode(user["password_hash"]) for user in made["users"]}
    salt, hashed = held["telemetry"][:4], held["telemetry"][4:]
    assert hashed == hashlib.sha256(salt + b"t-password").digest()
    assert held["vigil"][:4] != salt
    assert all(user["tags"] == [] for user in made["users"])
    assert {permission["vhost"] for permission in made["permissions"]} == {"v"}
    assert {t["user"] for t in made["topic_permissions"]} == {"telemetry"}


@pytest.mark.parametrize("process", PRIVILEGES)
def test_an_exchange_is_named_once_for_each_process(process: str) -> None:
    """RabbitMQ keeps the last line: a service that consumes its own events could publish none."""
    named = [topic.exchange for topic in rights_of(process, retry_delays_s=[1, 5]).topics]
    assert len(named) == len(set(named))


def test_a_service_that_consumes_its_own_events_publishes_them() -> None:
    [topic] = [t for t in rights_of("location", retry_delays_s=[1]).topics if t.exchange == "location.events"]
    assert re.match(topic.write, "guard_fixes_held") and re.match(topic.write, "positions_stored")
    assert re.match(topic.read, "guard_fixes_held") and not re.match(topic.read, "positions_stored")


@pytest.mark.parametrize("process", PRIVILEGES)
def test_a_process_sends_heartbeats_under_its_own_name_alone(process: str) -> None:
    write, read = topic(process, "vigil.heartbeats")
    assert {other for other in PRIVILEGES if re.search(write, other)} == {process}
    assert bool(re.search(write, "check")) == (process == "watchdog")
    assert not re.search(read, "#")
    hears = set()
    if process in ("noc_gateway", "noc_api"):
        hears = set(PRIVILEGES)
    if process in ("telemetry", "location", "alerts"):
        hears = {process}
    assert {other for other in PRIVILEGES if re.search(read, other)} == hears


def test_who_hears_heartbeats_hears_them_in_a_queue_of_its_own() -> None:
    own, others = f"heartbeats-noc_gateway-{UUID}", (f"heartbeats-noc_api-{UUID}", "heartbeats-noc_gateway-x")
    for process in PRIVILEGES:
        rights = rights_of(process, retry_delays_s=DELAYS)
        for pattern in (rights.configure, rights.write, rights.read):
            assert bool(re.search(pattern, own)) == (process == "noc_gateway")
            assert process == "noc_api" or not any(re.search(pattern, name) for name in others)
