"""The last line of defence: a refused alarm raises UNREADABLE_ALERT. Pure.

It covers everything on `alert/#`, and the alarm topic of a sensor. It also covers topics of other
families that end with the word of a life-safety alert (`guard/789/panic`). A refused message may
have been a panic.
"""

from __future__ import annotations

import re
from datetime import datetime

from gateway.mqtt.decoding import topics
from gateway.mqtt.decoding.topics import ALARM, Topic
from services.contracts.alert_words import LIFE_SAFETY_WORDS, alert_type
from services.contracts.enum_words import flag_as_words
from services.contracts.errors import InvalidMessage
from services.contracts.events import LIFE_SAFETY, AlertType, DeviceAlert, Severity
from services.contracts.families import Family, Origin

MAX_ALERT_TEXT = 2000
SEARCHED_BYTES = 65_536
"""Bytes of a payload that are searched for words of a life-safety alert."""
LONGEST_WORD = 64
_WORD = re.compile(r"[A-Z]+")
_JOINED = re.compile(r"[A-Z]+(?:[_-][A-Z]+)*")
"""Words, single or joined.

A pattern that requires a separator would read each letter of a long word again and again.
"""


def alert_of(
    topic_text: str,
    topic: Topic | None,
    payload: bytes,
    *,
    error: InvalidMessage,
    received_at: datetime,
    key: bytes,
) -> DeviceAlert | None:
    """Return the alert that replaces a refused message; None when it cannot be an alarm."""
    if not may_be_alarm(topic_text, topic):
        return None

    word = word_of(topic_text, topic)
    source_id = topic.source_id if topic else topics.source_in(topic_text)
    origin = Origin(source_id, key, None, topic_text, received_at, received_at, True, (), None, "{}")
    grave = names_life_safety(topic_text) or (
        not topic_text.startswith(f"{Family.ALERT}/") and _says_life_safety(payload)
    )
    where = "" if topic else f" on the topic {topic_text[:200]}"
    reason = flag_as_words(error.reason)
    why = f"{reason}: {error.detail}" if error.detail else reason

    return DeviceAlert(
        origin=origin,
        alert_type=AlertType.UNREADABLE_ALERT,
        severity=Severity.CRITICAL if grave else None,
        message=f"Unreadable {word} alert from {source_id}{where}: {why}"[:MAX_ALERT_TEXT],
        flags=("unreadable", error.reason),
        unreadable=payload,
        word=word,
    )


def may_be_alarm(topic_text: str, topic: Topic | None) -> bool:
    """Return True when a message on this topic may be an alarm."""
    if topic is not None:
        return topic.family is Family.ALERT or (topic.family is Family.SENSOR and topic.detail == ALARM)
    family, *segments = topic_text.split("/")
    if family == Family.ALERT:
        return True
    named = [segment for segment in segments if segment]
    return any(segment.lower() in (ALARM, "alarms") for segment in named) or (
        bool(named) and alert_type(named[-1]) in LIFE_SAFETY
    )


def names_life_safety(topic_text: str) -> bool:
    """Return True when a segment of the topic names a life-safety alert."""
    return any(alert_type(segment) in LIFE_SAFETY for segment in topic_text.split("/")[1:])


def word_of(topic_text: str, topic: Topic | None) -> str:
    """Return the word of a topic that names the kind of alarm, in lower case."""
    if topic is not None:
        return (topic.detail or ALARM).lower()
    family, *segments = topic_text.split("/")
    for segment in segments:
        if alert_type(segment):
            return segment.lower()
    first = next((segment for segment in segments if segment), "") if family == Family.ALERT else ""
    return (first or ALARM).lower()[: topics.MAX_SOURCE_LENGTH]


def _says_life_safety(payload: bytes) -> bool:
    """Return True when a payload holds a life-safety word, single or joined.

    The search uses sets, because there may be 16,000 words.
    """
    text = payload[:SEARCHED_BYTES].replace(b"\0", b"").decode("latin-1").upper()
    if not LIFE_SAFETY_WORDS.isdisjoint(_WORD.findall(text)):
        return True
    joined = (word for word in set(_JOINED.findall(text)) if len(word) <= LONGEST_WORD)
    return any(word.replace("_", "").replace("-", "") in LIFE_SAFETY_WORDS for word in joined)
