"""Repeated messages, merged: presses of one alert, and refusals over the rate limit. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from gateway.mqtt.decoding import identity, unreadable
from services.contracts.events import AlertType, DeviceAlert, RejectedMessage, RepeatedAlert
from services.contracts.families import Origin

RATE_LIMITED = "rate_limited"
REMEMBERED_KEYS = 50_000
LARGEST_SAMPLE_BYTES = 16_384
BACKLOG_OLDER_THAN = timedelta(seconds=60)
"""A device kept a message while it was offline when the message's own time is older than this."""
Name = tuple[str, AlertType, str, bool]


class SeenKeys:
    """Keys of the latest alerts of a lane, bounded.

    A message that is delivered twice is one press.
    """

    def __init__(self, *, size: int = REMEMBERED_KEYS) -> None:
        self._size = size
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def add(self, key: bytes) -> bool:
        """Remember a key. Return True when it is new."""
        if key in self._keys:
            return False
        if len(self._keys) >= self._size:
            self._keys.popitem(last=False)
        self._keys[key] = None
        return True


class _Group:
    def __init__(self) -> None:
        self.kept: dict[bytes, DeviceAlert] = {}
        self.counted: list[DeviceAlert] = []


class Repeats:
    """Alerts of one batch. Alerts that say the same about one source are grouped."""

    def __init__(self, seen: SeenKeys) -> None:
        self._seen = seen
        self._groups: dict[Name, _Group] = {}
        self.excess: Counter[str] = Counter()
        """Number of alerts beyond their source's rate, by source."""

    def add(self, alert: DeviceAlert, *, is_over: bool) -> None:
        """Add an alert. `is_over` means beyond its source's rate: then only the number is kept."""
        is_new = self._seen.add(alert.origin.key)
        name = (alert.origin.source_id, alert.alert_type, alert.word, alert.drill)
        group = self._groups.setdefault(name, _Group())
        if not is_over:
            group.kept.setdefault(alert.origin.key, alert)
        elif is_new:
            group.counted.append(alert)
        if is_over:
            self.excess[alert.origin.source_id] += 1

    def events(self, make_key: Callable[[], bytes]) -> list[RepeatedAlert]:
        """Return one event for each group.

        When alerts are only counted, the last one represents all of them.
        """
        return [
            _event(list(group.kept.values()), group.counted, make_key)
            for group in self._groups.values()
            if group.kept or group.counted
        ]


def _event(
    kept: list[DeviceAlert], counted: list[DeviceAlert], make_key: Callable[[], bytes]
) -> RepeatedAlert:
    alerts = [*kept, _shortened(counted[-1])] if counted else kept
    rest = [alert.origin for alert in counted[:-1]]
    return RepeatedAlert(
        key=make_key(),
        alerts=alerts,
        counted=len(rest),
        first_at=min(alert.origin.received_at for alert in (*kept, *counted)),
        msg_ids=list(dict.fromkeys(origin.msg_id for origin in rest if origin.msg_id is not None)),
    )


def _shortened(alert: DeviceAlert) -> DeviceAlert:
    """Return an alert without its large parts.

    It represents many alerts, and is not the only message of its source.
    """
    unreadable_bytes = None if alert.unreadable is None else alert.unreadable[:LARGEST_SAMPLE_BYTES]
    if len(alert.origin.raw) > LARGEST_SAMPLE_BYTES:
        origin = msgspec.structs.replace(alert.origin, raw="{}")
        flags = (*alert.flags, "raw_not_kept")
        return msgspec.structs.replace(alert, origin=origin, flags=flags, unreadable=unreadable_bytes)
    return msgspec.structs.replace(alert, unreadable=unreadable_bytes)


def is_counted(alert: DeviceAlert) -> bool:
    """Return True when an alert beyond its source's rate is counted. Other alerts are refused.

    They may all be different alerts. Types are few, so a source has few alerts of different types.
    Words are not few, unless they name a life-safety alert.
    """
    if alert.alert_type is AlertType.UNKNOWN:
        return False
    return alert.alert_type is not AlertType.UNREADABLE_ALERT or unreadable.names_life_safety(
        alert.origin.topic
    )


def is_kept(origin: Origin) -> bool:
    """Return True when a device kept its message while it was offline.

    The device time shows this, or the device's own `buffered` field.
    """
    return origin.buffered or (
        not origin.clock_suspect and origin.received_at - origin.recorded_at > BACKLOG_OLDER_THAN
    )


def refusal(
    topic: str, payload: bytes, *, source_id: str, lane: str, received_at: datetime, per_s: float
) -> RejectedMessage:
    """Return the refusal of a message beyond its source's rate.

    All refusals of one source and minute have one key.
    """
    minute = int(received_at.timestamp() // 60)
    name = f"{RATE_LIMITED}\0{lane}\0{source_id}\0{minute}"
    return RejectedMessage(
        identity.digest(name.encode("utf-8", "surrogatepass")),
        topic.replace("\0", ""),
        payload,
        RATE_LIMITED,
        f"more than {per_s:g} messages a second; this is one of those that were refused within a minute",
        received_at,
        source_id.replace("\0", ""),
    )


def merged(refusals: Iterable[RejectedMessage]) -> list[RejectedMessage]:
    """Return refused messages, with the messages of one key merged.

    A merged message has the bytes of the first one and the number of all.
    """
    found: dict[bytes, RejectedMessage] = {}
    others: list[RejectedMessage] = []
    for message in refusals:
        if message.reason != RATE_LIMITED:
            others.append(message)
            continue
        before = found.get(message.key)
        count = message.count + (0 if before is None else before.count)
        found[message.key] = msgspec.structs.replace(before or message, count=count)

    return [*others, *found.values()]
