"""Numbers, switches and words as devices write them. Pure."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,3})?\s*%?")
LONGEST_NUMBER = 40
ALARM_WORDS = frozenset({"ON", "TRUE", "1", "TRIGGERED", "TRIGGER", "ACTIVE", "ALARM", "ALARMED", "YES"})
"""States that mean ALARM on an alarm topic."""
NORMAL_WORDS = frozenset(
    {"OFF", "FALSE", "0", "CLEARED", "NORMAL", "OK", "INACTIVE", "IDLE", "RESTORED", "RESTORE", "NO"}
)
"""States that mean NORMAL on an alarm topic. CLEAR and CLOSED are separate states."""
TRIGGERED_WORDS = frozenset({"TRIGGERED", "ALARMED"})
"""States that mean ALARM on every topic of a sensor."""


def number_of(value: object) -> float | None:
    """Return a number, also from text: `"350"`, `" 12 "`, `"350,5"` (decimal comma), `"85 %"`.

    A switch is no number, and neither is a value that is not finite. For these it returns None.
    """
    if isinstance(value, bool):
        return None

    if isinstance(value, str):
        text = value.strip()
        if len(text) > LONGEST_NUMBER or not _NUMBER.fullmatch(text):
            return None
        value = text.rstrip("% ").replace(",", ".")
    elif not isinstance(value, int | float):
        return None

    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None

    return number if math.isfinite(number) else None


def is_set(value: object) -> bool:
    """Return True when a switch is on: every value but null, false, 0, `"false"` and `"0"`.

    Use this for switches where the wrong guess is dangerous, for instance a silent alert that makes
    a sound.
    """
    if isinstance(value, str):
        return value.strip().lower() not in ("false", "0")
    return value is not None and value is not False and value != 0


def is_switch(value: object) -> bool:
    """Return True when a value is one of the usual ways to write a switch."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "false", "1", "0")
    return isinstance(value, bool | None) or value in (0, 1)


def word_of(value: object) -> str | None:
    """Return the word, in capitals, of a text, a switch or a number.

    None for other types, and for empty text.
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return f"{value:g}"
    return value.strip().upper() or None if isinstance(value, str) else None
