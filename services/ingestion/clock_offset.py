"""Clock offset of one source, measured from its own messages. Pure: both times come in.

The lead of a message is its device time minus the time of receipt, in seconds. A clock that runs
ahead gives a positive lead, a slow clock or a late message a negative one. A delay only ever lowers
the lead. Two facts follow:

1. The offset of a clock is at least the lead of each of its messages.
2. A clock with a steady offset gives the same lead again and again, while device time and receipt
   advance at the same rate. Late data does not. A device that empties its memory sends device times
   that advance faster than receipt, and it starts where it stopped before the gap.

A clock that is right within `RIGHT_WITHIN_S` is left alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

RIGHT_WITHIN_S = 15.0
"""Seconds within which a clock is right: networks delay messages by as much."""
SAME_OFFSET_S = 5.0
"""Offsets that differ by no more than this are one offset, measured twice."""
STEADY_MESSAGES = 3
STEADY_SPAN_S = 1.5
"""Least messages, and least seconds over which they were received, of a steady lead."""
JITTER_S = 1.0
JITTER_SHARE = 0.25
"""Largest difference of leads within a steady run.

It is `JITTER_S`, or this share of the run's span, up to `SAME_OFFSET_S`.
"""
LONGEST_GAP_S = 30.0
"""Longest gap in receipt, in seconds, that says nothing.

After a longer gap, data that starts where the device stopped is data that the device kept
meanwhile.
"""


class SteadyRun(msgspec.Struct, array_like=True, frozen=True):
    """Messages in a row whose device time and receipt advance at the same rate."""

    count: int
    received_at: datetime
    lowest_s: float
    highest_s: float
    kept: bool
    """The run started where the device had stopped before a gap.

    Its lead says nothing about the clock.
    """


class SourceClock(msgspec.Struct, array_like=True, frozen=True):
    """Knowledge of a source's clock.

    `offset_s` is device time minus ours. `spread_s` is how far the leads differed.
    """

    offset_s: float | None = None
    spread_s: float = 0.0
    run: SteadyRun | None = None


class CorrectedTime(NamedTuple):
    """A message's time after correction. `clock` is the knowledge after the message."""

    at: datetime
    corrected: bool
    clock: SourceClock


RIGHT = SourceClock()
"""A clock that no message speaks against."""


def encode(clock: SourceClock) -> bytes | None:
    """Return the stored form of a clock; None for `RIGHT`."""
    return None if clock == RIGHT else msgspec.msgpack.encode(clock)


def decode(stored: bytes | None) -> SourceClock:
    """Return the clock that `encode` stored."""
    return RIGHT if stored is None else msgspec.msgpack.decode(bytes(stored), type=SourceClock)


def take(
    clock: SourceClock,
    device_at: datetime,
    received_at: datetime,
    *,
    before: tuple[datetime, datetime] | None = None,
    buffered: bool = False,
) -> CorrectedTime:
    """Correct the device time of one message, and learn from it.

    Args:
        clock: The knowledge of the clock before this message.
        device_at: Device time, aware.
        received_at: Time of receipt, aware. Messages come in the order of their receipt.
        before: (corrected device time, time of receipt) of the newest message before this one, if
            there is any.
        buffered: The device says that it kept the message: its lead says nothing about the clock.
    """
    lead_s = (device_at - received_at).total_seconds()
    is_right = abs(lead_s) <= RIGHT_WITHIN_S
    if is_right and clock is RIGHT:
        return CorrectedTime(device_at, False, clock)
    clock = clock if buffered else _learn(clock, lead_s, device_at, received_at, before)
    if is_right or clock.offset_s is None:
        return CorrectedTime(device_at, False, clock)
    return CorrectedTime(min(device_at - timedelta(seconds=clock.offset_s), received_at), True, clock)


def _learn(
    clock: SourceClock,
    lead_s: float,
    device_at: datetime,
    received_at: datetime,
    before: tuple[datetime, datetime] | None,
) -> SourceClock:
    run = _run(clock.run, lead_s, device_at, received_at, before)
    known_s = RIGHT_WITHIN_S - SAME_OFFSET_S if clock.offset_s is None else clock.offset_s
    if lead_s > known_s + SAME_OFFSET_S:  # no clock is slower than its messages show
        return _measured(lead_s, 0.0, run)
    if not _is_steady(run, received_at):
        return msgspec.structs.replace(clock, run=run)
    if clock.offset_s is not None and abs(run.highest_s - clock.offset_s) <= SAME_OFFSET_S:
        return msgspec.structs.replace(clock, spread_s=run.highest_s - run.lowest_s, run=run)
    return _measured(run.highest_s, run.highest_s - run.lowest_s, run)


def _measured(offset_s: float, spread_s: float, run: SteadyRun) -> SourceClock:
    if abs(offset_s) <= RIGHT_WITHIN_S:
        return RIGHT
    return SourceClock(offset_s, spread_s, run)


def _run(
    run: SteadyRun | None,
    lead_s: float,
    device_at: datetime,
    received_at: datetime,
    before: tuple[datetime, datetime] | None,
) -> SteadyRun:
    """Return the run that the message continues, or a new one that starts with it."""
    if run is not None:
        lowest_s, highest_s = min(run.lowest_s, lead_s), max(run.highest_s, lead_s)
        span_s = (received_at - run.received_at).total_seconds()
        if highest_s - lowest_s <= max(JITTER_S, min(JITTER_SHARE * span_s, SAME_OFFSET_S)):
            return SteadyRun(run.count + 1, run.received_at, lowest_s, highest_s, run.kept)
    kept = before is not None and _starts_where_it_stopped(before, device_at, received_at)
    return SteadyRun(1, received_at, lead_s, lead_s, kept)


def _is_steady(run: SteadyRun, received_at: datetime) -> bool:
    span_s = (received_at - run.received_at).total_seconds()
    return not run.kept and run.count >= STEADY_MESSAGES and span_s >= STEADY_SPAN_S


def _starts_where_it_stopped(
    before: tuple[datetime, datetime], device_at: datetime, received_at: datetime
) -> bool:
    device_s = (device_at - before[0]).total_seconds()
    receipt_s = (received_at - before[1]).total_seconds()
    return receipt_s > LONGEST_GAP_S and 0 <= device_s < receipt_s / 2
