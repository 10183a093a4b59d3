"""Tests of the time after an attempt.

A life-safety notification is never given up. A message that may have arrived is marked at its
next attempt.
"""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.notifications import retry_policy
from services.notifications.retry_policy import AttemptState, NextState, RetryRules

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = RetryRules(attempts=4, failover_after=2)


def tried(
    attempts: int = 1, *, life_safety: bool = False, failover: bool = True, heard: bool = False
) -> AttemptState:
    return AttemptState(life_safety, attempts, False, failover, heard)


def test_what_did_not_go_out_is_tried_again_later_and_then_otherwise_too() -> None:
    first = retry_policy.not_sent(tried(), "busy", pause_s=3, rules=RULES, now=NOW)
    assert first == NextState("pending", NOW + timedelta(seconds=3), "busy")
    assert retry_policy.not_sent(tried(2), "busy", pause_s=3, rules=RULES, now=NOW).failover
    assert not retry_policy.not_sent(
        tried(2, failover=False), "busy", pause_s=3, rules=RULES, now=NOW
    ).failover
    assert retry_policy.not_sent(tried(4), "busy", pause_s=3, rules=RULES, now=NOW).state == "failed"


def test_a_refusal_for_good_is_told_otherwise_at_once() -> None:
    assert retry_policy.refused(tried(), "no such number", now=NOW) == NextState(
        "failed", NOW, "no such number", False, True
    )


def test_what_perhaps_went_out_is_unknown_when_somebody_else_heard_of_the_alert() -> None:
    following = retry_policy.perhaps_sent(tried(heard=True), "dropped", pause_s=1, rules=RULES, now=NOW)
    assert (following.state, following.failover) == ("unknown", True)


def test_what_perhaps_went_out_goes_again_marked_when_nobody_heard_of_the_alert() -> None:
    following = retry_policy.perhaps_sent(tried(), "dropped", pause_s=1, rules=RULES, now=NOW)
    assert (following.state, following.possible_duplicate) == ("pending", True)


@given(st.integers(1, 1000), st.booleans(), st.booleans(), st.booleans())
def test_life_safety_is_never_given_up_nor_left_unknown(
    attempts: int, duplicate: bool, failover: bool, heard: bool
) -> None:
    panic = AttemptState(True, attempts, duplicate, failover, heard)
    for decide in (retry_policy.not_sent, retry_policy.perhaps_sent):
        assert decide(panic, "x", pause_s=1, rules=RULES, now=NOW).state == "pending"


@given(st.integers(1, 1000), st.booleans(), st.booleans(), st.booleans())
def test_once_marked_a_possible_duplicate_stays_marked(
    attempts: int, life_safety: bool, failover: bool, heard: bool
) -> None:
    marked = AttemptState(life_safety, attempts, True, failover, heard)
    for decide in (retry_policy.not_sent, retry_policy.perhaps_sent):
        assert decide(marked, "x", pause_s=1, rules=RULES, now=NOW).possible_duplicate
    assert retry_policy.refused(marked, "x", now=NOW).possible_duplicate


def test_without_a_provider_the_person_is_told_otherwise_and_no_attempt_counts() -> None:
    assert retry_policy.no_provider(tried(), "failing", put_off_s=5, now=NOW) == NextState(
        "pending", NOW + timedelta(seconds=5), "failing", False, True
    )
