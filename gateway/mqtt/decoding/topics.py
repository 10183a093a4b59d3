"""Topics: the family, the source and the last word of each. Pure."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import msgspec

from gateway.mqtt.access_control import TEST_TOPICS
from services.contracts.alert_words import alert_type
from services.contracts.errors import InvalidMessage

MAX_SOURCE_LENGTH = 128
LONGEST_GUARD_NUMBER = 8
"""Most digits of a guard's number. A longer number is a device's, for instance an IMEI."""
REMEMBERED = 16_384
"""Number of parsed topics in the cache. Sources send on the same few topics again and again."""
SENSOR_KINDS = frozenset({"status", "reading", "alarm"})
FILTERS = {
    "bulk": ("device/#", "guard/#", "sensor/#", "system/#"),
    "alert": ("alert/#",),
}
"""Topic filters of each lane, without the installation's prefix."""
OPTIONAL = {"bulk": ("owntracks/#",), "alert": ()}
"""Further topic filters of each lane, where the configuration asks for them."""


ALARM = "alarm"
NO_SOURCE = SENSOR_KINDS | {
    "",
    "alarms",
    "telemetry",
    "gps",
    "health",
    "lwt",
    "availability",
    "online",
    "event",
    "info",
}
"""Segments that are never the name of a source, in lower case."""


class Family(StrEnum):
    DEVICE = "device"
    GUARD = "guard"
    SENSOR = "sensor"
    ALERT = "alert"
    SYSTEM = "system"
    OWNTRACKS = "owntracks"


_FAMILIES: frozenset[str] = frozenset(Family)


class Topic(msgspec.Struct, frozen=True):
    """Topic of a valid shape.

    `detail` is the sensor's last word, the alert's type or the guard's phone.
    """

    family: Family
    source_id: str
    detail: str = ""


@lru_cache(maxsize=REMEMBERED)
def parse(topic: str) -> Topic:
    """Parse a topic (without the installation's prefix). Raises `InvalidMessage("topic_shape")`."""
    match topic.split("/"):
        case ["device", source, "telemetry"]:
            return Topic(Family.DEVICE, _source(source))
        case ["guard", source, "gps"]:
            return Topic(Family.GUARD, guard_id(_source(source)))
        case ["sensor", source, kind] if kind in SENSOR_KINDS:
            return Topic(Family.SENSOR, _source(source), kind)
        case ["alert", first, second]:
            return _alert(_source(first), _source(second))
        case ["system", "health", source]:
            return Topic(Family.SYSTEM, _source(source))
        case ["owntracks", user, device, *more] if len(more) <= 1:
            return Topic(Family.OWNTRACKS, guard_id(_source(user)), "/".join([_source(device), *more]))
    raise InvalidMessage("topic_shape", f"no family has a topic of the shape {topic[:200]!r}")


def shared(group: str, topic_filter: str) -> str:
    """Return the shared filter, under which each message goes to one member of the group.

    Without a group it is the filter itself.
    """
    return f"$share/{group}/{topic_filter}" if group else topic_filter


def family_of(topic: str) -> str:
    """Return the first word when it is a family, else `other`.

    The result is safe as a metric's label.
    """
    first = topic.partition("/")[0]
    return first if first in _FAMILIES else "other"


def metric_prefix(topic: str) -> str:
    """Return `family_of` the topic, but `watchdog` for test messages.

    Test messages are no sign of life from the field.
    """
    return "watchdog" if topic in TEST_TOPICS else family_of(topic)


def guard_id(text: str) -> str:
    """Return the guard's id: `789` and `guard-789` are the same guard."""
    return f"guard-{text}" if text.isascii() and text.isdigit() else text


def _alert(first: str, second: str) -> Topic:
    """Return an alert topic. The type is the only segment that is a known type, else the first one.

    A source of a few digits is a guard: `alert/panic/789` is of `guard-789`, as `guard/789/gps` is.
    """
    if alert_type(second) and not alert_type(first):
        first, second = second, first
    return Topic(Family.ALERT, _alerting(second), first)


def _alerting(source: str) -> str:
    return guard_id(source) if len(source) <= LONGEST_GUARD_NUMBER else source


def source_in(topic: str) -> str:
    """Return the source of a topic with a wrong shape: a segment that is no reserved word.

    It is the first such segment. On alert topics it is the last one, because there the broker lets
    a credential write only its own name. A topic without such a segment stands for its own source.
    """
    family, *segments = topic.split("/")
    for segment in reversed(segments) if family == Family.ALERT else segments:
        if segment.lower() not in NO_SOURCE and not alert_type(segment) and _is_source(segment):
            return _alerting(segment) if family == Family.ALERT else guard_id(segment)
    return "".join(sign if sign.isprintable() else "?" for sign in topic)[:MAX_SOURCE_LENGTH]


def source_of(text: str) -> str | None:
    """Return the source that a segment names; None when the segment is no valid source name."""
    return guard_id(text) if _is_source(text) else None


def _is_source(text: str) -> bool:
    return bool(text) and len(text) <= MAX_SOURCE_LENGTH and text.isprintable()


def _source(text: str) -> str:
    if not _is_source(text):
        raise InvalidMessage("topic_source", f"a source id is 1 to {MAX_SOURCE_LENGTH} printable characters")
    return text
