"""Security events: things that should not happen, counted and logged where they are seen.

No event has a secret in it.
"""

from __future__ import annotations

import structlog

from services.platform import metrics

log = structlog.get_logger(__name__)

IDENTITY_REASONS = frozenset({"unknown_source", "source_disabled", "identity_mismatch"})
"""Reasons of refusal for a sender that may not send, or that sends for another source."""


def note(event: str, *, count: int = 1, **facts: str | int) -> None:
    """Count an event and log it. The log has the facts; the metric has no names."""
    metrics.security_event.labels(event).inc(count)
    log.warning("security_event_reported", security_event=event, count=count, **facts)
