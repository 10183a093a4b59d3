"""Next state after an attempt: accepted, tried again, sent by another channel, or given up. Pure.

    pending -> attempting -> accepted -> delivered
                   |    \\-> pending (later)       -> failed
                   |-> failed (for good)
                   \\-> unknown: perhaps sent, nobody can say
    pending -> withdrawn: somebody has the alert

A life-safety notification is never given up and never left unknown. It is sent again, marked as a
possible duplicate. The same holds for any other notification when no notification of its alert was
accepted: two messages are better than none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

State = Literal["pending", "attempting", "accepted", "delivered", "failed", "unknown", "withdrawn"]
FINAL = ("accepted", "delivered", "failed", "unknown", "withdrawn")


class RetryRules(msgspec.Struct, frozen=True):
    """Limits of one notification: its attempts, and the failures before the next channel."""

    attempts: int
    failover_after: int


class AttemptState(msgspec.Struct, frozen=True):
    """State of a notification at an attempt.

    `attempts` counts this attempt too. `heard` says that another notification of the alert was
    accepted.
    """

    life_safety: bool
    attempts: int
    possible_duplicate: bool
    has_failover: bool
    heard: bool


class NextState(msgspec.Struct, frozen=True):
    """Next state of a notification; `pending` holds from `at` on.

    `failover` says that the next channel of the recipient is used as well.
    """

    state: State
    at: datetime
    error: str = ""
    possible_duplicate: bool = False
    failover: bool = False


def refused(tried: AttemptState, error: str, *, now: datetime) -> NextState:
    """Return the state after a final refusal: the number does not exist, or the token is void."""
    return NextState("failed", now, error, tried.possible_duplicate, tried.has_failover)


def not_sent(
    tried: AttemptState, error: str, *, pause_s: float, rules: RetryRules, now: datetime
) -> NextState:
    """Return the state after an attempt that certainly was not sent."""
    over = tried.attempts >= rules.attempts and not tried.life_safety
    failover = tried.has_failover and (over or tried.attempts >= rules.failover_after)
    at = now + timedelta(seconds=pause_s)
    return NextState("failed" if over else "pending", at, error, tried.possible_duplicate, failover)


def perhaps_sent(
    tried: AttemptState, error: str, *, pause_s: float, rules: RetryRules, now: datetime
) -> NextState:
    """Return the state after an attempt that may have been sent, and the provider cannot say."""
    if tried.life_safety or (not tried.heard and tried.attempts < rules.attempts):
        failover = tried.has_failover and tried.attempts >= rules.failover_after
        return NextState("pending", now + timedelta(seconds=pause_s), error, True, failover)
    return NextState("unknown", now, error, tried.possible_duplicate, tried.has_failover)


def no_provider(tried: AttemptState, error: str, *, put_off_s: float, now: datetime) -> NextState:
    """Return the state while no provider can be called.

    No attempt was made, and the next channel of the recipient is used at once.
    """
    return NextState(
        "pending", now + timedelta(seconds=put_off_s), error, tried.possible_duplicate, tried.has_failover
    )
