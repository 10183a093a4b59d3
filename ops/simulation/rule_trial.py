"""Runs sample messages through the gateway's decoder and the rules, as the services do. Pure.

Times come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.mqtt.decoding.link_state import read as read_link
from gateway.mqtt.decoding.payloads import Message, PayloadLimits, decode
from gateway.mqtt.decoding.topics import Topic, parse
from gateway.mqtt.decoding.unreadable import may_be_alarm, names_life_safety
from services.contracts.errors import InvalidMessage
from services.contracts.events import DEFAULT_SEVERITY, AlertType, DeviceAlert
from services.contracts.families import Family, Fix, Reading
from services.telemetry.rule_engine import Finding, Ruleset, alarm_topic_finding
from services.telemetry.source_states import KnownSource, SourceResult, correct, follow, known_after

RulesOf = Callable[[str], Ruleset]
"""Returns the rules in force for a source, by its id."""


class RuleSample(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a file.

    A payload that is a JSON string is sent as its text, so that broken payloads can be tried.
    """

    topic: str
    payload: msgspec.Raw
    at: Annotated[datetime, Meta(tz=True)] | None = None

    def octets(self) -> bytes:
        raw = bytes(self.payload)
        return msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw


class RuleResult(msgspec.Struct, frozen=True):
    """Result of one rule: met, held, cleared or None.

    `raises` marks the first result that is met.
    """

    rule: str
    stage: str
    told: str | None
    raises: bool
    alert_type: str
    severity: str
    message: str


class LineResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one line.

    `outcome` is judged, late (the line does not change the present state), not_for_rules, or
    refused.
    """

    line: int
    outcome: str
    source_id: str | None = None
    reason: str | None = None
    detail: str = ""
    quality: tuple[str, ...] = ()
    rules: tuple[RuleResult, ...] = ()


class RuleRehearsal:
    """Rehearsal of lines: each counts as a message that comes alone.

    The state of each source is kept between lines, as the services do.
    """

    def __init__(self, rules_of: RulesOf, *, limits: PayloadLimits, now: datetime) -> None:
        self._rules_of = rules_of
        self._limits = limits
        self._now = now
        self._known: dict[str, KnownSource] = {}
        self._count = 0

    def run(self, lines: Iterable[bytes]) -> Iterator[LineResult]:
        """Yield the result of each line. Blank lines are skipped, but counted."""
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield self._take(number, line)

    def _take(self, number: int, line: bytes) -> LineResult:
        topic: Topic | None = None
        try:
            sample = msgspec.json.decode(line, type=RuleSample)
            payload = sample.octets()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return LineResult(line=number, outcome="refused", reason="not_a_sample", detail=str(error))

        try:
            topic = parse(sample.topic)
            if topic.family is Family.OWNTRACKS:
                return LineResult(
                    line=number, outcome="not_for_rules", detail="positions are judged by zones"
                )
            message = self._decode(sample, topic)
        except InvalidMessage as error:
            detail = error.detail
            if not names_life_safety(sample.topic) and read_link(sample.topic, payload):
                return LineResult(line=number, outcome="not_for_rules", detail="the state of a link")
            if may_be_alarm(sample.topic, topic):
                detail += f" (raises {AlertType.UNREADABLE_ALERT} in its place)"
            return LineResult(line=number, outcome="refused", reason=error.reason, detail=detail)

        origin = message.origin
        told: dict[str, Any] = {"line": number, "source_id": origin.source_id, "quality": origin.quality}

        if isinstance(message, Fix):
            return LineResult(outcome="not_for_rules", detail="positions are judged by zones", **told)
        if isinstance(message, DeviceAlert):
            return LineResult(
                outcome="not_for_rules", detail=f"raises {message.alert_type} by itself", **told
            )

        late, rules = self._follow(message)
        if late:
            return LineResult(
                outcome="late", detail="older than what is known of the source", rules=rules, **told
            )

        return LineResult(outcome="judged", rules=rules, **told)

    def _decode(self, sample: RuleSample, topic: Topic) -> Message:
        return decode(
            sample.topic,
            topic,
            sample.octets(),
            received_at=sample.at or self._now,
            limits=self._limits,
            fresh_key=self._fresh_key,
        )

    def _follow(self, message: Reading) -> tuple[bool, tuple[RuleResult, ...]]:
        """Return whether the reading is late, and the results of the rules.

        For a late reading, only the results that are met are returned.
        """
        source_id = message.origin.source_id
        ruleset, known = self._rules_of(source_id), self._known.get(source_id)
        raised = frozenset() if known is None else frozenset(known.standing.conditions)
        [reading], clock = correct([message], known)
        followed = follow([reading], known, ruleset)
        self._known[source_id] = known_after(followed, known, clock)
        judged = tuple(
            _judged(finding, told, raises=told == "met" and finding.name not in raised)
            for finding, told in _told(followed, reading, ruleset)
        )

        late = followed.newest is None
        return late, tuple(rule for rule in judged if not late or rule.told == "met")

    def _fresh_key(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(16, "big")


def _told(followed: SourceResult, reading: Reading, ruleset: Ruleset) -> Iterator[tuple[Finding, str | None]]:
    """Yield each finding about a reading with its result: met, held, cleared or None."""
    met, cleared = ({v.finding.name for v in found} for found in (followed.met, followed.cleared))
    findings = ruleset.findings(reading)
    alarm = alarm_topic_finding(reading, findings)
    if alarm is not None and alarm.name in met | cleared:
        findings.append(alarm)
    for finding in findings:
        held = finding.met and finding.name in followed.standing.pending
        told = "met" if finding.name in met else "held" if held else None
        yield finding, "cleared" if told is None and finding.name in cleared else told


def _judged(finding: Finding, told: str | None, *, raises: bool) -> RuleResult:
    severity = finding.rule.severity or DEFAULT_SEVERITY[finding.alert_type]
    return RuleResult(
        finding.name, finding.stage, told, raises, finding.alert_type.value, severity.value, finding.message
    )
