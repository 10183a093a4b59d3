"""Tests that a bucket gives the promised amount and no more.

It is forgotten when it is full again.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform.token_buckets import TokenBuckets


def test_a_burst_is_taken_then_the_rate_holds_and_the_refusal_says_when() -> None:
    buckets = TokenBuckets(count=10, window_s=5)
    assert all(buckets.take("ann", now_s=0.0) is None for _ in range(10))
    first, second = buckets.take("ann", now_s=0.0), buckets.take("ann", now_s=0.0)
    assert first is not None
    assert second is not None
    assert (first.wait_s, first.is_first, second.is_first) == (0.5, True, False)
    assert buckets.take("ann", now_s=0.5) is None
    again = buckets.take("ann", now_s=0.5)
    assert again is not None
    assert again.is_first  # after one that was let in


def test_one_key_costs_another_nothing() -> None:
    buckets = TokenBuckets(count=2, window_s=1)
    for _ in range(100):
        buckets.take("flood", now_s=0.0)
    assert buckets.take("ann", now_s=0.0) is None


def test_what_costs_more_than_a_bucket_holds_is_always_refused_and_takes_nothing() -> None:
    buckets = TokenBuckets(count=10, window_s=1)
    assert buckets.take("ann", now_s=0.0, tokens=11) is not None
    assert buckets.take("ann", now_s=0.0, tokens=10) is None


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=400))
def test_never_more_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    buckets, now_s, taken = TokenBuckets(count=5, window_s=2), 100.0, 0
    for pause_s in pauses:
        now_s += pause_s
        taken += buckets.take("ann", now_s=now_s) is None
        assert taken <= 5 + (now_s - 100.0) * 2.5 + 1e-6


def test_buckets_that_are_full_again_are_forgotten() -> None:
    buckets = TokenBuckets(count=5, window_s=10)
    for number in range(10_000):
        buckets.take(f"address {number}", now_s=number / 10)
    assert len(buckets) <= 101


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    buckets = TokenBuckets(count=1, window_s=10)
    assert buckets.take("ann", now_s=100.0) is None
    assert buckets.take("ann", now_s=50.0) is not None


@pytest.mark.parametrize(("count", "window_s"), [(0, 1), (1, 0), (-1, 1)])
def test_a_bucket_of_nothing_is_a_mistake(count: int, window_s: int) -> None:
    with pytest.raises(ValueError, match="bucket"):
        TokenBuckets(count=count, window_s=window_s)
