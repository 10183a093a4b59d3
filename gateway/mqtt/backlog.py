"""Note on messages that may have waited at the broker. Pure.

MQTT does not say when the broker took a message. While the lane reads, a message arrives here
within milliseconds. After the lane was away, or did not read, the broker first delivers the
messages that it held. Each of these messages was sent at some time since the link was last known to
work, so its time of receipt is late. Such a message gets a note with both ends of that time, until
the broker has nothing more to deliver.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from services.contracts.events import DeviceAlert
from services.contracts.families import Fix, Reading

M = TypeVar("M", bound=Fix | Reading | DeviceAlert)

NOTE = "received_after_outage"
LEAST_S = 2.0
"""The lane makes no note after a shorter time without reading, in seconds."""
QUIET_S = 0.1
"""Time without bytes that proves an empty socket, when every delivered message is acknowledged."""
TICK_S = 0.01
"""Interval of `ticked` while there is a note, in seconds."""
CATCH_UP_S = 60.0
"""Longest time of a backlog, under a load that never pauses.

Messages that wait longer get no note.
"""


class BrokerBacklog:
    """State of the broker's queue, as the lane sees it. Times are seconds of the epoch."""

    def __init__(self, heard_at: float | None) -> None:
        """Start with the time at which the previous process last knew that the link worked."""
        self._heard_at = heard_at
        self._read_at: float | None = None
        self._until = 0.0
        self._ticked_at = 0.0
        self._lag_s = 0.0
        self.note = ""
        """Note for each message that is taken now. It is empty when messages arrive at once."""

    def connecting(self, now: float) -> None:
        """Start a connection attempt: from now on the broker may deliver."""
        self._read_at = None
        if self._heard_at is None:
            self._open("", now)
        elif now - self._heard_at > LEAST_S:
            self._open(_time(self._heard_at), now)

    def connected(self, *, had_session: bool) -> None:
        """Take the broker's answer. A broker without a session held no messages."""
        if not had_session:
            self.note = ""

    def ticked(self, now: float) -> None:
        """Record one turn of the loop. The lane calls this every `TICK_S` while there is a note."""
        self._lag_s = max(self._lag_s, now - self._ticked_at)
        self._ticked_at = now

    def read(self, now: float, *, heard: bool, waited_s: float, outstanding: bool) -> None:
        """Record one read of the socket, before its messages are taken.

        Args:
            heard: True when the read returned bytes.
            waited_s: Seconds that the reader waited for bytes. A long wait is no sign of an empty
                socket when the loop stood still.
            outstanding: True when delivered messages are not acknowledged. The broker may then hold
                more messages back.
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
        # During a second outage within the backlog of the first, the earlier start still holds for
        # the messages that wait.
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
