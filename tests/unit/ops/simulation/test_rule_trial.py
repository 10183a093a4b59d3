import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.decoding.payloads import PayloadLimits
from ops.environment import PROJECT
from ops.simulation.rule_trial import LineResult, RuleRehearsal
from services.platform import config
from services.telemetry.rule_engine import Ruleset
from services.telemetry.rules import parse_rules

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = Ruleset(parse_rules(config.load(PROJECT / "config.yaml", environ={}).rules))


def rehearse(*lines: Any) -> list[LineResult]:
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(RuleRehearsal(lambda _: RULES, limits=PayloadLimits(), now=NOW).run(encoded))


def battery(percent: float, at: str = "2026-01-01T12:00:00Z") -> dict[str, Any]:
    return {"topic": "device/d/telemetry", "payload": {"battery": percent}, "at": at}


def test_a_condition_is_raised_repeated_and_cleared_as_the_services_would() -> None:
    lines = rehearse(battery(10), battery(9), battery(22), battery(80), battery(81))
    [first, again, between, cleared, over] = [line.rules[0] for line in lines]
    assert (first.told, first.raises, first.alert_type, first.severity) == (
        "met",
        True,
        "LOW_BATTERY",
        "MEDIUM",
    )
    assert (again.told, again.raises) == ("met", False)
    assert (between.told, between.stage) == (None, "between")
    assert cleared.told == "cleared"
    assert (over.told, over.stage) == (None, "over")


def test_what_is_older_than_the_known_says_nothing() -> None:
    late = rehearse(battery(80), battery(10, "2026-01-01T11:00:00Z"))[1]
    assert (late.outcome, late.rules) == ("late", ())


def test_positions_of_phones_are_nothing_for_rules() -> None:
    sample = {"topic": "owntracks/7/phone", "payload": {"_type": "location", "lat": 1, "lon": 2, "tst": 1}}
    assert rehearse(sample)[0].outcome == "not_for_rules"


def test_the_gateway_s_own_decoder_reads_the_lines() -> None:
    smoke = {"topic": "sensor/s/alarm", "payload": {"type": "smoke", "state": "alarm"}}
    worn = {"topic": "system/health/x", "payload": {"cpu": 200}}
    [judged, flagged] = rehearse(smoke, worn)
    assert judged.rules[0].alert_type == "FIRE"
    assert flagged.quality == ("cpu",)


def test_positions_and_alerts_are_not_for_rules() -> None:
    fix = {"topic": "guard/1/gps", "payload": {"lat": 1, "lon": 2}}
    panic = {"topic": "alert/panic/guard-1", "payload": {}}
    assert [line.outcome for line in rehearse(fix, panic)] == ["not_for_rules", "not_for_rules"]


def test_a_refused_line_has_its_number_and_reason() -> None:
    found = rehearse(
        b"",
        b"nonsense",
        {"topic": "nobody/d", "payload": {}},
        {"topic": "guard/1/gps", "payload": {"lat": 999, "lon": 0}},
        {"topic": "alert/panic/guard-1", "payload": "{broken"},
        {"topic": "device/d/telemetry", "payload": {}, "when": 1},
        {"topic": "device/d/telemetry", "payload": {}, "at": "2026-01-01T12:00:00"},
    )
    assert [(line.line, line.reason) for line in found] == [
        (2, "not_a_sample"),
        (3, "topic_shape"),
        (4, "field_out_of_range"),
        (5, "broken_json"),
        (6, "not_a_sample"),
        (7, "not_a_sample"),
    ]
    assert "UNREADABLE_ALERT" in found[3].detail


WRONG = ["alert/panic/g/", "alert/panic/s/g", "guard/g/panic", "sensor/s/ALARM", "sensor/s/alarm"]


@pytest.mark.parametrize("topic", WRONG)
def test_every_refused_alarm_is_said_to_raise(topic: str) -> None:
    [line] = rehearse({"topic": topic, "payload": "{broken"})
    assert "UNREADABLE_ALERT" in line.detail


@pytest.mark.parametrize("topic", ["device/d/telemetry", "device/d/LWT", "sensor/s/alarm", "system/health/x"])
def test_a_link_word_is_not_for_rules(topic: str) -> None:
    [line] = rehearse({"topic": topic, "payload": "Offline"})
    assert (line.outcome, line.detail) == ("not_for_rules", "the state of a link")


@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda topic, payload: json.dumps({"topic": topic, "payload": payload}).encode(),
            st.one_of(st.text(max_size=20), st.just("device/d/telemetry")),
            st.recursive(
                st.one_of(st.none(), st.floats(), st.text()),
                lambda inner: st.dictionaries(st.text(), inner, max_size=3),
            ),
        ),
    )
)
def test_no_line_whatever_ends_the_rehearsal(line: bytes) -> None:
    assert all(found.outcome for found in rehearse(line, battery(10)))
