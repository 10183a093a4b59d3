"""Topics and payloads of a device's messages. Pure: time and identity come in.

`sent_at` is left out. The bytes of a message are the same for every send, so `sent_at` could only
name the first send. Then Vigil would take the age of a later send for an error of the device's
clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

FAMILIES = ("guard", "device", "sensor", "system")
MAX_BYTES = 1_048_576
"""Longest payload that Vigil accepts, in bytes."""
MAX_TEXT = 2_000
"""Most characters of an alert's text that Vigil keeps."""
MAX_EXTRA, MAX_NAMES = 500_000, 20
MAX_TOPIC = 65_535
READING_TOPICS = {
    "device": "device/{source_id}/telemetry",
    "sensor": "sensor/{source_id}/reading",
    "system": "system/health/{source_id}",
}
TOPIC_FORBIDDEN = frozenset("+#\0")
WORD_FORBIDDEN = TOPIC_FORBIDDEN | {"/"}


def alert_topic(alert_type: str, source_id: str) -> str:
    """Return `alert/<type>/<source>`.

    Raises `ValueError` for a type that cannot be part of a topic.
    """
    return f"alert/{_word(alert_type.strip().lower(), 'alert_type')}/{source_id}"


def alert_fields(
    *,
    message: str,
    severity: str | None,
    lat: float | None,
    lon: float | None,
    silent: bool,
    drill: bool,
) -> dict[str, Any]:
    """Return the fields of an alert.

    `outbox` is the device's promise: its ids never repeat, and it shows nothing of a silent
    receipt.
    """
    return {
        "message": str(message)[:MAX_TEXT],
        "severity": severity,
        "location": location(lat, lon),
        "silent": silent or None,
        "drill": drill or None,
        "outbox": True,
    }


def extra_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return further fields of an alert. No field of the caller may keep the alert back.

    Values that are no JSON become text. Fields that are too long are left out, and `left_out` names
    them.
    """
    texts = {name: value if _is_json(value) else str(value)[:MAX_TEXT] for name, value in fields.items()}
    return texts if len(json.dumps(texts)) <= MAX_EXTRA else {"left_out": sorted(texts)[:MAX_NAMES]}


def position_topic(family: str, source_id: str) -> str:
    """Return the topic of a guard's positions. Raises `ValueError` for other sources."""
    if family != "guard":
        raise ValueError(f"a {family} has no position; an Outbox with family='guard' has")
    return f"guard/{source_id}/gps"


def reading_topic(family: str, source_id: str) -> str:
    """Return the topic of a source's readings. Raises `ValueError` for a guard."""
    if family not in READING_TOPICS:
        raise ValueError("a guard has no readings; put battery into send_position, or use family='device'")
    return READING_TOPICS[family].format(source_id=source_id)


def topic(text: str) -> str:
    """Return a topic that can be published to. Raises `ValueError`."""
    if not text or TOPIC_FORBIDDEN & set(text) or len(text.encode("utf-8", "replace")) > MAX_TOPIC:
        raise ValueError(
            f"the topic {text[:100]!r} cannot be published to: it is empty, too long, or has + # or NUL"
        )
    return text


def source(source_id: str, family: str) -> str:
    """Return the id of a source. Raises `ValueError` for an invalid id or family."""
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; it is one of {', '.join(FAMILIES)}")
    return _word(source_id, "source_id")


def location(lat: float | None, lon: float | None) -> dict[str, float] | None:
    """Return the place of an alert; None without one.

    A place that is no number is left out, never the alert.
    """
    if lat is None or lon is None or not (math.isfinite(lat) and math.isfinite(lon)):
        return None
    return {"lat": lat, "lon": lon}


def encode(fields: Mapping[str, Any], *, msg_id: str, at: datetime) -> bytes:
    """Return the payload. A time without an offset is local time.

    Raises:
        ValueError: JSON cannot hold the fields, or the payload is too long.
    """
    stamp = at if at.tzinfo is not None else at.astimezone()
    given = {name: value for name, value in fields.items() if value is not None}
    body = {**given, "timestamp": stamp.isoformat(), "msg_id": msg_id}
    try:
        payload = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError(f"the fields are not JSON: {error}") from error
    if len(payload) > MAX_BYTES:
        raise ValueError(f"the message has {len(payload)} bytes; Vigil takes {MAX_BYTES}")
    return payload


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _word(text: str, name: str) -> str:
    if not text or WORD_FORBIDDEN & set(text):
        raise ValueError(f"{name} is {text!r}; it must be text without / + # and NUL")
    return text
