"""What a topic says: the family, the source, and the last word. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.mqtt.rights import TEST_TOPICS
from services.errors import InvalidMessage
from services.messages import AlertType

MAX_SOURCE_LENGTH = 128
SENSOR_KINDS = frozenset({"status", "reading", "alarm"})
FILTERS = {
    "bulk": ("device/#", "guard/#", "sensor/#", "system/#"),
    "alert": ("alert/#",),
}
"""Topic filters of each lane, without the installation's prefix."""
OPTIONAL = {"bulk": ("owntracks/#",), "alert": ()}
"""The same, where the configuration asks for them."""


class Family(StrEnum):
    DEVICE = "device"
    GUARD = "guard"
    SENSOR = "sensor"
    ALERT = "alert"
    SYSTEM = "system"
    OWNTRACKS = "owntracks"


class Topic(msgspec.Struct, frozen=True):
    """A topic that has the right shape. `detail` is the sensor's last word, the alert's type, the guard's phone."""

    family: Family
    source_id: str
    detail: str = ""


def parse(topic: str) -> Topic:
    """Read a topic (without the installation's prefix). Raises `InvalidMessage("topic_shape")`."""
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
    """The filter under which the members of a group hear each message once between them; no group: the filter."""
    return f"$share/{group}/{topic_filter}" if group else topic_filter


def family_of(topic: str) -> str:
    """The first word when it is a family, else `other`: safe as a metric's label."""
    first = topic.split("/", 1)[0]
    return first if first in Family.__members__.values() else "other"


def metric_prefix(topic: str) -> str:
    """`family_of`, but `watchdog` for its test messages: they are no sign of life from the field."""
    return "watchdog" if topic in TEST_TOPICS else family_of(topic)


def guard_id(text: str) -> str:
    """`789` and `guard-789` are the same guard."""
    return f"guard-{text}" if text.isascii() and text.isdigit() else text


def alert_type(text: str) -> AlertType | None:
    """The alert type that a word names, in any case, with `-` or `_`."""
    word = text.upper().replace("-", "_")
    return AlertType(word) if word in AlertType.__members__ else None


def _alert(first: str, second: str) -> Topic:
    """Either order: whichever segment alone is a known type is the type, else the first is."""
    if alert_type(second) and not alert_type(first):
        first, second = second, first
    return Topic(Family.ALERT, second, first)


def _source(text: str) -> str:
    if not text or len(text) > MAX_SOURCE_LENGTH or not text.isprintable():
        raise InvalidMessage("topic_source", f"a source id is 1 to {MAX_SOURCE_LENGTH} printable characters")
    return text
