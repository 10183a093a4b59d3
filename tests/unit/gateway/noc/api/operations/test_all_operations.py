"""Tests that the table matches the services that it calls."""

import inspect

import pytest

from gateway.noc.api.operation import Nothing, Operation
from gateway.noc.api.operations.all_operations import OPERATIONS
from services.alerts.service import AlertsService
from services.directory.service import DirectoryService
from services.location.service import LocationService
from services.notifications.service import NotificationsService
from services.telemetry.service import TelemetryService

SERVICES = {
    s.name: s
    for s in (AlertsService, DirectoryService, LocationService, NotificationsService, TelemetryService)
}


def test_no_two_operations_share_a_name_or_a_place() -> None:
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_the_rpc_is_there_and_takes_what_the_operation_gives(operation: Operation) -> None:
    parameters = inspect.signature(getattr(SERVICES[operation.service], operation.rpc)).parameters
    given = {*operation.places, "tenant_id"} | ({"by"} if operation.signed else set())
    for shape in (operation.query, operation.body):
        given |= set(shape.__struct_fields__) if shape is not Nothing else set()
    given |= {"limit"} if operation.paged or operation.limited else set()
    given |= set(operation.fixed) | ({"across"} if operation.across else set())
    given |= {"role"} if operation.ranked else set()
    given |= {"after"} if operation.cursor else set()
    free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    assert free or given <= set(parameters), operation.id
    needed = {
        name
        for name, p in parameters.items()
        if p.default is inspect.Parameter.empty
        and name != "self"
        and p.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert needed <= given, operation.id


def test_whoever_only_looks_changes_nothing() -> None:
    """A shape is too long for a query string, so that operation is a POST."""
    asked = [o for o in OPERATIONS if o.role == "viewer" and o.id != "guards_within"]
    assert {operation.method for operation in asked} == {"GET"}
