"""What follows from an attempt: accepted, tried again, told otherwise, or given up. Pure.

    pending -> attempting -> accepted -> delivered
                   |    \\-> pending (later)       -> failed
                   |-> failed (for good)
                   \\-> unknown: perhaps sent, nobody can say
    pending -> withdrawn: somebody has the alert

A life-safety notification is never given up and never left unknown: it is sent again, marked as a possible duplicate.
So is any other whose alert nobody was told of: told twice is better than not at all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

State = Literal["pending", "attempting", "accepted", "delivered", "failed", "unknown", "withdrawn"]
FINAL = ("accepted", "delivered", "failed", "unknown", "withdrawn")


class Rules(msgspec.Struct, frozen=True):
    """How often one notification is tried, and after how many failures its recipient is tried otherwise too."""

    attempts: int
    failover_after: int


class Tried(msgspec.Struct, frozen=True):
    """A notification as an attempt found it: `attempts` counts this one too, `heard` says that another notification of
    its alert was accepted."""

    life_safety: bool
    attempts: int
    possible_duplicate: bool
    has_failover: bool
    heard: bool


class Next(msgspec.Struct, frozen=True):
    """The next state, `pending` from `at` on; `failover`: the recipient is told by the next channel as well."""

    state: State
    at: datetime
    error: str = ""
    possible_duplicate: bool = False
    failover: bool = False


def refused(tried: Tried, error: str, *, now: datetime) -> Next:
    """The provider said no for good: the number does not exist, the token is void."""
    return Next("failed", now, error, tried.possible_duplicate, tried.has_failover)


def not_sent(tried: Tried, error: str, *, pause_s: float, rules: Rules, now: datetime) -> Next:
    """It certainly did not go out."""
    over = tried.attempts >= rules.attempts and not tried.life_safety
    failover = tried.has_failover and (over or tried.attempts >= rules.failover_after)
    at = now + timedelta(seconds=pause_s)
    return Next("failed" if over else "pending", at, error, tried.possible_duplicate, failover)


def perhaps_sent(tried: Tried, error: str, *, pause_s: float, rules: Rules, now: datetime) -> Next:
    """It may have gone out, and the provider cannot tell."""
    if tried.life_safety or (not tried.heard and tried.attempts < rules.attempts):
        failover = tried.has_failover and tried.attempts >= rules.failover_after
        return Next("pending", now + timedelta(seconds=pause_s), error, True, failover)
    return Next("unknown", now, error, tried.possible_duplicate, tried.has_failover)


def no_provider(tried: Tried, error: str, *, put_off_s: float, now: datetime) -> Next:
    """No provider takes anything now: no attempt was made, and the person is told otherwise at once."""
    return Next(
        "pending", now + timedelta(seconds=put_off_s), error, tried.possible_duplicate, tried.has_failover
    )
