"""Ids that a caller gives as text. Pure."""

from __future__ import annotations

from uuid import UUID

from services.contracts.errors import NotFound


def as_alert_id(text_form: str) -> UUID:
    """Return an alert id. Raises `NotFound` for a text that is no alert id at all."""
    try:
        return UUID(text_form)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotFound(f"no alert {text_form!r}") from error
