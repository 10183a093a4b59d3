"""Tests that a transition has the same name each time it is found, and that it has its reasons."""

from typing import Any

import msgspec

from services.geofencing.rule.confirmation import BeliefChange, FixEvidence, NeededEvidence
from services.geofencing.rule.transitions import TransitionEvidence, ZoneTransition, transition
from tests.support.square_site import at, circle

YARD = circle(version=3, name="Yard")


def sign(seconds: int, **changes: Any) -> FixEvidence:
    at_us = round(at(seconds).timestamp() * 1_000_000)
    usual = FixEvidence(bytes([seconds]) * 16, at_us, 1.5, 2.5, 7.0, 8.04, 20.06, 6.257)
    return msgspec.structs.replace(usual, **changes)


def change(*signs: FixEvidence, **changes: Any) -> BeliefChange:
    return BeliefChange(**{"rule": "fixes", "signs": signs, "count": len(signs), **changes})


def exited(
    guard: str = "guard-1", kind: str = "exited", zone_id: int | None = 1, of: BeliefChange | None = None
) -> ZoneTransition:
    return transition(
        guard, kind, of or change(sign(0), sign(10)), zone_id=zone_id, zone_version=3, zone=YARD
    )


def test_the_same_fixes_make_the_same_identity_whatever_was_between_them() -> None:
    again = exited(of=change(sign(0), sign(5), sign(10), weight=99.0))
    assert exited().id == again.id
    assert len(again.id) == 16


def test_any_other_guard_kind_zone_or_fix_makes_another_identity() -> None:
    others = [
        exited(guard="guard-2"),
        exited(kind="violation_began"),
        exited(zone_id=2),
        exited(zone_id=None),
        exited(of=change(sign(1), sign(10))),
        exited(of=change(sign(0), sign(11))),
    ]
    assert len({exited().id, *(other.id for other in others)}) == 7


def test_it_began_with_the_first_evidence_and_was_sure_with_the_last() -> None:
    found = exited()
    assert (found.at, found.confirmed_at) == (at(0), at(10))
    assert (found.kind, found.zone_id, found.zone_version) == ("exited", 1, 3)


def test_what_was_needed_stands_beside_what_there_was() -> None:
    needed = NeededEvidence(fixes=2, seconds=90.0, hold_s=5.0, weight=16.0)
    evidence = exited(
        of=change(sign(0), sign(10), count=12, weight=22.254, seconds=10.0, needed=needed)
    ).evidence
    assert (evidence.rule, evidence.count) == ("fixes", 12)
    assert (evidence.fixes_needed, evidence.weight_needed, evidence.weight) == (2, 16.0, 22.25)
    assert (evidence.seconds, evidence.seconds_needed, evidence.hold_s) == (10.0, 90.0, 5.0)
    assert (evidence.zone_name, evidence.zone_kind, evidence.speed_limit_mps) == ("Yard", "required", None)


def test_a_fix_is_shown_to_decimetres_and_survives_json() -> None:
    evidence = exited().evidence
    shown = msgspec.json.decode(msgspec.json.encode(evidence))["fixes"][0]
    assert shown == {
        "key": "00" * 16,
        "at": "2026-03-02T12:00:00Z",
        "lat": 1.5,
        "lon": 2.5,
        "accuracy": 7.0,
        "error_radius_m": 8.0,
        "distance_m": 20.1,
        "weight": 6.26,
    }
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=TransitionEvidence) == evidence


def test_what_is_beyond_all_reach_has_no_distance() -> None:
    [shown] = exited(of=change(sign(0, distance_m=None, speed_mps=14.26))).evidence.fixes
    assert (shown.distance_m, shown.speed_mps) == (None, 14.3)


def test_a_zone_that_no_longer_applies_leaves_its_number_only() -> None:
    found = transition(
        "guard-1", "exited", change(sign(0), rule="no_longer_applies"), zone_id=1, zone_version=2, zone=None
    )
    assert (found.zone_id, found.zone_version, found.evidence.zone_name) == (1, 2, "")
    assert (found.evidence.fixes_needed, found.evidence.weight_needed) == (0, 0.0)
