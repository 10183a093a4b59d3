"""Reasons why a transition is on record, in words for the users who have to believe it. Pure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from services.contracts.zone_parameters import PARAMETERS
from services.geofencing.rule.transitions import EvidenceFix, TransitionEvidence

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SHOWN_DISTANCES = 5
DIRECTION = {
    "entered": "inside",
    "exited": "outside",
    "violation_began": "outside",
    "violation_ended": "inside",
}


class ExplainedTransition(msgspec.Struct, frozen=True):
    """A transition as it is on record.

    `zone_name` is the name in its version. It is empty when the transition is about no single zone.
    """

    guard_id: str
    kind: str
    zone_name: str
    zone_version: int | None
    at: datetime
    confirmed_at: datetime
    evidence: TransitionEvidence
    late: bool = False
    superseded_at: datetime | None = None


def explain(told: ExplainedTransition, *, time_zone: str = "UTC") -> str:
    """Explain a transition in a few sentences.

    They say what happened and when, what showed it, and what was needed.
    """
    clock = SiteClock(time_zone)
    sentences = [f"{_headline(told)} at {clock.time(told.at)}.", *_reason(told, clock)]
    if told.late:
        sentences.append("It was found by fixes that came late: no alert was raised at the time.")
    if told.superseded_at is not None:
        sentences.append(
            f"It does not stand: fixes that came later showed at {clock.time(told.superseded_at)} that it was not so."
        )
    return " ".join(sentences)


class SiteClock:
    """Clock of a site, which writes times in the site's time zone."""

    def __init__(self, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)

    def time(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%Y-%m-%d %H:%M:%S %Z}"


def _headline(told: ExplainedTransition) -> str:
    zone = told.zone_name or "the zones that apply"
    version = f" (version {told.zone_version})" if told.zone_version is not None and told.zone_name else ""
    forbidden = told.evidence.zone_kind == "forbidden"
    words = {
        "entered": f"entered {zone}{version}",
        "exited": f"left {zone}{version}",
        "violation_began": f"was in the forbidden zone {zone}{version}"
        if forbidden
        else f"was outside every zone they must be in; the nearest was {zone}{version}"
        if told.zone_name
        else "was outside every zone they must be in",
        "violation_ended": f"was out of the forbidden zone {zone}{version}"
        if forbidden
        else "was back where the zones want them",
        "speeding_began": f"drove too fast in {zone}{version}",
        "speeding_ended": f"no longer drove too fast in {zone}{version}",
    }

    return f"{told.guard_id} {words[told.kind]}"


def _reason(told: ExplainedTransition, clock: SiteClock) -> list[str]:
    rule = told.evidence.rule
    if rule == "no_longer_applies":
        return ["The zone stopped applying to them: it was changed, disabled, or is for others now."]
    if rule == "schedule":
        return [
            "The zone came into force, or out of it, by its schedule or a change; they had not moved across its edge."
        ]
    if rule == "left":
        return ["They had left the zone."]

    shown = _speeds(told.evidence) if told.kind.startswith("speeding") else _distances(told)
    return [shown, _needed(told, clock)]


def _distances(told: ExplainedTransition) -> str:
    evidence = told.evidence
    where = DIRECTION[told.kind]

    if evidence.zone_kind == "forbidden" and told.kind.startswith("violation"):
        where = "inside" if told.kind == "violation_began" else "outside"

    fixes = [fix for fix in evidence.fixes if fix.distance_m is not None]
    many = _many(evidence.count, "fix in a row was", "fixes in a row were")

    if not fixes:
        return f"{many} {where}, too far away to measure."

    distances = ", ".join(f"{abs(fix.distance_m or 0.0):.0f}" for fix in fixes[:SHOWN_DISTANCES])
    more = " ..." if evidence.count > min(len(fixes), SHOWN_DISTANCES) else ""
    return f"{many} {where}, by {distances}{more} m, with error radii of {_radii(evidence.fixes)}."


def _speeds(evidence: TransitionEvidence) -> str:
    speeds = [fix.speed_mps for fix in evidence.fixes if fix.speed_mps is not None]
    limit = "" if evidence.speed_limit_mps is None else f"; the limit is {evidence.speed_limit_mps:g} m/s"
    drove = ", ".join(f"{speed:.1f}" for speed in speeds[:SHOWN_DISTANCES])
    return f"{_many(evidence.count, 'fix in a row says', 'fixes in a row say')} {drove} m/s{limit}."


def _needed(told: ExplainedTransition, clock: SiteClock) -> str:
    evidence = told.evidence
    held = "".join(
        f", and {parameter.why.format(value=value)}"
        for parameter in PARAMETERS
        if parameter.why and (value := evidence.asked(parameter.field))
    )

    by = f"That was enough at {clock.time(told.confirmed_at)}"
    if evidence.rule == "seconds":
        return f"{by}: it went on for {evidence.seconds:.0f} s, and {evidence.seconds_needed:g} s were needed{held}."

    needed = _many(evidence.fixes_needed, "fix was needed", "fixes were needed")
    if evidence.weight_needed:
        needed += (
            f" with a weight of {evidence.weight_needed:g} together (the squares of their distances in error radii);"
            f" it was {evidence.weight:.1f}"
        )

    return f"{by}: {needed[0].lower()}{needed[1:]}{held}."


def _radii(fixes: tuple[EvidenceFix, ...]) -> str:
    radii = [fix.error_radius_m for fix in fixes]
    low, high = f"{min(radii):.0f}", f"{max(radii):.0f}"
    return f"{low} m" if low == high else f"{low} to {high} m"


def _many(count: int, one: str, several: str) -> str:
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    return f"{number} {one if count == 1 else several}".capitalize()
