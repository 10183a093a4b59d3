"""Tests of the reason of a transition, as a control room reads it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.geofencing.rule.explanation import ExplainedTransition, explain
from services.geofencing.rule.transitions import EvidenceFix, TransitionEvidence

AT = datetime(2026, 3, 2, 21, 14, 5, tzinfo=UTC)


def fix(distance_m: float | None, seconds: int = 0, **more: Any) -> EvidenceFix:
    at = AT + timedelta(seconds=seconds)
    return EvidenceFix("00", at, 1.0, 2.0, more.pop("radius_m", 8.0), distance_m=distance_m, **more)


def told(kind: str = "exited", **changes: Any) -> ExplainedTransition:
    distances = (14.0, 26.0, 41.0)
    usual = TransitionEvidence(
        rule="fixes",
        fixes=tuple(fix(d, 10 * n) for n, d in enumerate(distances)),
        count=3,
        zone_kind="required",
        weight=29.6,
        weight_needed=16.0,
        fixes_needed=2,
    )
    base = {"zone_name": "Dock", "zone_version": 3, "at": AT, "confirmed_at": AT + timedelta(seconds=20)}
    return ExplainedTransition(**{"guard_id": "guard-7", "kind": kind, "evidence": usual, **base, **changes})


def evidence(**changes: Any) -> TransitionEvidence:
    return TransitionEvidence(**{"rule": "fixes", "fixes": (fix(-3.0),), "count": 1, **changes})


def test_an_exit_says_by_how_much_with_what_error_and_what_was_needed() -> None:
    assert explain(told(), time_zone="Europe/Berlin") == (
        "guard-7 left Dock (version 3) at 2026-03-02 22:14:05 CET."
        " Three fixes in a row were outside, by 14, 26, 41 m, with error radii of 8 m."
        " That was enough at 2026-03-02 22:14:25 CET: two fixes were needed with a weight of 16 together (the squares"
        " of their distances in error radii); it was 29.6."
    )


def test_what_went_on_for_long_enough_says_for_how_long() -> None:
    slow = evidence(
        rule="seconds", seconds=70.0, seconds_needed=60.0, count=2, fixes=(fix(9.0), fix(9.0, 70))
    )
    assert "it went on for 70 s, and 60 s were needed." in explain(told(evidence=slow))


def test_a_violation_names_what_it_is_about() -> None:
    assert "was outside every zone they must be in; the nearest was Dock" in explain(told("violation_began"))
    nowhere = told("violation_began", zone_name="", zone_version=None, evidence=evidence(fixes=(fix(None),)))
    assert "One fix in a row was outside, too far away to measure." in explain(nowhere)
    vault = evidence(zone_kind="forbidden")
    assert "was in the forbidden zone Vault" in explain(
        told("violation_began", zone_name="Vault", evidence=vault)
    )
    assert "in a row was inside, by 3 m" in explain(
        told("violation_began", zone_name="Vault", evidence=vault)
    )


def test_speeding_says_how_fast_and_what_was_allowed() -> None:
    fast = evidence(fixes=(fix(-5, speed_mps=14.2), fix(-5, speed_mps=15.0)), count=2, speed_limit_mps=8.0)
    assert "say 14.2, 15.0 m/s; the limit is 8 m/s." in explain(
        told("speeding_began", zone_name="Yard", evidence=fast)
    )


def test_what_no_step_of_the_guard_did_says_so() -> None:
    assert "stopped applying" in explain(told(evidence=evidence(rule="no_longer_applies")))
    assert "by its schedule" in explain(told("violation_began", evidence=evidence(rule="schedule")))
    assert "had left the zone" in explain(told("speeding_ended", evidence=evidence(rule="left")))


def test_late_and_superseded_ones_say_that_nobody_was_alarmed_and_that_they_do_not_stand() -> None:
    words = explain(told(late=True, superseded_at=AT + timedelta(hours=1)))
    assert "no alert was raised" in words
    assert "does not stand" in words


def test_a_grace_and_many_fixes_are_told() -> None:
    many = evidence(hold_s=120.0, count=25, fixes=tuple(fix(20.0 + n) for n in range(10)), fixes_needed=2)
    words = explain(told(evidence=many))
    assert "25 fixes in a row were outside, by 20, 21, 22, 23, 24 ... m" in words
    assert "for at least 120 s" in words
