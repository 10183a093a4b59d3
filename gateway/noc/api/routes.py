"""Server of the operations' table: a request becomes an RPC, and its result the response."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from werkzeug.exceptions import NotFound as NoSuchRoute
from werkzeug.routing import Map, RequestRedirect, Rule
from werkzeug.wrappers import Request, Response

from gateway.noc.api import asyncapi, openapi, pages
from gateway.noc.api.idempotency import IdempotencyStore, StoredAnswer, digest_of
from gateway.noc.api.operation import DEFAULT_LIMIT, MAX_LIMIT, RANKS, Operation, arguments
from gateway.noc.api.operations.all_operations import OPERATIONS
from gateway.noc.auth import requests
from gateway.noc.auth.login_limit import TurnQueue
from gateway.noc.auth.tokens import Principal
from services.contracts.errors import Forbidden, NotFound, Refused

PREFIX = "/api/v1"
VERSION = "1"
BY_ID = {operation.id: operation for operation in OPERATIONS}
PAGING = ("limit", "cursor")
NOT_KEPT = {"Cache-Control": "no-store"}
"""No cache keeps personal data."""


Ask = Callable[[str, str, dict[str, Any]], Any]
"""Calls a service. The arguments are the service's name, the RPC and its arguments."""


class Api:
    """Serves the operations of the table. `heavy` is the queue of heavy operations."""

    def __init__(self, idempotency: IdempotencyStore, *, heavy: TurnQueue) -> None:
        self._idempotency = idempotency
        self._heavy = heavy
        self._map = Map(
            [Rule(o.template, methods=[o.method], endpoint=o.id) for o in OPERATIONS], strict_slashes=True
        )

    def serve(self, request: Request, path: str, principal: Principal, ask: Ask) -> Response:
        """Serve one request.

        Raises:
            Refused: The request is invalid.
            Forbidden: The caller's role is too low.
            NotFound: There is no such path.
            VigilError: The service raised this error.
        """
        operation, places = self._match(request.method, f"/{path}")
        if RANKS[principal.role] < RANKS[operation.role]:
            raise Forbidden(f"this needs the role {operation.role}, and yours is {principal.role}")

        body = requests.body_of(request, max_bytes=operation.max_body_bytes)
        key = request.headers.get("Idempotency-Key")
        called = MatchedRequest(request, operation, places, principal, body)

        if key is None or operation.method != "POST":
            return self._answer(called, ask)

        digest = digest_of(request.method, request.full_path, body)

        def do() -> StoredAnswer:
            response = self._answer(called, ask)
            return StoredAnswer(digest, response.status_code, response.get_data())

        kept = self._idempotency.once(key, principal, digest, do)
        return Response(kept.body, status=kept.status, content_type=kept.content_type, headers=NOT_KEPT)

    @cached_property
    def described(self) -> bytes:
        """Return the OpenAPI document as JSON."""
        return msgspec.json.encode(openapi.document(OPERATIONS, version=VERSION))

    @cached_property
    def described_messages(self) -> bytes:
        """Return the AsyncAPI document as JSON."""
        return msgspec.json.encode(asyncapi.document(version=VERSION))

    def _answer(self, called: MatchedRequest, ask: Ask) -> Response:
        if not called.operation.heavy:
            return _answer(called, ask)
        with self._heavy.turn(str(called.principal.tenant_id)):
            return _answer(called, ask)

    def _match(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        try:
            name, places = self._map.bind("vigil").match(path, method=method)
        except (NoSuchRoute, RequestRedirect) as error:
            raise NotFound(
                f"there is no {PREFIX}{path[:100]}; {PREFIX}/openapi.json lists the paths"
            ) from error
        return BY_ID[name], dict(places)


class MatchedRequest(NamedTuple):
    """Request with its operation, after the check of the role."""

    request: Request
    operation: Operation
    places: dict[str, str]
    principal: Principal
    body: bytes


def _answer(called: MatchedRequest, ask: Ask) -> Response:
    operation, principal = called.operation, called.principal
    query = _query(called.request)
    paging = {name: query.pop(name) for name in PAGING if name in query and _pages(operation, name)}
    given = arguments(operation, places=called.places, query=query, body=called.body)
    given |= {"tenant_id": principal.tenant_id} | ({"by": principal.login} if operation.signed else {})

    if operation.across:
        given["across"] = principal.role == "platform"
    if operation.ranked:
        given["role"] = principal.role

    limit = _limit(paging.get("limit"))
    if operation.paged or operation.limited:
        given["limit"] = limit
    if "cursor" in paging:
        given["after"] = pages.place_of(paging["cursor"], operation.cursor)

    answer = ask(operation.service, operation.rpc, given)
    if operation.status == 204:
        return Response(status=204)
    if operation.media:
        return Response(answer, content_type=operation.media, headers=NOT_KEPT)
    if operation.status == 201 and not isinstance(answer, dict):
        answer = {"id": answer}

    response = _json(msgspec.convert(answer, operation.answer), status=operation.status)
    if operation.cursor and len(answer) == limit:
        parameters = {**query, "limit": str(limit)}
        onward = pages.cursor_of(answer[-1], operation.cursor)
        response.headers["Link"] = pages.link_to(called.request.path, parameters, onward)

    return response


def _pages(operation: Operation, name: str) -> bool:
    return operation.paged or (operation.limited and name == "limit")


def _query(request: Request) -> dict[str, str]:
    """Return the query's parameters.

    Raises:
        Refused: A name appears twice, and either value may be meant.
    """
    found: dict[str, str] = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise Refused(f"query: {name[:50]!r} comes {len(values)} times; give it once")
        found[name] = values[0]
    return found


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise Refused(f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def _json(data: Any, *, status: int) -> Response:
    content = msgspec.json.encode(data)
    return Response(content, status=status, content_type="application/json", headers=NOT_KEPT)
