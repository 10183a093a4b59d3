"""Parts that are away, with the consequence for the control room and the time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from services.contracts.frames import Away
from services.supervision.process_heartbeats import HEARTBEATS, PartFault

FEED = "redis"
PATHS = ("message-path-alert", "message-path-bulk")

REASONS = {
    "mqtt": "The MQTT broker (Mosquitto) does not answer: devices cannot send alarms.",
    "amqp": "RabbitMQ accepts no messages: new alarms wait and do not show.",
    "postgres": "The database (PostgreSQL) does not answer: new alarms wait and do not show.",
    "redis": "Redis does not answer: new alarms are stored and notified, but do not show in the console.",
    "mqtt_gateway-alert": "The alarm gateway (mqtt_gateway-alert) does not answer: new alarms wait and do not show.",
    "alerts": "The alert service (alerts) does not answer: new alarms wait and do not show.",
    "noc_gateway": "The feed gateway (noc_gateway) does not answer: the console shows nothing new.",
    "notifications": "The notification service (notifications) does not answer: no SMS, e-mail or push is sent.",
    "mqtt_gateway-bulk": "The data gateway (mqtt_gateway-bulk) does not answer: positions and"
    " readings are not updated.",
    "telemetry": "The readings service (telemetry) does not answer: smoke, door and battery alarms"
    " of sensors are not raised.",
    "location": "The position service (location) does not answer: the map is not updated, and zone"
    " alarms are not raised.",
    "directory": "The directory (directory) does not answer: nobody can log in, and a console that"
    " loads again stays empty.",
    "noc_api": "The API (noc_api) does not answer: pages do not load and nothing can be saved. Alarms still show.",
    "watchdog": "The watchdog does not answer: no test alarms are sent.",
    "heartbeats": "RabbitMQ refuses heartbeats: faults are not detected. "
    "Run ops/install/install.sh and `vigil topology`.",
    "message-path-alert": "Vigil's own test alarms do not arrive: real alarms may not arrive either.",
    "message-path-bulk": "Vigil's own test positions do not arrive: positions and readings may not be updated.",
}
"""Texts by part, gravest first: the fault, and its consequence for the control room."""
_RANK = {part: rank for rank, part in enumerate(REASONS)}

HIDE_NO_ALARM = frozenset({"notifications", "directory", "noc_api", "watchdog"})
"""Parts without which new alarms still show in an open websocket session."""
OTHERS = frozenset({HEARTBEATS, *PATHS})
SERVERS = frozenset({"mqtt", "amqp", "postgres", "redis"})
PROCESSES = frozenset(REASONS) - SERVERS - OTHERS
"""All processes that send heartbeats."""


class PartsAway:
    """Parts that are away now. `since` is the beginning of the oldest fault."""

    def __init__(self) -> None:
        self.away: tuple[Away, ...] = ()

    @property
    def is_blind(self) -> bool:
        return bool(self.away)

    @property
    def since(self) -> datetime | None:
        return min((away.since for away in self.away), default=None)

    def update(self, faults: Iterable[PartFault], *, now: datetime) -> bool:
        """Store the parts that are away now. Return True when they differ from before.

        A part keeps the time at which it was first found away. So clocks and rounding never move a
        time in the console. A missing test message is listed only while nothing else explains it.
        """
        longest: dict[str, float] = {}
        for fault in faults:
            longest[fault.part] = max(fault.for_s, longest.get(fault.part, 0.0))

        if any(part not in PATHS for part in longest):
            longest = {part: for_s for part, for_s in longest.items() if part not in PATHS}

        known = {away.part: away for away in self.away}
        before = self.away
        self.away = tuple(
            known.get(part)
            or Away(part, _second(now, longest[part]), part not in HIDE_NO_ALARM, reason_of(part))
            for part in sorted(longest, key=_rank)
        )

        return self.away != before


def reason_of(part: str) -> str:
    """Return the text for a part that is away.

    A part that is not in the catalogue appears by its name.
    """
    return REASONS.get(part, f"{part} does not work.")


def _rank(part: str) -> tuple[int, str]:
    return _RANK.get(part, len(_RANK)), part


def _second(now: datetime, ago_s: float) -> datetime:
    return (now - timedelta(seconds=ago_s)).replace(microsecond=0)
