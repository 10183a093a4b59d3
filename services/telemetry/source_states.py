"""Following of one source's readings in the order in which they were made. Pure.

It finds the conditions that are met and that end. A late reading says nothing about now, with two
exceptions. A late reading that meets a rule of life safety is reported, because the danger was
there: as met at its own time, and as ended when a newer reading ended it. An alarm without a known
meaning is reported whenever it comes.

A late reading of a rule with `hold_s` is reported when the late readings of one batch hold for that
long by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from services.contracts.events import LIFE_SAFETY
from services.contracts.families import Reading, SensorReading
from services.ingestion import clock_offset
from services.ingestion.clock_offset import RIGHT, SourceClock
from services.telemetry.late_data import MessageTimes, in_order, is_older, message_times_of
from services.telemetry.rule_engine import Finding, Ruleset, RuleState, alarm_topic_finding

TICK = timedelta(microseconds=1)
"""A condition that begins again at the moment of its end begins this much after it."""
CORRECTED = "clock_corrected"
RIGHT_WITHIN = timedelta(seconds=clock_offset.RIGHT_WITHIN_S)


class KnownSource(NamedTuple):
    """State of a source before a batch: times of its newest reading, its clock, its standing.

    `judged_at` is the newest time that a condition was judged at. It is never before the time of
    the newest reading.
    """

    newest: MessageTimes
    judged_at: datetime
    standing: RuleState
    clock: SourceClock = RIGHT
    silent_since: datetime | None = None


class DatedFinding(NamedTuple):
    """A finding to report, the reading that showed it, and the time that it holds for."""

    finding: Finding
    reading: Reading
    at: datetime


class SourceResult:
    """Result of one source's part of a batch. `newest` is None when every reading is late."""

    __slots__ = ("cleared", "judged_at", "met", "newest", "standing")

    def __init__(self, known: KnownSource | None) -> None:
        self.standing = known.standing if known is not None else RuleState()
        self.judged_at = known.judged_at if known is not None else None
        self.newest: Reading | None = None
        self.met: list[DatedFinding] = []
        self.cleared: list[DatedFinding] = []


def correct(readings: Sequence[Reading], known: KnownSource | None) -> tuple[list[Reading], SourceClock]:
    """Correct device times by the measured offset of the source's clock, and learn from them.

    Returns:
        The readings, and what is known of the clock after them.
    """
    clock = RIGHT if known is None else known.clock
    if clock is RIGHT and all(map(_is_right, readings)):
        return list(readings), RIGHT  # nearly all batches: nothing to correct and nothing to learn

    before: tuple[datetime, datetime] | None = None
    if known is not None and known.newest.timed:
        before = known.newest.recorded_at, known.newest.received_at

    corrected: list[Reading] = []
    for reading in sorted(readings, key=_received_at) if len(readings) > 1 else readings:
        origin = reading.origin
        if origin.clock_suspect:
            corrected.append(reading)
            continue

        timed = clock_offset.take(
            clock, origin.recorded_at, origin.received_at, before=before, buffered=origin.buffered
        )
        clock = timed.clock

        if before is None or timed.at >= before[0]:
            before = timed.at, origin.received_at

        corrected.append(_with_time(reading, timed.at) if timed.corrected else reading)

    return corrected, clock


def _is_right(reading: Reading) -> bool:
    origin = reading.origin
    return origin.clock_suspect or -RIGHT_WITHIN <= origin.recorded_at - origin.received_at <= RIGHT_WITHIN


def _received_at(reading: Reading) -> datetime:
    return reading.origin.received_at


def _with_time(reading: Reading, at: datetime) -> Reading:
    quality = tuple(dict.fromkeys((*reading.origin.quality, CORRECTED)))
    origin = msgspec.structs.replace(reading.origin, recorded_at=at, quality=quality)
    return msgspec.structs.replace(reading, origin=origin)


def follow(readings: Sequence[Reading], known: KnownSource | None, ruleset: Ruleset) -> SourceResult:
    """Follow readings of one source from the state before them. Their times are corrected already.

    Conditions met are reported each time, ends only when there was something to end.
    """
    followed = SourceResult(known)
    followed.standing.forget_all_but(ruleset.names)
    newest = known.newest if known is not None else None
    late: list[tuple[datetime, Reading]] = []

    items = [(message_times_of(reading.origin), reading) for reading in readings]
    if len(items) > 1:
        items = in_order(items)

    for moment, reading in items:
        if newest is not None and is_older(moment, newest):
            late.append((moment.at, reading))
            continue
        newest = moment
        followed.newest = reading
        _take(followed, reading, moment.at, ruleset)

    if late:
        late.sort(key=lambda item: (item[0], item[1].origin.received_at))
        _take_late(followed, late, ruleset)

    return followed


def known_after(followed: SourceResult, known: KnownSource | None, clock: SourceClock) -> KnownSource:
    """Return the state after a batch that was followed from `known`."""
    newest = known.newest if known is not None else None
    if followed.newest is not None:
        newest = message_times_of(followed.newest.origin)
    assert newest is not None and followed.judged_at is not None, "a source that is followed has a reading"
    return KnownSource(newest, followed.judged_at, followed.standing, clock)


def _take(followed: SourceResult, reading: Reading, at: datetime, ruleset: Ruleset) -> None:
    """Put in a reading that is the newest so far.

    The times at which conditions are judged never go back.
    """
    before = followed.judged_at
    if before is not None and before > at:
        at = before

    followed.judged_at = at
    standing = followed.standing

    findings = ruleset.findings(reading)
    if type(reading) is SensorReading and (alarm := alarm_topic_finding(reading, findings)) is not None:
        findings.append(alarm)

    for finding in findings:
        if finding.stage == "met" and at == before and finding.name not in standing.conditions:
            _tell(followed, finding, reading, at + TICK)
            followed.judged_at = at + TICK
        else:
            _tell(followed, finding, reading, at)


def _take_late(followed: SourceResult, late: Sequence[tuple[datetime, Reading]], ruleset: Ruleset) -> None:
    """Put in late readings, by device time.

    Only life safety is reported, and an alarm that nobody understands.
    """
    standing, aside = followed.standing, RuleState()
    ends: dict[str, DatedFinding] = {}
    for at, reading in late:
        findings = ruleset.findings(reading)
        for finding in findings:
            if finding.alert_type not in LIFE_SAFETY:
                continue

            known_at = standing.rule_times.get(finding.name)
            if known_at is None and finding.name in standing.conditions:
                known_at = followed.judged_at

            if known_at is None or at > known_at:  # the newest reading about this rule
                _tell(followed, finding, reading, at)
            elif aside.take(finding, at) == "met":
                followed.met.append(DatedFinding(finding, reading, at))
                if finding.name not in standing.conditions:
                    over = Finding(finding.rule, "over", None, None)
                    ends[finding.name] = DatedFinding(over, reading, known_at)

        alarm = alarm_topic_finding(reading, findings)
        if alarm is not None and alarm.met:
            _tell(followed, alarm, reading, at)
        if followed.judged_at is None or at > followed.judged_at:
            followed.judged_at = at

    followed.cleared += ends.values()


def _tell(followed: SourceResult, finding: Finding, reading: Reading, at: datetime) -> None:
    told = followed.standing.take(finding, at)
    if told == "met":
        followed.met.append(DatedFinding(finding, reading, at))
    elif told == "cleared":
        followed.cleared.append(DatedFinding(finding, reading, at))
