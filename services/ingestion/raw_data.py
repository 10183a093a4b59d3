"""Payloads that are stored beside their columns: those that say more than the columns hold. Pure.

Most payloads say nothing else, and a payload takes as much room as all columns of its row. A
payload is left out on three conditions. Every field is known. Each field is written as its column
stores it. Nothing about the message is in doubt.

Some fields have served their purpose, and are no reason to keep a payload: `sent_at`, and ids that
were compared with the topic and the registry.

The known fields and words are those of `services/contracts/families.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from services.contracts.families import BATCHED, PYTHON_TYPES, BatchedFamily, Column, Origin

ALARM_TOPIC = "/alarm"


class KnownFields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Fields of every family that a row gives back, or that have no further use once checked."""

    timestamp: str | float | None = None
    msg_id: str | None = None
    client_id: int | str | None = None
    source_id: int | str | None = None
    sent_at: str | float | None = None
    buffered: bool | None = None


def _told_by(row: BatchedFamily) -> type[KnownFields]:
    """Return the type of payloads that a row of a family's table gives back in full."""
    fields = [(name, _values(column) | None, None) for name, column in row.fields.items() if column.is_sent]
    claims = [(name, int | str | None, None) for name in row.claims]
    made = msgspec.defstruct(
        f"ToldBy{row.payload}", [*fields, *claims], bases=(KnownFields,), module=__name__, gc=False
    )
    assert issubclass(made, KnownFields), "it has the fields of every family"
    return made


def _values(column: Column) -> Any:
    """Return the type of the values that a column can give back."""
    words = sorted(column.words - {column.other})
    return Literal[tuple(words)] if words else PYTHON_TYPES[column.sql]


_DECODERS: Mapping[str, msgspec.json.Decoder[KnownFields]] = {
    row.source_column: msgspec.json.Decoder(_told_by(row)) for row in BATCHED
}
"""Decoders by the column of the source."""


def to_keep(source_column: str, origin: Origin) -> str | None:
    """Return the payload when it says more than its row; None when the row says it all."""
    if origin.quality or origin.buffered or origin.topic.endswith(ALARM_TOPIC):
        return origin.raw
    try:
        told = _DECODERS[source_column].decode(origin.raw)
    except (msgspec.DecodeError, ValueError):  # an unknown field, or another writing of a known one
        return origin.raw
    # A time that is not believed has no column; an id of the message has one.
    is_told = told.msg_id == origin.msg_id and not (origin.clock_suspect and told.timestamp is not None)
    return None if is_told else origin.raw
