"""Tests of the changes at one fix.

They cover the table of docs/zones.md line by line, violations and speeding.
"""

from typing import Any

import pytest

from services.contracts.zone_parameters import Confirmation
from services.geofencing.assignment import ZoneSubject
from services.geofencing.geometry import Geofence
from services.geofencing.rule.confirmation import FixEvidence, GatheredEvidence, NeededEvidence, gather
from services.geofencing.rule.evaluator import BELIEVED_WITHIN, FixVerdict, RequiredZonesBelief, ZoneBelief
from services.geofencing.rule.fixes import EvaluatedFix, TrackFix
from services.geofencing.rule.plausibility import RememberedFix
from services.geofencing.rule.transitions import ZoneTransition
from services.geofencing.schedule import parse
from tests.support.square_site import GUARD, SETTINGS, at, circle, key, seen

E_M = 8.0
THREE = Confirmation(3, 300.0)
SLOW = circle(enter=THREE, exit=THREE)
VAULT = circle(zone_id=2, kind="forbidden", name="Vault", enter=THREE, exit=THREE)
DRIVE = circle(zone_id=3, kind="speed", name="Drive", speed_limit_mps=5.0)
IN_DRIVE = ZoneBelief(inside=True, version=1)
AT_NIGHT = parse({"weekly": [{"days": ["mon"], "from": "22:00", "to": "23:00"}]})


def fix(
    seconds: float = 0.0,
    *,
    speed: float | None = None,
    error_m: float = E_M,
    before: RememberedFix | None = None,
) -> EvaluatedFix:
    where = seen(seconds, 0.0)
    fact = TrackFix(key(seconds), at(seconds), at(seconds), where.lat, where.lon, 8.0, speed)
    return EvaluatedFix(fact, where, before, error_radius_m=error_m)


def verdict(
    held: dict[int, ZoneBelief] | None = None, of: EvaluatedFix | None = None, guard: ZoneSubject = GUARD
) -> FixVerdict:
    return FixVerdict(guard, of or fix(), held or {}, SETTINGS)


def sign(seconds: float, d: float, weight: float = 0.0, *, error_m: float = E_M) -> FixEvidence:
    where = seen(seconds, 0.0)
    return FixEvidence(key(seconds), where.at_us, where.lat, where.lon, 8.0, error_m, d, weight)


def one() -> GatheredEvidence:
    """Return evidence of a fix ten seconds ago, of no weight."""
    return gather(None, sign(-10, 0.0))


def side(
    zone: Geofence, d: float, *, inside: bool, error_m: float = E_M, gathered: GatheredEvidence | None = None
) -> ZoneBelief:
    found = verdict({zone.zone_id: ZoneBelief(inside, gathered or one(), 1)}, fix(error_m=error_m))
    found.zone(zone, d)
    return found.held.get(zone.zone_id, ZoneBelief())


def kinds(found: FixVerdict) -> list[tuple[str, int | None]]:
    return [(transition.kind, transition.zone_id) for transition in found.transitions]


EVIDENCE, NEITHER, CONTRARY = 2, 1, 0


@pytest.mark.parametrize(
    ("zone", "inside", "d", "count"),
    [
        (SLOW, True, 8.0, EVIDENCE),
        (SLOW, True, 7.9, NEITHER),
        (SLOW, True, 0.0, CONTRARY),
        (SLOW, False, 0.0, EVIDENCE),
        (SLOW, False, 0.1, NEITHER),
        (SLOW, False, 8.0, CONTRARY),
        (VAULT, False, -8.0, EVIDENCE),
        (VAULT, False, -7.9, NEITHER),
        (VAULT, False, 0.0, CONTRARY),
        (VAULT, True, 0.0, EVIDENCE),
        (VAULT, True, -0.1, NEITHER),
        (VAULT, True, -8.0, CONTRARY),
    ],
)
def test_the_table_of_evidence(zone: Geofence, inside: bool, d: float, count: int) -> None:
    held = side(zone, d, inside=inside)
    assert held.inside is inside
    assert (held.gathered.count if held.gathered else 0) == count


def test_of_a_forbidden_closet_nobody_can_be_surer_than_it_is_wide() -> None:
    closet = circle(5.0, zone_id=2, kind="forbidden", enter=THREE, exit=THREE)
    assert side(closet, -2.5, inside=False).gathered == gather(one(), sign(0, -2.5, 1.0, error_m=2.5))
    unsure = side(closet, -2.4, inside=False).gathered
    assert unsure is not None
    assert unsure.count == 1
    required = circle(5.0, enter=THREE, exit=THREE)
    assert side(required, 2.5, inside=True).gathered == one()


@pytest.mark.parametrize(
    ("d", "error_m", "weight"),
    [(8.0, 8.0, 1.0), (16.0, 8.0, 4.0), (31.2, 8.0, 15.21), (500.0, 8.0, 16.0), (3.0, 0.0, 16.0)],
)
def test_evidence_weighs_as_the_square_of_its_distance_in_error_radii(
    d: float, error_m: float, weight: float
) -> None:
    held = side(SLOW, d, inside=True, error_m=error_m)
    assert held.gathered is not None
    assert held.gathered.weight == pytest.approx(weight)


def test_an_exit_needs_weight_and_the_way_back_does_not() -> None:
    usual = circle()
    assert side(usual, 8.0, inside=True).inside is True
    assert side(usual, 500.0, inside=True).inside is False
    assert side(usual, 0.0, inside=False).inside is True


def test_what_confirms_is_the_zones_own_wish_for_that_direction() -> None:
    quick_in = circle(enter=Confirmation(1, 90.0), exit=THREE)
    found = verdict()
    found.zone(quick_in, -3.0)
    assert kinds(found) == [("entered", 1)]
    assert found.held[1] == ZoneBelief(inside=True, version=1)
    assert side(quick_in, 500.0, inside=True).inside is True


def test_of_a_zone_outside_without_evidence_nothing_is_kept() -> None:
    found = verdict()
    found.zone(SLOW, 50.0)
    assert found.held == {}


def test_a_new_version_takes_over_what_was_gathered() -> None:
    found = verdict({1: ZoneBelief(inside=True, gathered=one(), version=1)})
    found.zone(circle(version=2, enter=THREE, exit=THREE), 20.0)
    gathered = found.held[1].gathered
    assert gathered is not None
    assert (found.held[1].version, gathered.count) == (2, 2)


def test_a_zone_that_no_longer_applies_is_left_in_the_version_that_judged_last() -> None:
    found = verdict({1: ZoneBelief(inside=True, version=4), 2: ZoneBelief(gathered=one())})
    found.gone()
    [left] = found.transitions
    assert (left.kind, left.zone_id, left.zone_version) == ("exited", 1, 4)
    assert (left.evidence.rule, left.at, left.confirmed_at) == ("no_longer_applies", at(0), at(0))
    assert found.held == {}


@pytest.mark.parametrize(
    ("d", "held", "schedule", "expected"),
    [
        (-1.0, ZoneBelief(), None, True),
        (0.0, ZoneBelief(), None, True),
        (1.0, ZoneBelief(), None, False),
        (1.0, ZoneBelief(inside=True, version=1), None, True),
        (-1.0, ZoneBelief(inside=True, version=1), AT_NIGHT, False),
    ],
)
def test_in_geofence_is_by_belief_or_by_the_point_of_zones_in_force(
    d: float, held: ZoneBelief, schedule: Any, expected: bool
) -> None:
    found = verdict({1: held} if held.inside else {})
    found.zone(circle(schedule=schedule), d)
    assert found.in_geofence is expected


# Violation


def began(found: FixVerdict, *, before: bool, within: RequiredZonesBelief) -> ZoneTransition:
    assert found.violation(before=before, within=within) is not before
    return found.transitions[-1]


def test_whoever_is_sure_to_be_outside_of_all_that_is_required_violates_it() -> None:
    gathered = None
    for seconds, d in ((0.0, 20.0), (10.0, 40.0)):
        found = verdict(of=fix(seconds))
        found.zone(circle(), d)
        within = found.within(RequiredZonesBelief(gathered=gathered), required=True)
        gathered = within.gathered
    assert within == RequiredZonesBelief(without=True)
    transition = began(found, before=False, within=within)
    assert (transition.kind, transition.zone_id) == ("violation_began", 1)
    assert (transition.at, transition.confirmed_at) == (at(0), at(10))
    # (20 / 8)² and the cap's 16.
    assert (transition.evidence.weight, transition.evidence.zone_name) == (22.25, "Yard")


def test_the_nearest_required_zone_counts_and_of_two_as_near_the_lowest_id() -> None:
    found = verdict()
    for zone_id, d in ((1, 30.0), (2, 10.0), (3, 10.0)):
        found.zone(circle(zone_id=zone_id), d)
    gathered = found.within(BELIEVED_WITHIN, required=True).gathered
    assert gathered is not None
    assert gathered.needed is not None
    assert (gathered.first.distance_m, gathered.needed.zone_id) == (10.0, 2)


@pytest.mark.parametrize(
    ("d", "needed"),
    [(31.9, NeededEvidence(3, 300.0, 0.0, 24.0, 1, 1)), (32.0, NeededEvidence(2, 90.0, 0.0, 16.0))],
)
def test_beyond_four_error_radii_the_defaults_say_what_confirms(d: float, needed: NeededEvidence) -> None:
    found = verdict()
    found.zone(SLOW, d)
    gathered = found.within(BELIEVED_WITHIN, required=True).gathered
    assert gathered is not None
    assert gathered.needed == needed


def test_with_no_required_zone_in_sight_a_guard_is_without_wherever_they_are() -> None:
    within = verdict().within(BELIEVED_WITHIN, required=True)
    assert within.gathered is not None
    assert (within.gathered.first.distance_m, within.gathered.weight) == (None, 16.0)
    assert verdict().within(within, required=False) == BELIEVED_WITHIN


@pytest.mark.parametrize(
    ("without", "d", "count"),
    [
        (False, 8.0, EVIDENCE),
        (False, 7.9, NEITHER),
        (False, 0.0, CONTRARY),
        (True, 0.0, EVIDENCE),
        (True, 0.1, NEITHER),
        (True, 8.0, CONTRARY),
    ],
)
def test_out_of_all_that_is_required_and_back_go_by_the_same_table(
    without: bool, d: float, count: int
) -> None:
    found = verdict()
    found.zone(SLOW, d)
    slow = NeededEvidence(3, 300.0, 0.0)
    within = found.within(
        RequiredZonesBelief(without, gather(None, sign(-10, 0.0), needed=slow)), required=True
    )
    assert within.without is without
    assert (within.gathered.count if within.gathered else 0) == count


def test_a_required_zone_in_force_is_near_or_is_not() -> None:
    for zone, near in ((SLOW, True), (VAULT, False), (circle(schedule=AT_NIGHT), False)):
        found = verdict()
        found.zone(zone, 20.0)
        assert found.required_near is near


def test_a_point_inside_drops_what_was_gathered() -> None:
    found = verdict()
    found.zone(circle(), -1.0)
    assert found.within(RequiredZonesBelief(gathered=one()), required=True) == BELIEVED_WITHIN


def test_a_violation_ends_when_nothing_is_required_any_more() -> None:
    found = verdict()
    within = found.within(RequiredZonesBelief(without=True), required=False)
    transition = began(found, before=True, within=within)
    assert (transition.kind, transition.zone_id, transition.evidence.rule) == (
        "violation_ended",
        None,
        "schedule",
    )


def test_a_forbidden_zone_that_comes_into_force_round_a_guard_is_a_violation_at_that_fix() -> None:
    found = verdict({2: ZoneBelief(inside=True, version=1)})
    found.zone(VAULT, -30.0)
    transition = began(found, before=False, within=BELIEVED_WITHIN)
    assert (transition.kind, transition.zone_id) == ("violation_began", 2)
    assert (transition.at, transition.evidence.rule) == (at(0), "schedule")
    assert found.held[2].forbids


def test_a_forbidden_zone_out_of_force_is_entered_and_violates_nothing() -> None:
    found = verdict({2: ZoneBelief(gathered=gather(one(), sign(-5, -40.0, 16.0)))})
    found.zone(circle(zone_id=2, kind="forbidden", schedule=AT_NIGHT), -40.0)
    assert found.violation(before=False, within=BELIEVED_WITHIN) is False
    assert kinds(found) == [("entered", 2)]


def test_when_both_began_at_one_fix_required_goes_before_forbidden() -> None:
    found = verdict({2: ZoneBelief(inside=True, version=1), 4: ZoneBelief(inside=True, version=1)})
    found.zone(circle(exit=Confirmation(1, 90.0)), 40.0)
    for zone_id in (2, 4):
        found.zone(circle(zone_id=zone_id, kind="forbidden"), -30.0)
    # The defaults need two fixes. This one was gathered before.
    before = verdict(of=fix(-10.0))
    before.zone(circle(exit=Confirmation(1, 90.0)), 40.0)
    within = found.within(before.within(BELIEVED_WITHIN, required=True), required=True)
    assert within.without
    found.violation(before=False, within=within)
    assert kinds(found) == [("violation_began", None)]


def test_of_two_forbidden_zones_the_lowest_id_is_named() -> None:
    found = verdict({2: ZoneBelief(inside=True, version=1), 4: ZoneBelief(inside=True, version=1)})
    for zone_id in (4, 2):
        found.zone(circle(zone_id=zone_id, kind="forbidden"), -30.0)
    assert found.violation(before=False, within=BELIEVED_WITHIN) is True
    assert kinds(found) == [("violation_began", 2)]


def test_a_violation_that_goes_on_is_no_transition() -> None:
    found = verdict()
    assert found.violation(before=True, within=RequiredZonesBelief(without=True)) is True
    assert found.transitions == ()


# Speeding


def speeds(
    *speed: float | None, held: ZoneBelief = IN_DRIVE, before: RememberedFix | None = None
) -> list[str]:
    """Return the transitions at fixes ten seconds apart in the drive, 50 m from its edge."""
    found: list[str] = []
    for n, v in enumerate(speed):
        look = verdict({3: held}, fix(10.0 * n, speed=v, before=before))
        look.zone(DRIVE, -50.0)
        held = look.held[3]
        found += [kind for kind, _ in kinds(look)]
    return found


def test_two_fixes_above_the_limit_begin_it_and_two_at_it_end_it() -> None:
    assert speeds(5.1, 9.0) == ["speeding_began"]
    assert speeds(5.1, 5.0, 5.1) == []
    assert speeds(6.0, 6.0, 5.0, 5.0) == ["speeding_began", "speeding_ended"]
    assert speeds(6.0, 6.0, 5.0, 6.0, 5.0) == ["speeding_began"]


def test_whoever_claims_no_speed_is_measured_by_the_way_less_both_radii() -> None:
    fast, slow = seen(-10, -80.0), seen(-10, -65.0)  # 64 m and 49 m in ten seconds
    for before, v in ((fast, 6.4), (slow, None)):
        look = verdict({3: IN_DRIVE}, fix(before=before))
        look.zone(DRIVE, -50.0)
        gathered = look.held[3].speed_gathered
        assert (gathered.first.speed_mps if gathered else None) == (pytest.approx(v) if v else None)


def test_without_a_fix_before_or_time_between_nothing_is_known_of_speed() -> None:
    for before in (None, seen(0, -1000.0)):
        look = verdict({3: IN_DRIVE}, fix(before=before))
        look.zone(DRIVE, -50.0)
        assert look.held[3].speed_gathered is None


@pytest.mark.parametrize(
    "zone", [DRIVE, circle(zone_id=3, kind="speed", speed_limit_mps=5.0, schedule=AT_NIGHT)]
)
def test_leaving_the_zone_or_its_hours_ends_speeding_at_once(zone: Geofence) -> None:
    leaving = zone is DRIVE
    gathered = gather(None, sign(-10, 40.0)) if leaving else None
    look = verdict({3: ZoneBelief(inside=True, gathered=gathered, version=1, speeding=True)}, fix(speed=9.0))
    look.zone(zone, 40.0 if leaving else -50.0)
    ended = [transition for transition in look.transitions if transition.kind == "speeding_ended"]
    assert [(found.at, found.evidence.rule) for found in ended] == [(at(0), "left")]


def test_transitions_of_one_fix_are_in_order() -> None:
    found = verdict(
        {
            5: ZoneBelief(inside=True, version=1, speeding=True),
            2: ZoneBelief(inside=True, version=1, forbids=True),
        }
    )
    found.zone(circle(zone_id=4, enter=Confirmation(1, 90.0)), -10.0)
    found.gone()
    found.violation(before=True, within=BELIEVED_WITHIN)
    assert kinds(found) == [
        ("exited", 2),
        ("entered", 4),
        ("exited", 5),
        ("violation_ended", 2),
        ("speeding_ended", 5),
    ]
