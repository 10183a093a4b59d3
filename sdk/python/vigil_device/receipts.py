"""Parser of the receipts that Vigil publishes. Pure."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from vigil_device.messages import Receipt


def read(payload: bytes) -> Receipt | None:
    """Return the receipt; None when the bytes hold no receipt of a message.

    Unknown fields are ignored.
    """
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    msg_id, status = body.get("msg_id"), body.get("status")
    if not isinstance(msg_id, str) or not isinstance(status, str):
        return None
    return Receipt(
        msg_id,
        status,
        _time(body.get("at")),
        _text(body, "alert_id"),
        _text(body, "by"),
        _text(body, "reason"),
        body.get("silent") is True,
    )


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) else None


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    # Python 3.9 reads neither a Z nor a fraction of other than 3 or 6 digits.
    text = value.replace("Z", "+00:00")
    head, dot, rest = text.partition(".")
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
