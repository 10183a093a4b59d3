"""Operations of the API, and the conversion of a request to the arguments of an RPC. Pure.

To add an operation:

1. Write the RPC in the domain's service. It takes `tenant_id` and the fields below by their names.
2. Declare the operation in the domain's file of `gateway/noc/api/operations`.
3. Run `python -m ops.commands.http_api_page > docs/http-api.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from services.contracts.errors import Refused

Role = Literal["viewer", "operator", "supervisor", "admin"]
RANKS: Mapping[str, int] = {"viewer": 0, "operator": 1, "supervisor": 2, "admin": 3, "platform": 4}
PLACE = re.compile(r"\{(\w+)\}")
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_BODY_BYTES = 65_536
MAX_VALUES = 20_000
AREA_BYTES, AREA_VALUES = 1_048_576, 100_000
"""Limits of a body with a zone of ten thousand corners."""
FILE_BYTES = 4_194_304
"""Limit of a body that holds a file as one text."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters, or no body."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    A domain service's RPC serves it, with `tenant_id` of the caller's token.

    - `path` is under /api/v1. `{name}` in it is an argument.
    - `query` and `body` are the types of the other arguments.
    - `cursor` holds the answer's fields that give the next page's start, the last of them unique.
      Such a list also takes `limit` and `cursor`, and the RPC takes the fields' values as `after`
      (`services/contracts/pagination.py`).
    - `signed`: the RPC gets the caller's name as `by`.
    - `fixed`: arguments that are always the same.
    - `media`: the answer is a text of that type, not JSON.
    - `across`: the RPC learns if the caller has the role `platform`, and then covers all tenants.
    - `ranked`: the RPC gets the caller's role as `role`, and leaves out what the role does not see.
    - `max_body_bytes` and `max_values` limit a body before it is read and before it is decoded. An
      operation that takes more than the default gives the reason. The one thread that serves all
      requests handles its body.
    - `max_values` is compared with the number of commas and brackets in the body. It is 0 for
      bodies that are mostly text.
    - `heavy`: the operation takes seconds of computing, or megabytes. Few of these run at once, for
      all callers together.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    service: str
    rpc: str
    summary: str
    tag: str
    answer: Any = None
    role: Role = "viewer"
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] = Nothing
    body_optional: bool = False
    cursor: tuple[str, ...] = ()
    limited: bool = False
    signed: bool = False
    status: int = 200
    types: Mapping[str, type] = {}
    name: str = ""
    fixed: Mapping[str, Any] = {}
    media: str = ""
    across: bool = False
    ranked: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    max_values: int = MAX_VALUES
    heavy: bool = False

    @property
    def id(self) -> str:
        return self.name or self.rpc

    @property
    def paged(self) -> bool:
        """Return True when an answer may have a next page."""
        return bool(self.cursor)

    @property
    def places(self) -> list[str]:
        """Return the names in the path."""
        return PLACE.findall(self.path)

    @property
    def template(self) -> str:
        """Return the path in the notation of werkzeug's rules."""
        return PLACE.sub(r"<\1>", self.path)


def arguments(
    operation: Operation, *, places: Mapping[str, str], query: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """Return the RPC's arguments without tenant, caller and page.

    Raises `Refused` with the field's name.
    """
    found: dict[str, Any] = {
        name: _convert(name, places[name], operation.types.get(name, str)) for name in operation.places
    }
    found |= _fields(_from_text(query, operation.query))

    if operation.body is not Nothing:
        if not body and not operation.body_optional:
            raise Refused("the request needs a body: a JSON object")
        _check_size(body, most=operation.max_values)
        try:
            found |= _fields(msgspec.json.decode(body or b"{}", type=operation.body))
        except msgspec.ValidationError as error:
            raise Refused(f"body: {error}") from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise Refused(f"the body is not JSON: {error}") from error

    _check_values(found)
    return found | dict(operation.fixed)


def _from_text(query: Mapping[str, str], wanted: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.convert(dict(query), wanted, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"query: {error}") from error


def _convert(name: str, text: str, wanted: type) -> Any:
    try:
        return msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"{name}: {error}") from error


def _fields(values: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that were given. An RPC has its own defaults."""
    return {
        name: msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        for name in values.__struct_fields__
        if (value := getattr(values, name)) is not msgspec.UNSET
    }


def _check_size(body: bytes, *, most: int) -> None:
    """Check the number of values in a body, before any of them is decoded. Raises `Refused`."""
    if most and body.count(b",") + body.count(b"[") + body.count(b"{") > most:
        raise Refused(f"body: at most {most} values are taken here")


def _check_values(node: Any) -> None:
    """Check for values that cannot be stored or sent. Raises `Refused`.

    PostgreSQL stores no NUL in a text, and a message to a service holds no number beyond 64 bits.
    """
    if isinstance(node, int) and not -(2**63) <= node < 2**64:
        raise Refused("a whole number must fit into 64 bits")

    if isinstance(node, str):
        if "\0" in node:
            raise Refused("text must not hold NUL")
    elif isinstance(node, dict):
        for key, value in node.items():
            _check_values(key)
            _check_values(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _check_values(value)
