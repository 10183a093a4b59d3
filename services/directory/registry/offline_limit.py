"""Offline limit of one device: the time without a message after which it is OFFLINE. Pure."""

from __future__ import annotations

from services.contracts.errors import Refused

LONGEST_S = 31_536_000
WORDS: dict[str, float | None] = {"default": None, "never": 0.0}


def check(limit_s: float | None) -> None:
    """Check a limit: seconds up to a year, or None for the default of the device's family.

    Raises:
        Refused: the limit is out of range.
    """
    if limit_s is not None and not 0 <= limit_s <= LONGEST_S:
        raise Refused(f"silence_limit_s must be from 0 (never) to {LONGEST_S} seconds, or null (default)")


def parse(text: str) -> float | None:
    """Return the limit that a user wrote: seconds, `default` or `never`. Raises `Refused`."""
    if text in WORDS:
        return WORDS[text]
    try:
        limit_s = float(text)
    except ValueError as error:
        raise Refused(f"{text!r} is not an offline limit; write seconds, `default` or `never`") from error
    check(limit_s)
    return limit_s
