"""Tests that the events of one source do not depend on the order in which its readings arrive."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.environment import PROJECT
from services.contracts.families import Origin, SensorReading
from services.ingestion import clock_offset
from services.platform import config
from services.telemetry.rule_engine import Ruleset
from services.telemetry.rules import RuleOverride, parse_rules
from services.telemetry.source_states import KnownSource, SourceResult, correct, follow, known_after

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
RULES = parse_rules(config.load(PROJECT / "config.yaml", environ={}).rules)
RULESET = Ruleset(RULES)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def reading(
    device_s: float | None,
    state: str | None = None,
    *,
    receipt_s: float = 0.0,
    kind: str = "status",
    type: str = "SMOKE",  # noqa: A002 - the sensor's word
    value: float | None = None,
    **changes: Any,
) -> SensorReading:
    """Return a sensor's reading. Times are in seconds after noon; None is no device time."""
    suspect = device_s is None
    at = after(receipt_s if device_s is None else device_s)
    key = repr((device_s, receipt_s, state, kind, type, value)).encode()[-16:].rjust(16, b"0")
    origin = Origin("s1", key, None, f"sensor/s1/{kind}", at, after(receipt_s), suspect, (), None, '{"x": 1}')
    return SensorReading(msgspec.structs.replace(origin, **changes), kind, type, value, state)


class Source:
    """A source whose state is kept between batches, as the store keeps it."""

    def __init__(self, ruleset: Ruleset = RULESET) -> None:
        self._ruleset = ruleset
        self.known: KnownSource | None = None
        self.told: list[tuple[str, str, datetime]] = []

    def take(self, *batch: SensorReading) -> SourceResult:
        readings, clock = correct(batch, self.known)
        followed = follow(readings, self.known, self._ruleset)
        self.known = known_after(followed, self.known, clock_offset.decode(clock_offset.encode(clock)))
        self.told += [("met", v.finding.name, v.at) for v in followed.met]
        self.told += [("cleared", v.finding.name, v.at) for v in followed.cleared]
        return followed

    def outcome(self, rule: str = "smoke") -> tuple[bool, bool]:
        """Return (raised, cleared) as the alerts service has it, in any order of the events."""
        met = [at for word, name, at in self.told if (word, name) == ("met", rule)]
        ends = [at for word, name, at in self.told if (word, name) == ("cleared", rule)]
        return bool(met), bool(met and ends and max(ends) >= max(met))


def outcome_of(batches: Iterable[Sequence[SensorReading]], rule: str = "smoke") -> tuple[bool, bool]:
    source = Source()
    for batch in batches:
        source.take(*batch)
    return source.outcome(rule)


def test_a_late_fire_is_told_as_met_and_ended() -> None:
    source = Source()
    source.take(reading(-10, "NORMAL"))
    followed = source.take(reading(-60, "ALARM", receipt_s=1))
    assert [verdict.at for verdict in followed.met] == [after(-60)]
    assert [verdict.at for verdict in followed.cleared] == [after(-10)]
    assert followed.newest is None, "the newest state stays"


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param(
            [[reading(240, "NORMAL")], [reading(1, "ALARM", receipt_s=1)]], id="fast clock, then set right"
        ),
        pytest.param(
            [[reading(240, "NORMAL")], [reading(-0.2, "ALARM", receipt_s=1)]],
            id="fast clock, then set right and measured before the first was received",
        ),
        pytest.param([[reading(12, "NORMAL")], [reading(1, "ALARM", receipt_s=1)]], id="12 s fast"),
        pytest.param([[reading(None, "NORMAL")], [reading(-20, "ALARM", receipt_s=1)]], id="20 s slow"),
        pytest.param([[reading(None, "NORMAL")], [reading(-86_400, "ALARM", receipt_s=1)]], id="a day slow"),
        pytest.param(
            [[reading(-5, "NORMAL")], [reading(None, "ALARM", receipt_s=1)]], id="no time after one"
        ),
        pytest.param([[reading(-7, "NORMAL"), reading(-7, "ALARM", receipt_s=1)]], id="one second, a batch"),
        pytest.param([[reading(-7, "NORMAL")], [reading(-7, "ALARM", receipt_s=1)]], id="one second"),
        pytest.param([[reading(-7, value=20)], [reading(-7, value=101, receipt_s=1)]], id="by value"),
        pytest.param(
            [[reading(None, "NORMAL"), reading(-300, "ALARM", receipt_s=1)]], id="mixed batch, slow clock"
        ),
    ],
)
def test_a_fire_that_came_last_burns(batches: list[list[SensorReading]]) -> None:
    assert outcome_of(batches) == (True, False)


@pytest.mark.parametrize(
    "calm",
    [
        reading(3, "NORMAL", receipt_s=3),
        reading(-11, "NORMAL", receipt_s=3),
        reading(None, "CLEAR", receipt_s=3),
        reading(243, "CLOSED", receipt_s=3),
    ],
    ids=["right", "14 s slow", "without time", "fast"],
)
@pytest.mark.parametrize("begin", [reading(None, "ALARM"), reading(9, "ALARM"), reading(240, "ALARM")])
def test_a_fire_ends_by_a_calm_reading_of_another_clock(begin: SensorReading, calm: SensorReading) -> None:
    assert outcome_of([[begin], [calm]]) == (True, True)
    assert outcome_of([[begin, calm]]) == (True, True)
    assert outcome_of([[begin], [calm], [reading(None, "ALARM", receipt_s=4)]]) == (True, False)


device_times = st.lists(st.floats(-600, -1), min_size=2, max_size=6, unique=True)


@settings(max_examples=400)
@given(st.data())
def test_the_outcome_does_not_depend_on_arrival_or_batches(data: st.DataObject) -> None:
    """The receipt is set at the gateway.

    Two workers may still take the batches in another order.
    """
    times = data.draw(device_times)
    shapes = st.sampled_from(
        [
            ("SMOKE", "ALARM"),
            ("SMOKE", "NORMAL"),
            ("SMOKE", "DETECTED"),
            ("TEMPERATURE", None),
            ("SMOKE", None),
        ]
    )
    sent = [
        reading(at, state, type=kind, receipt_s=float(n))
        for n, (at, (kind, state)) in enumerate((at, data.draw(shapes)) for at in times)
    ]
    in_time = sorted(sent, key=lambda r: r.origin.recorded_at)
    arrived = data.draw(st.permutations(sent))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=4)))
    batches = [arrived[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert outcome_of(batches) == outcome_of([[item] for item in in_time])
    twice = [batch for batch in batches for _ in range(2)]
    assert outcome_of(twice) == outcome_of(batches), "a batch that is delivered again changes nothing"


def test_another_reading_of_a_sensor_with_several_measures_does_not_end_a_late_fire() -> None:
    source = Source()
    source.take(reading(-10, type="TEMPERATURE", value=21))
    source.take(reading(-60, "ALARM", receipt_s=1))
    assert source.outcome() == (True, False)
    source.take(reading(2, "NORMAL", receipt_s=2))
    assert source.outcome() == (True, True)


def test_a_late_reading_of_other_rules_raises_nothing() -> None:
    source = Source()
    source.take(reading(-10, "NORMAL", type="INTRUSION"))
    source.take(reading(-60, "ALARM", type="INTRUSION", receipt_s=1))
    assert source.told == []


def test_a_condition_that_is_cleared_and_met_again_is_told_again() -> None:
    source = Source()
    for second, state in enumerate(["ALARM", "NORMAL", "ALARM"]):
        source.take(reading(second - 10, state, receipt_s=second))
    assert [word for word, _, _ in source.told] == ["met", "cleared", "met"]


def test_late_readings_of_a_rule_that_must_hold_are_told_when_one_batch_shows_that_it_held() -> None:
    held = Ruleset(RULES, [RuleOverride(rule="smoke", change={"hold_s": 30})])
    source = Source(held)
    source.take(reading(-10, "NORMAL"))
    source.take(reading(-100, "ALARM", receipt_s=1))
    assert source.told == []
    source.take(*(reading(at, "ALARM", receipt_s=2) for at in (-90, -70, -59)))
    assert [(word, at) for word, _, at in source.told] == [("met", after(-59)), ("cleared", after(-10))]


def test_a_steady_wrong_clock_is_corrected_and_marked() -> None:
    source = Source()
    for second in range(4):
        readings, clock = correct([reading(second - 360, "NORMAL", receipt_s=second)], source.known)
        source.take(reading(second - 360, "NORMAL", receipt_s=second))
    assert readings[0].origin.recorded_at == after(3)
    assert "clock_corrected" in readings[0].origin.quality
    assert clock.offset_s == -360


def test_a_time_that_is_not_believed_teaches_nothing_of_the_clock() -> None:
    readings, clock = correct([reading(None, "NORMAL", receipt_s=second) for second in range(9)], None)
    assert clock is clock_offset.RIGHT
    assert all("clock_corrected" not in item.origin.quality for item in readings)


UNKNOWN_ALARMS = [
    {"type": "UNKNOWN", "state": "OPEN"},
    {"type": "UNKNOWN"},
    {"type": "UNKNOWN", "state": "ALARM"},
    {"type": "MOTION", "state": "DETECTED"},
    {"type": "DOOR", "state": "OPEN"},
    {"type": "TEMPERATURE", "value": 80.0},
    {"type": "HUMIDITY", "state": "ALARM"},
    {"type": "SMOKE", "state": "OPEN"},
    {"type": "SMOKE"},
]


@pytest.mark.parametrize("sent", UNKNOWN_ALARMS, ids=str)
@pytest.mark.parametrize("before", [[], [reading(-1, "NORMAL", type="UNKNOWN")]], ids=["first", "late"])
def test_an_alarm_without_a_known_meaning_is_told(sent: dict[str, Any], before: list[SensorReading]) -> None:
    source = Source()
    for calm in before:
        source.take(calm)
    at = -30 if before else -0.5
    followed = source.take(reading(at, kind="alarm", receipt_s=1, **sent))
    [verdict] = followed.met
    assert verdict.finding.dedup_key("s1") == "UNREADABLE_ALERT:s1:alarm"
    assert verdict.finding.message.startswith(f"Alarm without a known meaning: type {sent['type']}, state ")
    assert verdict.finding.message.endswith('Sent: {"x": 1}')
    source.take(reading(5, "CLEAR", type="UNKNOWN", receipt_s=6))
    assert source.outcome("alarm") == (True, True)


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "SMOKE", "state": "ALARM"},
        {"type": "SMOKE", "state": "NORMAL"},
        {"type": "UNKNOWN", "state": "CLEAR"},
        {"type": "DOOR", "state": "CLOSED"},
        {"type": "SMOKE", "value": 20.0},
        {"type": "WATER_LEAK", "state": "DETECTED"},
    ],
    ids=str,
)
def test_an_alarm_that_means_something_is_not_unreadable(sent: dict[str, Any]) -> None:
    source = Source()
    source.take(reading(-1, kind="alarm", **sent))
    assert source.outcome("alarm") == (False, False)


@pytest.mark.parametrize("kind", ["status", "reading"])
@pytest.mark.parametrize("sent", UNKNOWN_ALARMS, ids=str)
def test_only_the_alarm_topic_has_the_last_line_of_defence(kind: str, sent: dict[str, Any]) -> None:
    source = Source()
    source.take(reading(-1, kind=kind, **sent))
    assert source.told == []


def test_a_rule_that_a_person_switched_off_has_a_known_meaning() -> None:
    source = Source(Ruleset(RULES, [RuleOverride(rule="smoke", change={"enabled": False})]))
    source.take(reading(-1, "ALARM", kind="alarm"))
    assert source.told == []


def test_a_long_payload_is_cut() -> None:
    source = Source()
    raw = '{"text": "' + "x" * 5000 + '"}'
    [verdict] = source.take(reading(-1, kind="alarm", type="UNKNOWN", raw=raw)).met
    assert len(verdict.finding.message) < 300
