"""Findings of readings about a source: conditions that call for an alert, or no longer do. Pure.

Rules are compiled once into a `Ruleset`, which only compares. `RuleState` holds what a source
showed before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from services.contracts.enum_words import inside
from services.contracts.events import LIFE_SAFETY, AlertType
from services.contracts.families import SENSOR, SENSOR_TYPES, TELEMETRY, Reading, SensorReading
from services.telemetry.rules import ALARM_TOPIC, KINDS, OverrideFault, Rule, RuleOverride, in_force

Stage = Literal["met", "between", "over", "off"]
Told = Literal["met", "held", "cleared"]

CALM_STATES = frozenset({"NORMAL", "CLEAR", "CLOSED"})
LONGEST_EXCERPT = 200
ALARM_RULE = Rule(name=ALARM_TOPIC, source="sensor", states=("ALARM",), alert=AlertType.UNREADABLE_ALERT)
"""Rule of last defence: for readings on an alarm topic that mean nothing to any other rule."""


class Finding(msgspec.Struct, frozen=True, gc=False):
    """Result of one rule for one reading.

    `between`: the rule is not met, and not over either. `off`: the rule is disabled.
    """

    rule: Rule
    stage: Stage
    value: float | None
    state: str | None
    words: str | None = None

    @property
    def met(self) -> bool:
        return self.stage == "met"

    @property
    def alert_type(self) -> AlertType:
        return self.rule.alert

    @property
    def name(self) -> str:
        return self.rule.name

    def dedup_key(self, source_id: str) -> str:
        """Return the dedup key. Two findings with one key are about the same trouble."""
        return f"{self.rule.alert}:{source_id}:{self.rule.name}"

    @property
    def message(self) -> str:
        """Return a sentence for users. It is made only when the finding is reported."""
        if self.words is not None:
            return self.words

        rule, value = self.rule, self.value
        shown = "unknown" if value is None else f"{value:g}"

        if self.stage == "met" and rule.message is not None:
            return rule.message.replace("{value}", shown).replace("{state}", self.state or "unknown")

        title = rule.name.replace("_", " ").capitalize()
        if self.stage == "off":
            return f"{title}: the rule is switched off"

        unit = KINDS[rule.source].numbers[rule.field] if rule.field else ""
        measure = f"{shown} {unit}" if unit else shown

        if self.stage != "met":
            return f"{title} over" if value is None else f"{title} back at {measure}"
        if self.state not in rule.states:
            return f"{title} at {measure}"

        return f"{title}: {self.state}" if value is None else f"{title}: {self.state}, {rule.field} {measure}"


def alarm_topic_finding(reading: Reading, findings: Sequence[Finding]) -> Finding | None:
    """Return what a reading says of its source's alarm topic, or None when it says nothing.

    Met: the reading came on the alarm topic, no rule is met or over by it, and its state is not a
    calm one. A rule that a user switched off has a known meaning. Over: a reading that shows that
    all is calm.
    """
    if type(reading) is not SensorReading:
        return None

    stages = {finding.stage for finding in findings}
    if "met" in stages:
        return None
    if reading.state in CALM_STATES or "over" in stages:
        return Finding(ALARM_RULE, "over", None, reading.state, f"Normal again: {_as_sent(reading)}")
    if reading.kind != "alarm" or "off" in stages:
        return None

    words = f"Alarm without a known meaning: {_as_sent(reading)}. Sent: {excerpt(reading)}"
    return Finding(ALARM_RULE, "met", None, reading.state, words)


def refused_alarm_finding(reading: SensorReading, reason: str) -> Finding:
    """Return the finding about a reading of an alarm topic that was refused."""
    words = f"Alarm refused ({inside(reason)}): {_as_sent(reading)}. Sent: {excerpt(reading)}"
    return Finding(ALARM_RULE, "met", None, reading.state, words)


def excerpt(reading: Reading) -> str:
    """Return the beginning of the payload on one line."""
    line = " ".join(reading.origin.raw[: 2 * LONGEST_EXCERPT].split())
    return line if len(line) <= LONGEST_EXCERPT else f"{line[:LONGEST_EXCERPT]}..."


def _as_sent(reading: SensorReading) -> str:
    value = "none" if reading.value is None else f"{reading.value:g}"
    return f"type {reading.type}, state {reading.state or 'none'}, value {value}"


class _RuleCheck(NamedTuple):
    """A rule as it is compared.

    A setting that is not given never raises, and never prevents clearing.
    """

    rule: Rule
    enabled: bool
    field: str
    state_field: str
    limits: tuple[float, float, float, float]
    states: frozenset[str]
    clear_states: frozenset[str]


def _compile(rule: Rule) -> _RuleCheck:
    below = -math.inf if rule.raise_below is None else rule.raise_below
    above = math.inf if rule.raise_above is None else rule.raise_above
    return _RuleCheck(
        rule,
        rule.enabled,
        rule.field or "",
        KINDS[rule.source].state_field if rule.states else "",
        (below, above, *rule.clear_band()),
        frozenset(rule.states),
        frozenset(rule.clear_states),
    )


class Ruleset:
    """Rules in force for the sources of one tenant and site.

    `faults` names overrides that had to be left out.
    """

    def __init__(
        self, rules: Sequence[Rule], overrides: Sequence[RuleOverride] = (), *, site_id: int | None = None
    ) -> None:
        self.names = frozenset(rule.name for rule in rules)
        self.faults: list[OverrideFault] = []

        def checks(source: str, sensor_type: str | None = None) -> tuple[_RuleCheck, ...]:
            mine = [rule for rule in rules if rule.source == source and rule.type in (None, sensor_type)]
            found = [in_force(rule, overrides, site_id=site_id, sensor_type=sensor_type) for rule in mine]
            self.faults += [fault for _, faults in found for fault in faults if fault not in self.faults]
            return tuple(_compile(rule) for rule, _ in found)

        self._of_class: dict[type, tuple[_RuleCheck, ...]] = {
            row.message: checks(row.name) for row in TELEMETRY if row is not SENSOR
        }
        self._of_type = {sensor_type: checks(SENSOR.name, sensor_type) for sensor_type in SENSOR_TYPES}

    def findings(self, reading: Reading) -> list[Finding]:
        """Return what each rule says of a reading.

        A rule whose value and state are unknown says nothing. A known value decides if a condition
        is over. The state decides only when there is no value. A reading in the band between the
        thresholds changes nothing.
        """
        if type(reading) is SensorReading:
            checks = self._of_type.get(reading.type, ())
        else:
            checks = self._of_class[type(reading)]

        found = []
        stage: Stage

        for rule, enabled, field, state_field, limits, states, clear_states in checks:
            value = getattr(reading, field) if field else None
            state = getattr(reading, state_field) if state_field else None
            if value is None and state is None and enabled:
                continue

            if not enabled:
                stage = "off"
            elif state in states:
                stage = "met"
            elif value is not None:
                below, above, clear_from, clear_at_most = limits
                if value < below or value > above:
                    stage = "met"
                else:
                    stage = "over" if clear_from <= value <= clear_at_most else "between"
            else:
                stage = "over" if state in clear_states else "between"

            found.append(Finding(rule, stage, value, state))

        return found


class RuleState:
    """State of a source between its readings.

    `conditions` are raised. `pending` are met since a time and must still hold. `rule_times` has
    the time of the newest reading that met or ended a rule, for each rule of life safety. Late
    readings are compared with that time.

    The state is a function of the source's readings in the order in which they were made, however
    they came in batches. Time passes only by readings. When a source goes offline while a condition
    is pending, the condition is not raised: OFFLINE says that the source is offline. The next
    reading of the source decides.
    """

    __slots__ = ("conditions", "pending", "rule_times")

    def __init__(
        self,
        conditions: Iterable[str] = (),
        pending: Mapping[str, datetime] | None = None,
        rule_times: Mapping[str, datetime] | None = None,
    ) -> None:
        self.conditions = set(conditions)
        self.pending = dict(pending or {})
        self.rule_times = dict(rule_times or {})

    def forget_all_but(self, names: frozenset[str]) -> None:
        """Forget rules that are gone from config.yaml."""
        if self.conditions or self.pending or self.rule_times:
            self.conditions &= names | {ALARM_TOPIC}
            self.pending = {name: since for name, since in self.pending.items() if name in names}
            self.rule_times = {name: at for name, at in self.rule_times.items() if name in names}

    def take(self, finding: Finding, at: datetime) -> Told | None:
        """Put in a finding of time `at`. Return what to report of it, or None."""
        rule = finding.rule
        if finding.stage != "between" and rule.alert in LIFE_SAFETY:
            self.rule_times[rule.name] = at

        if finding.stage == "met":
            if rule.hold_s and rule.name not in self.conditions:
                since = self.pending.setdefault(rule.name, at)
                if (at - since).total_seconds() < rule.hold_s:
                    return "held"
            self.pending.pop(rule.name, None)
            self.conditions.add(rule.name)
            return "met"

        if self.pending:
            self.pending.pop(rule.name, None)
        if finding.stage != "between" and rule.name in self.conditions:
            self.conditions.discard(rule.name)
            return "cleared"

        return None
