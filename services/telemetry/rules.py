"""Rules as declared in config.yaml, and changed by overrides of tenants and sites. Pure.

Both are checked when they come in. `findings` applies them to readings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec

from services.contracts.errors import Misconfigured
from services.contracts.events import AlertType, Severity
from services.contracts.families import PYTHON_TYPES, SENSOR_TYPES, TELEMETRY, BatchedFamily

ALARM_TOPIC = "alarm"
"""Name of the rule for alarm topics whose meaning no rule of config.yaml knows."""
LONGEST_HOLD_S = 86_400
LONGEST_MESSAGE = 200
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
PLACEHOLDER = re.compile(r"\{(value|state)\}")


class SourceKind(NamedTuple):
    """Measured values of a kind of source: its numbers with units, and the field of its state."""

    numbers: Mapping[str, str]
    state_field: str
    states: frozenset[str]


def _kind_of(row: BatchedFamily) -> SourceKind:
    numbers = {name: column.unit for name, column in row.fields.items() if PYTHON_TYPES[column.sql] is float}
    states = {name: column.words for name, column in row.fields.items() if column.is_state}
    [(state_field, words)] = states.items() or [("", frozenset[str]())]
    return SourceKind(numbers, state_field, words)


KINDS = {row.name: _kind_of(row) for row in TELEMETRY}
THRESHOLDS = ("raise_below", "clear_from", "raise_above", "clear_at_most")
CHANGEABLE = (*THRESHOLDS, "states", "clear_states", "severity", "hold_s", "enabled", "message")
"""Settings that an override may change.

The name, the source and the alert never change: alerts are merged by them.
"""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule.

    `field` is compared with thresholds, the source's state with `states`. Either of them raises.
    `hold_s` is the time in seconds that the condition must be met, by the device's clock, before it
    is raised.
    """

    name: str
    source: str
    type: str | None = None
    alert: AlertType
    field: str | None = None
    raise_below: float | None = None
    clear_from: float | None = None
    raise_above: float | None = None
    clear_at_most: float | None = None
    states: tuple[str, ...] = ()
    clear_states: tuple[str, ...] = ()
    severity: Severity | None = None
    hold_s: float = 0
    enabled: bool = True
    message: str | None = None

    @classmethod
    def parse(cls, tree: object) -> Rule:
        """Parse and check a rule.

        Raises `Misconfigured`, which names the rule, the setting and the remedy.
        """
        if not isinstance(tree, Mapping) or not isinstance(name := tree.get("name"), str):
            raise Misconfigured(f"rules: each is a mapping with a name, not {str(tree)[:80]!r}")

        if not NAME.match(name):
            _refuse(
                name,
                "name",
                "must be at most 40 characters, lower-case letters, digits and _, and begin with a letter",
            )

        _check_words(name, tree)
        try:
            rule = msgspec.convert(tree, cls, strict=False)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$.")
            _refuse(name, path.rstrip("`") or "settings", f"cannot be read: {what}")

        rule = msgspec.structs.replace(
            rule,
            type=rule.type.upper() if rule.type else None,
            states=tuple(state.upper() for state in rule.states),
            clear_states=tuple(state.upper() for state in rule.clear_states),
        )

        rule.check()
        return rule

    def check(self) -> None:
        """Raise `Misconfigured` when the rule could not do what it says."""
        kind = KINDS[self.source]
        if self.type is not None and (self.source != "sensor" or self.type not in SENSOR_TYPES):
            self._refuse("type", f"is for sensors, and one of {_listed(SENSOR_TYPES)}")
        if self.field is not None and self.field not in kind.numbers:
            self._refuse(
                "field", f"{self.field!r} is not measured by a {self.source}: {_listed(kind.numbers)}"
            )

        self._check_thresholds(kind)
        self._check_states(kind)

        if self.raise_below is None and self.raise_above is None and not self.states:
            self._refuse("raise_below", "is missing, and raise_above and states too: give one of them")
        if not 0 <= self.hold_s <= LONGEST_HOLD_S:
            self._refuse("hold_s", f"is {self.hold_s:g}; it must be from 0 to {LONGEST_HOLD_S} seconds")

        self._check_message()

    def _check_thresholds(self, kind: SourceKind) -> None:
        given = {name: value for name in THRESHOLDS if (value := getattr(self, name)) is not None}
        if (self.field is None) != (not given):
            self._refuse("field", "needs a threshold: give a field and raise_below or raise_above")

        percent = self.field is not None and kind.numbers[self.field] == "%"
        for name, value in given.items():
            if not math.isfinite(value) or (percent and not 0 <= value <= 100):
                self._refuse(
                    name, f"is {value:g}; it must be a number" + (" from 0 to 100" if percent else "")
                )

        for raising, clearing, side in (
            ("raise_below", "clear_from", "at least"),
            ("raise_above", "clear_at_most", "at most"),
        ):
            at, clear = given.get(raising), given.get(clearing)
            if clear is None:
                continue
            if at is None:
                self._refuse(clearing, f"clears what {raising} raises, which is missing: give it too")
            if clear < at if side == "at least" else clear > at:
                self._refuse(
                    clearing, f"is {clear:g}, on the wrong side of {raising}; it must be {side} {at:g}"
                )

        if self.raise_below is not None and self.raise_above is not None:
            clear_from, clear_at_most = self.clear_band()
            if clear_from > clear_at_most:
                self._refuse(
                    "clear_from", f"is {clear_from:g}; it must be at most {clear_at_most:g} to clear at all"
                )

    def _check_states(self, kind: SourceKind) -> None:
        for name in ("states", "clear_states"):
            for state in getattr(self, name):
                if not kind.states:
                    self._refuse(name, f"a {self.source} has no states: use thresholds")
                if state not in kind.states:
                    self._refuse(name, f"{state!r} is unknown; a {self.source} knows {_listed(kind.states)}")

        if self.clear_states and not self.states:
            self._refuse("clear_states", "need states that raise the alert: give states too")
        if both := set(self.states) & set(self.clear_states):
            self._refuse("clear_states", f"{_listed(both)} raises too: a state either raises or clears")

    def _check_message(self) -> None:
        if self.message is None:
            return
        if not 0 < len(self.message) <= LONGEST_MESSAGE or not self.message.isprintable():
            self._refuse("message", f"must be one line of 1 to {LONGEST_MESSAGE} printable characters")
        if set(PLACEHOLDER.sub("", self.message)) & set("{}"):
            self._refuse("message", "may hold {value} and {state}, and no other braces")

    def clear_band(self) -> tuple[float, float]:
        """Return the lowest and the highest value that is over.

        A clearing threshold that is missing is the raising one.
        """
        low = self.clear_from if self.clear_from is not None else self.raise_below
        high = self.clear_at_most if self.clear_at_most is not None else self.raise_above
        return (-math.inf if low is None else low), (math.inf if high is None else high)

    def changed(self, change: Mapping[str, Any]) -> Rule:
        """Return the rule with an override's change put in. Raises `Misconfigured`."""
        for name in change:
            if name not in CHANGEABLE:
                self._refuse(name, f"cannot be changed by an override; these can: {', '.join(CHANGEABLE)}")
        cleared = {name: value for name, value in change.items() if value is not None}
        kept = {name: value for name, value in as_tree(self).items() if name not in change}
        return Rule.parse({**kept, **cleared})

    def _refuse(self, setting: str, problem: str) -> NoReturn:
        _refuse(self.name, setting, problem)


class RuleOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's change of a rule: for all of its sources, a site, a kind or a sensor type.

    `change` maps settings to values. Null takes a setting back to what a rule has without it.
    """

    rule: str
    change: dict[str, Any]
    site_id: int | None = None
    source_type: str | None = None

    def place(self) -> str:
        """Return in words where the override is in force."""
        where = "the tenant" if self.site_id is None else f"site {self.site_id}"
        return where if self.source_type is None else f"{where}, {self.source_type}"

    def rank(self) -> tuple[bool, int]:
        """Return the rank. Higher wins: site and type, site, type, tenant.

        A sensor's type is closer than `sensor`.
        """
        closeness = 0 if self.source_type is None else 1 if self.source_type in KINDS else 2
        return self.site_id is not None, closeness

    def applies(self, rule: Rule, site_id: int | None, sensor_type: str | None) -> bool:
        return (
            self.rule == rule.name
            and self.site_id in (None, site_id)
            and self.source_type in (None, rule.source, sensor_type)
        )


class OverrideFault(NamedTuple):
    """An override that cannot be put in: its place, and what is wrong."""

    place: str
    problem: str


def as_tree(rule: Rule) -> dict[str, Any]:
    """Return a rule as config.yaml would have it."""
    tree: dict[str, Any] = msgspec.to_builtins(rule)
    return tree


def parse_rules(trees: object) -> tuple[Rule, ...]:
    """Parse the rules of config.yaml. Raises `Misconfigured`."""
    if not isinstance(trees, Sequence) or isinstance(trees, str):
        raise Misconfigured("config.yaml: rules must be a list")

    try:
        rules = tuple(Rule.parse(tree) for tree in trees)
        seen: set[str] = set()
        for rule in rules:
            if rule.name == ALARM_TOPIC:
                _refuse(rule.name, "name", "is taken by the rule for alarms without a known meaning")
            if rule.name in seen:
                _refuse(rule.name, "name", "is given twice: names distinguish alerts, so choose another")
            seen.add(rule.name)
    except Misconfigured as error:
        raise Misconfigured(f"config.yaml: {error}") from error

    return rules


def check_override(rules: Sequence[Rule], override: RuleOverride) -> None:
    """Raise `Misconfigured` when an override is about a rule, setting or type that is not there."""
    rule = next((rule for rule in rules if rule.name == override.rule), None)
    if rule is None:
        raise Misconfigured(f"there is no rule {override.rule!r}; there are {_listed(r.name for r in rules)}")
    if not override.change:
        _refuse(rule.name, "change", f"is empty; these can be changed: {', '.join(CHANGEABLE)}")
    if any(isinstance(value, float) and not math.isfinite(value) for value in override.change.values()):
        _refuse(rule.name, "change", "holds a number that is not finite")

    types = {rule.source} | (set() if rule.source != "sensor" else {rule.type} if rule.type else SENSOR_TYPES)
    if override.source_type is not None and override.source_type not in types:
        _refuse(rule.name, "source_type", f"{override.source_type!r} is not for this rule: {_listed(types)}")

    rule.changed({name: value for name, value in override.change.items() if name not in CHANGEABLE})


def faults_of(rules: Sequence[Rule], overrides: Sequence[RuleOverride], name: str) -> set[OverrideFault]:
    """Return the faults of one rule's overrides, at any place where they come together."""
    mine = [override for override in overrides if override.rule == name]
    sites = {None, *(override.site_id for override in mine)}
    types = {None, *(override.source_type for override in mine)}

    return {
        fault
        for rule in rules
        if rule.name == name
        for site_id in sites
        for sensor_type in types
        for fault in in_force(rule, mine, site_id=site_id, sensor_type=sensor_type)[1]
    }


def in_force(
    rule: Rule, overrides: Iterable[RuleOverride], *, site_id: int | None, sensor_type: str | None = None
) -> tuple[Rule, list[OverrideFault]]:
    """Return the rule for sources of this site and type, and the faults of overrides left out.

    An override was sound when it came in. config.yaml may have changed since.
    """
    faults: list[OverrideFault] = []
    applying = [override for override in overrides if override.applies(rule, site_id, sensor_type)]
    for override in sorted(applying, key=RuleOverride.rank):
        try:
            rule = rule.changed(override.change)
        except Misconfigured as error:
            faults.append(OverrideFault(override.place(), str(error)))
    return rule, faults


def _check_words(name: str, tree: Mapping[Any, Any]) -> None:
    """Check words of a fixed set. The error names the set."""
    settings = Rule.__struct_fields__
    for setting in tree:
        if setting not in settings:
            _refuse(name, str(setting), f"is not a setting of a rule; the settings are {', '.join(settings)}")
    for setting, known in (("source", KINDS), ("alert", AlertType.__members__)):
        if tree.get(setting) not in list(known):
            _refuse(name, setting, f"is {tree.get(setting)!r}; it must be one of {', '.join(known)}")
    if tree.get("severity") not in (None, *Severity.__members__):
        _refuse(name, "severity", f"is {tree['severity']!r}; it must be one of {', '.join(Severity)}")


def _refuse(name: str, setting: str, problem: str) -> NoReturn:
    raise Misconfigured(f"rule {name}: {setting} {problem}")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
