"""Tests of enough evidence, and of the evidence that is kept."""

import pytest

from services.geofencing.rule.confirmation import (
    FixEvidence,
    GatheredEvidence,
    NeededEvidence,
    confirmed,
    gather,
)

NEEDED = NeededEvidence(fixes=2, seconds=90.0, hold_s=0.0, weight=16.0)


def sign(seconds: float, weight: float = 0.0) -> FixEvidence:
    return FixEvidence(
        bytes([int(seconds) % 256]), round(seconds * 1_000_000), 0.0, 0.0, 8.0, 8.0, 20.0, weight
    )


def evidence(*signs: FixEvidence) -> GatheredEvidence:
    found = None
    for one in signs:
        found = gather(found, one)
    assert found is not None
    return found


def test_two_fixes_with_weight_enough_between_them_confirm() -> None:
    change = confirmed(evidence(sign(0, 7.0), sign(10, 9.0)), NEEDED)
    assert change is not None
    assert (change.rule, change.count, change.weight, change.seconds) == ("fixes", 2, 16.0, 10.0)
    assert (change.first.at_us, change.last.at_us) == (0, 10_000_000)
    assert change.needed is NEEDED


def test_one_fix_is_never_enough_where_two_are_needed_however_far_out_it_is() -> None:
    assert confirmed(evidence(sign(0, 1000.0)), NEEDED) is None
    assert confirmed(evidence(sign(0, 1000.0)), NeededEvidence(2, 0.0, 0.0)) is None


def test_fixes_that_weigh_too_little_do_not_confirm_by_their_number() -> None:
    assert confirmed(evidence(*(sign(10 * n, 1.5) for n in range(9))), NEEDED) is None


@pytest.mark.parametrize(("seconds", "enough"), [(89.9, False), (90.0, True)])
def test_light_ones_that_go_on_for_long_enough_do(seconds: float, enough: bool) -> None:
    change = confirmed(evidence(sign(0, 1.0), sign(seconds, 1.0)), NEEDED)
    assert (change is not None and change.rule == "seconds") is enough


@pytest.mark.parametrize(("seconds", "enough"), [(119.9, False), (120.0, True)])
def test_nothing_confirms_before_the_hold_is_over(seconds: float, enough: bool) -> None:
    grace = NeededEvidence(fixes=2, seconds=90.0, hold_s=120.0, weight=16.0)
    change = confirmed(evidence(sign(0, 16.0), sign(60, 16.0), sign(seconds, 16.0)), grace)
    assert (change is not None) is enough


def test_a_hold_delays_a_zone_that_one_fix_confirms() -> None:
    dwell = NeededEvidence(fixes=1, seconds=90.0, hold_s=30.0)
    assert confirmed(evidence(sign(0)), dwell) is None
    change = confirmed(evidence(sign(0), sign(30)), dwell)
    assert change is not None
    assert change.rule == "fixes"


def test_the_first_evidence_decides_what_is_needed_where_that_is_kept() -> None:
    mine, other = NeededEvidence(2, 90.0, 0.0, zone_id=1), NeededEvidence(5, 10.0, 0.0, zone_id=2)
    found = gather(gather(None, sign(0), needed=mine), sign(10), needed=other)
    assert found.needed is mine


def test_of_many_fixes_the_first_and_the_last_nine_are_kept_and_all_are_counted() -> None:
    found = evidence(*(sign(n, 2.0) for n in range(25)))
    assert [kept.at_us // 1_000_000 for kept in found.signs] == [0, *range(16, 25)]
    assert (found.count, found.weight, found.seconds) == (25, 50.0, 24.0)
