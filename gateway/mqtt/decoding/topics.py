"""Topics: the family, the source and the last word of each. Pure."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gateway.mqtt.access_control import TEST_TOPICS
from services.contracts.alert_words import alert_type
from services.contracts.errors import InvalidMessage
from services.contracts.families import BY_WORD, FAMILIES, SENSOR_KINDS, Family, MessageFamily

MAX_SOURCE_LENGTH = 128
LONGEST_GUARD_NUMBER = 8
"""Most digits of a guard's number. A longer number is a device's, for instance an IMEI."""
REMEMBERED = 16_384
"""Number of parsed topics in the cache. Sources send on the same few topics again and again."""
LANES = ("bulk", "alert")
FILTERS = {
    lane: tuple(f"{row.name}/#" for row in FAMILIES if row.lane == lane and not row.is_optional)
    for lane in LANES
}
"""Topic filters of each lane, without the installation's prefix."""
OPTIONAL = {
    lane: tuple(f"{row.name}/#" for row in FAMILIES if row.lane == lane and row.is_optional) for lane in LANES
}
"""Further topic filters of each lane, where the configuration asks for them."""
ALARM = "alarm"
_FIXED = frozenset(word for row in FAMILIES for word in row.topic.split("/")[1:] if not word.startswith("{"))
NO_SOURCE = (
    SENSOR_KINDS
    | _FIXED
    | {
        "",
        "alarms",
        "lwt",
        "availability",
        "online",
        "event",
        "info",
    }
)
"""Segments that are never the name of a source, in lower case."""


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
    words = topic.split("/")
    row = BY_WORD.get(words[0])

    # Words of an alert come in either order, and a phone may add one word.
    match words:
        case ["alert", first, second]:
            return _alert(_source(first), _source(second))
        case ["owntracks", user, device, *more] if len(more) <= 1:
            return Topic(Family.OWNTRACKS, guard_id(_source(user)), "/".join([_source(device), *more]))

    if row is None or (found := _matched(row, words)) is None:
        raise InvalidMessage("topic_shape", f"no family has a topic of the shape {topic[:200]!r}")

    source_id, detail = _source(found[0]), "/".join(found[1:])
    return Topic(row.family, guard_id(source_id) if row.names_guard else source_id, detail)


def _matched(row: MessageFamily, words: list[str]) -> list[str] | None:
    """Return the words at the places of `{name}` in a family's topic; None for another shape."""
    shape = row.topic.split("/")
    if len(words) != len(shape):
        return None

    pairs = list(zip(shape, words, strict=True))
    found = [word for part, word in pairs if part.startswith("{")]
    is_same = all(part.startswith("{") or part == word for part, word in pairs)
    is_known = not row.details or row.details.issuperset(found[1:])
    return found if is_same and is_known else None


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
    return first if first in BY_WORD else "other"


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
