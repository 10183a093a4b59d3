"""Tests that the declaration of privileges matches the code: events, RPCs, and every table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from ops.environment import PROJECT
from ops.processes import PROCESSES, service_class
from ops.servers import privileges
from ops.servers.privileges import OF_OPERATORS, OWN_URLS, PRIVILEGES, of_process
from ops.servers.rabbitmq_users import calls_of
from services.messaging.consumer import EventHandler
from services.messaging.publisher import Publisher
from services.messaging.rpc_calls import MeasuredRpc, RpcProxy

SOURCES = {
    "mqtt_gateway": ("gateway/mqtt/**/*.py",),
    "noc_gateway": ("gateway/noc/*.py", "gateway/noc/auth/*.py", "gateway/noc/websocket/*.py"),
    "noc_api": ("gateway/noc/api/**/*.py",),
    "watchdog": ("ops/watchdog/**/*.py",),
}
"""Files of a service that has no folder of its own under `services`."""
ALL = list(PROCESSES)


def _entrypoints(process: str, kind: type) -> Iterator[tuple[str, object]]:
    for name, method in inspect.getmembers(service_class(process), inspect.isfunction):
        for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ()):
            if isinstance(entrypoint, kind):
                yield name, entrypoint


def test_every_process_has_an_entry() -> None:
    assert list(PRIVILEGES) == ALL


@pytest.mark.parametrize("process", ALL)
def test_the_events_consumed_are_those_of_the_handlers(process: str) -> None:
    handlers = {
        (entrypoint.source_service, entrypoint.event_type, name)
        for name, entrypoint in _entrypoints(process, EventHandler)
        if isinstance(entrypoint, EventHandler)
    }
    assert set(PRIVILEGES[process].consumes) == handlers


@pytest.mark.parametrize("process", ALL)
def test_the_service_its_rpcs_and_its_events_are_those_of_the_class(process: str) -> None:
    cls, may = service_class(process), PRIVILEGES[process]
    publishes = any(isinstance(value, Publisher) for value in vars(cls).values())
    assert may.service == cls.name
    assert may.serves_rpc == any(_entrypoints(process, MeasuredRpc))
    assert bool(may.publishes) == publishes


def test_every_event_that_is_consumed_is_published_by_its_service() -> None:
    published = {(may.service, event) for may in PRIVILEGES.values() for event in may.publishes}
    consumed = {event[:2] for may in PRIVILEGES.values() for event in may.consumes}
    assert consumed <= published


@pytest.mark.parametrize("process", ALL)
def test_the_rpcs_that_the_code_names_are_those_declared(process: str) -> None:
    """A process may call every RPC that its code names on one of its own proxies."""
    proxies = {
        name for name, value in inspect.getmembers(service_class(process)) if isinstance(value, RpcProxy)
    }
    served = {
        (PRIVILEGES[other].service, name) for other in ALL for name, _ in _entrypoints(other, MeasuredRpc)
    }
    patterns = SOURCES.get(PRIVILEGES[process].service, (f"services/{process}/**/*.py",))
    sources = "\n".join(path.read_text() for pattern in patterns for path in sorted(PROJECT.glob(pattern)))
    named = {
        (service, method) for service, method in served if re.search(rf"\b{service}\.{method}\b", sources)
    }
    declared = calls_of(process)
    assert {call for call in named if call[0] in proxies} <= declared
    assert declared <= served
    assert {service for service, _ in declared} == proxies


def test_secrets_of_operators_and_servers_are_given_to_no_process() -> None:
    for may in PRIVILEGES.values():
        assert not may.secrets & OF_OPERATORS
        assert ("DATABASE_URL" in may.secrets) == bool(may.tables)
        assert ("REDIS_URL" in may.secrets) == (may.redis is not None)
        assert "AMQP_URI" in may.secrets
    assert set(OWN_URLS) <= privileges.SECRETS


def test_no_process_may_do_everything() -> None:
    tables = {table for may in PRIVILEGES.values() for grants in may.tables.values() for table in grants}
    for process, may in PRIVILEGES.items():
        own = {table for grants in may.tables.values() for table in grants}
        assert len(own) < len(tables) * 0.7, process
        assert may.secrets < privileges.SECRETS


def test_instances_of_a_process_share_its_privileges() -> None:
    assert of_process("telemetry@2") is PRIVILEGES["telemetry"]
    with pytest.raises(KeyError):
        of_process("unknown")
