"""Admission of messages by the registry, and the store of refused messages.

The registry decides about the sender of a message. The payload only claims one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection, text

from services.contracts.errors import InvalidMessage
from services.contracts.events import RejectedMessage
from services.contracts.families import Origin
from services.ingestion.claims import objections
from services.ingestion.source_registry import Source
from services.platform import metrics, security_events
from services.platform.security_events import IDENTITY_REASONS

M = TypeVar("M")

INSERT_REJECTED = text(
    """
    INSERT INTO rejected_message AS r
        (message_key, topic, payload, reason, detail, received_at, source_id, tenant_id, occurrences)
    VALUES (:key, :topic, :payload, :reason, :detail, :received_at, :source_id, :tenant_id, :count)
    ON CONFLICT (message_key) DO UPDATE SET occurrences = r.occurrences + excluded.occurrences
        WHERE r.reason = 'rate_limited'
    """
)
"""Store a refused message.

When a source exceeds its rate limit, one row stands for all its messages refused within a minute,
and counts them.
"""


def admit(origin: Origin, source: Source | None) -> Source:
    """Return the registered source of a message.

    Raises:
        InvalidMessage: The source is unknown or disabled, or the message claims another tenant.
    """
    found = objections(
        origin,
        known=source is not None,
        enabled=source is not None and source.enabled,
        tenant_id=source.tenant_id if source is not None else None,
    )
    if source is None or found:
        raise found[0]
    return source


def sort_out(
    messages: Sequence[M], sources: Mapping[str, Source], *, origin_of: str = "origin"
) -> tuple[list[tuple[M, Source]], list[RejectedMessage]]:
    """Split messages into admitted ones, each once with its source, and refused ones."""
    admitted: dict[bytes, tuple[M, Source]] = {}
    refused: list[RejectedMessage] = []
    for message in messages:
        origin: Origin = getattr(message, origin_of)
        source = sources.get(origin.source_id)
        try:
            admitted.setdefault(origin.key, (message, admit(origin, source)))
        except InvalidMessage as error:
            refused.append(rejected(origin, error, tenant_id=source.tenant_id if source else None))

    return list(admitted.values()), refused


def rejected(origin: Origin, error: InvalidMessage, *, tenant_id: int | None = None) -> RejectedMessage:
    """Return the refused form of a message that was decoded already."""
    return RejectedMessage(
        origin.key,
        origin.topic,
        origin.raw.encode(),
        error.reason,
        error.detail,
        origin.received_at,
        origin.source_id,
        tenant_id,
        msg_id=origin.msg_id,
    )


def keep_rejected(connection: Connection, messages: Sequence[RejectedMessage]) -> int:
    """Store refused messages, each once; return how many were new."""
    if not messages:
        return 0

    rows = [
        {
            "key": UUID(bytes=message.key),
            "topic": message.topic,
            "payload": message.payload,
            "reason": message.reason,
            "detail": message.detail.replace("\0", ""),
            "received_at": message.received_at,
            "source_id": message.source_id,
            "tenant_id": message.tenant_id,
            "count": message.count,
        }
        for message in messages
    ]
    return sum(connection.execute(INSERT_REJECTED, row).rowcount for row in rows)


def count_rejected(messages: Sequence[RejectedMessage]) -> None:
    """Count the refusals made after the gateway. The gateway counts its own."""
    for message in messages:
        metrics.mqtt_message_rejected.labels(message.topic.split("/", 1)[0], message.reason).inc()
    note_impostors([message.reason for message in messages])


def note_impostors(reasons: Iterable[str]) -> None:
    """Record refusals about the sender's identity as security events, one log line a reason."""
    for reason, count in Counter(reasons).items():
        if reason in IDENTITY_REASONS:
            security_events.note(reason, count=count)
