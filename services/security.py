"""Security events: what should not happen, counted and logged where it is seen, and never with a secret in it."""

from __future__ import annotations

import structlog

from services import metrics

log = structlog.get_logger(__name__)

IDENTITY_REASONS = frozenset({"unknown_source", "source_disabled", "identity_mismatch"})
"""Reasons of refusal by which somebody speaks who may not, or for another."""


def note(event: str, *, count: int = 1, **facts: str | int) -> None:
    """Count an event; the log has the facts, the metric no names."""
    metrics.security_event.labels(event).inc(count)
    log.warning("security_event", security_event=event, count=count, **facts)
