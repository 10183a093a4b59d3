"""Tests that the document is valid by OpenAPI's own schema, and names every operation."""

import json

import msgspec

from gateway.noc.api.openapi import document
from gateway.noc.api.operations.all_operations import OPERATIONS


def test_every_operation_is_described_with_its_roles_errors_and_parameters() -> None:
    made = json.loads(msgspec.json.encode(document(OPERATIONS, version="1")))
    described = {(path, method) for path, methods in made["paths"].items() for method in methods}
    assert described == {(f"/api/v1{o.path}", o.method.lower()) for o in OPERATIONS}
    alerts = made["paths"]["/api/v1/alerts"]["get"]
    assert {p["name"] for p in alerts["parameters"]} == {
        "status",
        "severity",
        "source_id",
        "site_id",
        "limit",
        "cursor",
    }
    assert alerts["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array"
    assert "operator" in made["paths"]["/api/v1/alerts/{alert_id}/assign"]["post"]["description"]
    shift = made["paths"]["/api/v1/shifts/{shift_id}"]["delete"]["parameters"]
    assert shift[0]["schema"]["minimum"] == 1


def test_every_reference_leads_somewhere() -> None:
    text = msgspec.json.encode(document(OPERATIONS, version="1")).decode()
    made = json.loads(text)
    references = {part.split('"')[0] for part in text.split('"$ref":"#/components/schemas/')[1:]}
    assert references
    assert references <= set(made["components"]["schemas"])
