"""The HTTP API as OpenAPI 3.1, generated from the table and from the request types. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.noc.api.operation import DEFAULT_LIMIT, MAX_LIMIT, Nothing, Operation

REFERENCE = "#/components/schemas/{name}"
ROLES = "The token's role must be `{role}` or above."
PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}
ERRORS = {
    400: "The request is not valid; `detail` names the field",
    401: "No valid token",
    403: "The role does not allow it",
    404: "Not found in this tenant",
    409: "The request conflicts with stored data",
    413: "The body is too large",
    429: "Too many requests",
    503: "A service is not available; try again",
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes a request safe to send again: it is done once, and answered the same for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


def document(operations: Sequence[Operation], *, version: str) -> dict[str, Any]:
    """Return the whole document, ready for JSON."""
    types = _types(operations)
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schema_of = dict(zip(map(id, types), schemas, strict=True))

    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, schema_of, components)
        paths.setdefault(f"/api/v1{operation.path}", {})[operation.method.lower()] = described

    return {
        "openapi": "3.1.0",
        "info": {"title": "Vigil", "version": version, "description": __doc__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "POST /api/v1/session gives one.",
                }
            },
        },
    }


def _types(operations: Sequence[Operation]) -> list[Any]:
    wanted: dict[int, Any] = {}
    for operation in operations:
        for kind in (operation.answer, operation.query, operation.body, *operation.types.values()):
            if kind is not None and kind is not Nothing:
                wanted[id(kind)] = kind
    return list(wanted.values())


def _operation(
    operation: Operation, schema_of: Mapping[int, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": ROLES.format(role=operation.role),
        "tags": [operation.tag],
        "parameters": _parameters(operation, schema_of, components),
        "responses": _responses(operation, schema_of),
    }

    if operation.body is not Nothing:
        described["requestBody"] = {
            "description": f"At most {operation.max_body_bytes} bytes.",
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": schema_of[id(operation.body)]}},
        }

    return described


def _parameters(
    operation: Operation, schema_of: Mapping[int, Any], components: Mapping[str, Any]
) -> list[dict[str, Any]]:
    found = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": schema_of[id(operation.types[name])] if name in operation.types else {"type": "string"},
        }
        for name in operation.places
    ]

    if operation.query is not Nothing:
        shape = components[operation.query.__name__]
        found += [
            {"name": name, "in": "query", "required": name in shape.get("required", ()), "schema": schema}
            for name, schema in shape["properties"].items()
        ]

    if operation.paged or operation.limited:
        found.append({"name": "limit", "in": "query", "schema": LIMIT_SCHEMA})

    if operation.paged:
        found.append(
            {
                "name": "cursor",
                "in": "query",
                "description": "From the `Link` header (rel=next) of the page before.",
                "schema": {"type": "string"},
            }
        )

    return [*found, KEY] if operation.method == "POST" else found


def _responses(operation: Operation, schema_of: Mapping[int, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": operation.summary}
    if operation.status != 204:
        shape = {} if operation.answer is None else {"schema": schema_of[id(operation.answer)]}
        good["content"] = {operation.media or "application/json": shape}
    if operation.paged:
        good["headers"] = {
            "Link": {"description": "Link to the next page (RFC 8288)", "schema": {"type": "string"}}
        }

    problem = {"application/problem+json": {"schema": {"$ref": REFERENCE.format(name="Problem")}}}
    errors = {str(code): {"description": text, "content": problem} for code, text in ERRORS.items()}
    return {str(operation.status): good, **errors}


Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
LIMIT_SCHEMA = {**msgspec.json.schema(Limit), "default": DEFAULT_LIMIT}
