"""Limits of lists, and the place where a list goes on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.contracts.errors import Refused


def check_limit(limit: object, *, most: int) -> int:
    """Return the limit when it is a number from 1 to `most`. Raises `Refused`."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
        raise Refused(f"limit must be a number from 1 to {most}")
    return limit


def check_tenant(tenant_id: object) -> int:
    """Return the tenant that a list is of. Raises `Refused`.

    No service answers without a tenant.
    """
    if not isinstance(tenant_id, int) or isinstance(tenant_id, bool) or not 0 <= tenant_id < 2**31:
        raise Refused("tenant_id must be the number of a tenant")
    return tenant_id


class ListOrder(NamedTuple):
    """The order of a list: columns with their types, the last of them unique."""

    columns: tuple[tuple[str, str], ...]
    descending: bool = False

    @property
    def clause(self) -> str:
        direction = " DESC" if self.descending else ""
        return "ORDER BY " + ", ".join(f"{name}{direction}" for name, _ in self.columns)


def beyond(order: ListOrder, after: object) -> tuple[str, dict[str, Any]]:
    """Return the SQL condition that a row comes after the place `after`, and its values.

    `after` has the values of the columns; None: from the beginning.

    Raises:
        Refused: `after` is no such place.
    """
    if after is None:
        return "true", {}
    if not isinstance(after, list | tuple) or len(after) != len(order.columns):
        raise Refused(
            "after must be the place of a row: one value for each column that the list is ordered by"
        )

    names = ", ".join(name for name, _ in order.columns)
    places = ", ".join(f"CAST(:after_{n} AS {kind})" for n, (_, kind) in enumerate(order.columns))
    values = {
        f"after_{n}": _value(value, kind)
        for n, (value, (_, kind)) in enumerate(zip(after, order.columns, strict=True))
    }

    return f"({names}) {'<' if order.descending else '>'} ({places})", values


def _value(value: object, kind: str) -> Any:
    try:
        return READS[kind](value)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(f"after holds {str(value)[:50]!r}, which is not {kind}") from error


def _number(value: object) -> int:
    number = int(str(value))
    if not -(2**63) <= number < 2**63:
        raise ValueError("too large")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    return value


READS: Mapping[str, Callable[[object], Any]] = {
    "timestamptz": lambda value: value if isinstance(value, datetime) else datetime.fromisoformat(str(value)),
    "uuid": lambda value: UUID(str(value)),
    "bigint": _number,
    "text": _text,
}
