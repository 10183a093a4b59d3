"""Parameters of what confirms an entry into a zone, or an exit: each is declared here, once. Pure.

From `PARAMETERS` follow the check of a zone's `confirmation`, the description of the API's field
and the options of `vigil zone`. So do the defaults, the evidence and its explanation.

How to add a parameter (docs/howto/add-a-geofence-parameter.md has an example):

1. Add its field to `Confirmation` and its row to `PARAMETERS`. A default that an installation may
   change is the name of a setting of `location`, in config.yaml and `services/platform/config.py`.
2. Use it in `services/geofencing/rule/confirmation.py`: the field of `Needed`, at its end and with
   a default that asks for nothing, and the rule in `confirmed`.
3. Say in docs/zones.md what it means.
4. Write docs/cli.md again: `python -m ops.commands.cli_page > docs/cli.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Direction = Literal["enter", "exit"]
DIRECTIONS: tuple[Direction, ...] = ("enter", "exit")
CHANGES: Mapping[Direction, str] = {"enter": "an entry", "exit": "an exit"}
LONGEST_S = 86_400.0


class Confirmation(msgspec.Struct, frozen=True):
    """Evidence that confirms a change: a number of fixes, or a time in seconds.

    `hold_s` is how long the change must have lasted (dwell, grace).
    """

    fixes: int
    seconds: float
    hold_s: float = 0.0


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter.

    Attributes:
        field: The field of `Confirmation`, and of what was needed in a rule.
        names: The name in a zone's `confirmation`, by direction.
        least, most: The bounds.
        least_excluded: True when the value must be more than `least`.
        whole: True for a whole number.
        unit: The word after the bounds in an error.
        default: The value, or the name of the setting of `location` that has it.
        help: The text of the command-line option. `{change}` is "an entry" or "an exit".
        why: Words of the explanation of a transition, for a value that was needed besides the fixes
            or seconds. Empty for those two.
    """

    field: str
    names: Mapping[Direction, str]
    least: float
    most: float
    least_excluded: bool = False
    whole: bool = False
    unit: str = ""
    default: str | float
    help: str
    why: str = ""

    @property
    def kind(self) -> type[int] | type[float]:
        return int if self.whole else float

    @property
    def bounds(self) -> str:
        """Return the bounds in words, to follow "it must be"."""
        if self.whole:
            return f"a whole number from {self.least:g} to {self.most:g}"
        if self.least_excluded:
            return f"more than {self.least:g} and at most {self.most:g}"
        return f"{self.least:g} to {self.most:g} {self.unit}".rstrip()

    def allows(self, value: float) -> bool:
        if self.whole and not isinstance(value, int):
            return False
        return self.least <= value <= self.most and not (self.least_excluded and value == self.least)


PARAMETERS = (
    Parameter(
        field="fixes",
        names={"enter": "fixes", "exit": "fixes"},
        least=1,
        most=100,
        whole=True,
        default="confirm_fixes",
        help="Number of fixes that confirm {change}.",
    ),
    Parameter(
        field="seconds",
        names={"enter": "seconds", "exit": "seconds"},
        least=0,
        most=LONGEST_S,
        least_excluded=True,
        default="confirm_s",
        help="Or the seconds over which sure fixes continue.",
    ),
    Parameter(
        field="hold_s",
        names={"enter": "dwell_s", "exit": "grace_s"},
        least=0,
        most=LONGEST_S,
        unit="seconds",
        default=0.0,
        help="Least seconds until the confirmation.",
        why="for at least {value:g} s",
    ),
)


def names_of(direction: Direction) -> tuple[str, ...]:
    """Return the names of the parameters in a zone's `confirmation`."""
    return tuple(parameter.names[direction] for parameter in PARAMETERS)


def described() -> str:
    """Return the description of a zone's `confirmation` for the API."""
    sides = (f"`{side}` {{{', '.join(names_of(side))}}}" for side in DIRECTIONS)
    return f"{' and '.join(sides)}, all optional"


def usual(settings: Any) -> Confirmation:
    """Return the confirmation of a zone that has none of its own.

    Args:
        settings: The part `location` of the configuration.
    """
    values: dict[str, Any] = {}
    for parameter in PARAMETERS:
        default = parameter.default
        values[parameter.field] = getattr(settings, default) if isinstance(default, str) else default
    return Confirmation(**values)


def confirmation_of(document: Mapping[str, Any], direction: Direction, default: Confirmation) -> Confirmation:
    """Return what confirms a change, by one direction of a zone's `confirmation`."""
    values: dict[str, Any] = {}
    for parameter in PARAMETERS:
        value = document.get(parameter.names[direction], getattr(default, parameter.field))
        values[parameter.field] = parameter.kind(value)
    return Confirmation(**values)
