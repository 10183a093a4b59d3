"""Heartbeats of Vigil's processes, and the faults that missing ones show. Pure.

Each process publishes a heartbeat to RabbitMQ every two seconds
(`services/messaging/heartbeats.py`), with the parts that it finds to be away. A listener hears its
own heartbeats as well. When they do not come back, RabbitMQ takes no messages, and nothing is known
of the other processes.

Times are seconds of one clock that only moves on (`time.monotonic`). Processes exchange durations
only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

INTERVAL_S = 2.0
SILENT_AFTER_S = 6.0
"""Seconds after which a process without heartbeats is silent.

Two heartbeats may be late, three are not.
"""
STOOD_STILL_S = 3.0
"""Seconds without running after which a listener counts as having stood still itself."""
AMQP = "amqp"
HEARTBEATS = "heartbeats"
"""The part that is away when RabbitMQ answers and refuses heartbeats.

A right or the exchange is missing then.
"""


class PartFault(msgspec.Struct, frozen=True):
    """A part that does not work, and for how many seconds.

    A part is a server, a process or a message path.
    """

    part: str
    for_s: float


class Heartbeat(msgspec.Struct, frozen=True):
    """A process's report that it runs, and of the parts that it finds to be away.

    `instance` differs between runs of a process.
    """

    process: str
    instance: str
    faults: tuple[PartFault, ...] = ()
    takes: tuple[str, ...] = ()
    """Consumers of this process that are subscribed to all shards of their service.

    See `services/messaging/shards`.
    """


_decoder = msgspec.msgpack.Decoder(Heartbeat)


def encode(heartbeat: Heartbeat) -> bytes:
    return msgspec.msgpack.encode(heartbeat)


def decode(body: bytes) -> Heartbeat | None:
    """Return the heartbeat; None for a body that is none. A newer version may send another form."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None


class KnownFaults:
    """The parts that this process knows to be away, and since when."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def note(self, part: str, *, since_s: float) -> bool:
        """Note that a part is away. Return whether that is new."""
        is_new = part not in self._since_s
        self._since_s.setdefault(part, since_s)
        return is_new

    def clear(self, part: str) -> bool:
        """Note that a part works. Return whether that is new."""
        return self._since_s.pop(part, None) is not None

    def list(self, *, now_s: float) -> tuple[PartFault, ...]:
        return tuple(PartFault(part, now_s - since_s) for part, since_s in sorted(self._since_s.items()))


class HeartbeatJudge:
    """Judge of the parts that are away, by the heartbeats of all processes.

    Args:
        expected: Names of the processes that must be heard, besides the listener's own.
        instance: The listener's own instance, whose heartbeats prove that RabbitMQ takes messages.
        started_s: The time at which the listener began to listen.
    """

    def __init__(self, expected: Collection[str], *, instance: str, started_s: float) -> None:
        self._expected = tuple(expected)
        self._instance = instance
        self._heard_s: dict[str, float] = {}
        self._own_s = self._fair_from_s = self._ticked_s = started_s
        self._reported: dict[tuple[str, str], tuple[float, tuple[PartFault, ...]]] = {}
        self._deaf_since_s: float | None = None

    def tick(self, *, now_s: float) -> None:
        """Note that the listener runs. Call it at least once a second while the listener listens.

        A listener that stood still has heard nothing meanwhile: its process was stopped, or its
        machine slept. No other process is to blame, and the time does not count.
        """
        gap_s = now_s - self._ticked_s
        self._ticked_s = now_s
        if gap_s > STOOD_STILL_S:
            self._own_s += gap_s
            self._fair_from_s += gap_s
            self._heard_s = {process: heard_s + gap_s for process, heard_s in self._heard_s.items()}
            self._reported = {key: (at_s + gap_s, faults) for key, (at_s, faults) in self._reported.items()}

    def receive(self, heartbeat: Heartbeat, *, now_s: float) -> None:
        """Take a heartbeat that came now."""
        self.tick(now_s=now_s)
        if heartbeat.instance == self._instance:
            self._note_silence(now_s)
            self._own_s = now_s
        self._heard_s[heartbeat.process] = now_s
        self._reported[heartbeat.process, heartbeat.instance] = now_s, heartbeat.faults

    def faults(self, *, now_s: float) -> list[PartFault]:
        """Return the parts that are away: at most one fault for each."""
        self.tick(
            now_s=now_s
        )  # after a stand-still, this may run before the listener: old times must not count
        self._note_silence(now_s)

        if self._deaf_since_s is not None:
            if now_s - self._own_s > SILENT_AFTER_S or self._awaits_others(now_s):
                return [PartFault(AMQP, now_s - self._deaf_since_s)]
            self._deaf_since_s = None

        longest: dict[str, float] = {}
        for fault in (*self._silent(now_s), *self._still_reported(now_s)):
            longest[fault.part] = max(fault.for_s, longest.get(fault.part, 0.0))

        return [PartFault(part, for_s) for part, for_s in longest.items()]

    def _note_silence(self, now_s: float) -> None:
        """Note a time in which nothing was heard, the listener's own heartbeats included.

        After such a time, the processes get some time to be heard again.
        """
        if now_s - self._own_s > SILENT_AFTER_S:
            if self._deaf_since_s is None:
                self._deaf_since_s = self._own_s
            self._fair_from_s = now_s

    def _awaits_others(self, now_s: float) -> bool:
        """Return whether other processes may just not have been heard yet.

        That is so while RabbitMQ is back for a short time only.
        """
        return now_s - self._fair_from_s < SILENT_AFTER_S and any(
            self._heard_s.get(process, 0.0) < self._fair_from_s for process in self._expected
        )

    def _silent(self, now_s: float) -> Iterable[PartFault]:
        """Yield the processes that are silent while the listener still hears itself.

        When RabbitMQ stops, all processes fall silent within one interval, some of them a little
        before the listener itself.
        """
        for process in self._expected:
            heard_s = self._heard_s.get(process, self._fair_from_s)
            since_s = max(heard_s, self._fair_from_s)
            if now_s - since_s > SILENT_AFTER_S and self._own_s - since_s > SILENT_AFTER_S - INTERVAL_S:
                yield PartFault(process, now_s - heard_s)

    def _still_reported(self, now_s: float) -> Iterable[PartFault]:
        """Yield the faults reported by processes that are still heard."""
        for key, (heard_s, faults) in list(self._reported.items()):
            if now_s - max(heard_s, self._fair_from_s) > SILENT_AFTER_S:
                del self._reported[key]
                continue
            for fault in faults:
                yield PartFault(fault.part, fault.for_s + now_s - heard_s)
