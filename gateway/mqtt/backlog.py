"""Messages that may have waited: after the lane was away, or did not read, their time of receipt is late. Pure.

MQTT gives no time at which the broker took a message. While the lane reads, a message is here within milliseconds. When
it was away, the broker held what came, and delivers it first: each of these messages came at some time since the link
was last known to work. They bear a note with both ends of that time, until the broker has nothing more to deliver.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from services.messages import DeviceAlert, DeviceReading, Fix, HealthReading, SensorReading

M = TypeVar("M", bound=Fix | DeviceReading | SensorReading | HealthReading | DeviceAlert)

NOTE = "received_after_outage"
LEAST_S = 2.0
"""A shorter time without reading is not noted."""
QUIET_S = 0.1
"""A socket that had nothing for so long, while all that was delivered is acknowledged, shows that nothing waits."""
TICK_S = 0.01
"""While there is a note, the lane's loop is looked at so often."""
CATCH_UP_S = 60.0
"""A backlog ends after this time at the latest, under a load that never pauses. What waits longer is not noted."""


class Backlog:
    """The lane's view of the broker's queue. Times are seconds of the epoch."""

    def __init__(self, heard_at: float | None) -> None:
        """Take the time at which the link was last known to work, by the process before this one."""
        self._heard_at = heard_at
        self._read_at: float | None = None
        self._until = 0.0
        self._ticked_at = 0.0
        self._lag_s = 0.0
        self.note = ""
        """The note for each message that is taken now; empty: the message came at once."""

    def connecting(self, now: float) -> None:
        """A connection is being made: the broker may deliver at once."""
        self._read_at = None
        if self._heard_at is None:
            self._open("", now)
        elif now - self._heard_at > LEAST_S:
            self._open(_time(self._heard_at), now)

    def connected(self, *, had_session: bool) -> None:
        """The broker answered. Without a session it held nothing."""
        if not had_session:
            self.note = ""

    def ticked(self, now: float) -> None:
        """The loop turned; called every `TICK_S` while there is a note."""
        self._lag_s = max(self._lag_s, now - self._ticked_at)
        self._ticked_at = now

    def read(self, now: float, *, heard: bool, waited_s: float, outstanding: bool) -> None:
        """The socket was read once more; called before what came is taken.

        Args:
            heard: Bytes came.
            waited_s: For so long the reader waited for bytes; that is no sign of an empty socket when the loop stood.
            outstanding: Messages are delivered and not acknowledged: the broker may hold more back for that.
        """
        if self._read_at is not None and now - self._read_at > LEAST_S:
            self._open(_time(self._read_at), now)
        elif self.note:
            was_empty = waited_s >= QUIET_S and max(self._lag_s, now - self._ticked_at) < QUIET_S / 2
            if now >= self._until or (was_empty and not outstanding):
                self.note = ""
        self._lag_s = 0.0
        self._read_at = now
        if heard:
            self._heard_at = now

    def _open(self, since: str, now: float) -> None:
        # A second outage within the first one's backlog: the earlier start holds for what still waits.
        if self.note:
            since = self.note.removeprefix(f"{NOTE}:").partition("/")[0]
        self.note = f"{NOTE}:{since}/{_time(now)}"
        self._until = now + CATCH_UP_S


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def noted(message: M, note: str) -> M:
    """Return a message with the note in its quality, and an alert with the note among its flags as well."""
    origin = msgspec.structs.replace(message.origin, quality=(*message.origin.quality, note))
    if isinstance(message, DeviceAlert):
        return msgspec.structs.replace(message, origin=origin, flags=(*message.flags, note))
    return msgspec.structs.replace(message, origin=origin)
