"""`vigil zone try`: test a zone edit on the tracks of last week, without alerts."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from ops.commands.connections import service_database
from ops.commands.options import tenant_option
from ops.commands.zones.files import file_argument, format_option, read_features
from ops.commands.zones.records import guard_option
from ops.commands.zones.zone import json_object, zone
from services.directory.zones.import_preview import check_edits, edits_of
from services.directory.zones.store import ZoneStore
from services.geofencing.rule.what_if import GuardChanges, OneSidedTransition, ViolationTotals
from services.location.what_if import WhatIfResult, WhatIfTrials, the_last_week
from services.platform import config

PROGRESS_S = 1.0
MAX_FIXES = 50_000_000
HOUR_S, MINUTE_S = 3600, 60


@zone.command("try")
@file_argument
@format_option
@click.option(
    "--since",
    metavar="TIME",
    help="Begin, such as 2026-03-01T22:00+05:30; seven days before --until if left out.",
)
@click.option("--until", metavar="TIME", help="End, not included; now if left out.")
@guard_option
@tenant_option
@json_object
def try_zones(
    file: Path,
    format_name: str | None,
    since: str | None,
    until: str | None,
    guard_id: str | None,
    tenant_id: int,
    as_json: bool,
) -> None:
    """Try the zones of FILE on the tracks of the last week.

    Nothing is changed, and nobody is notified. FILE is what `vigil zone import --update` takes: a
    zone of a known name is an edit of it, another is new, and `enabled: false` takes one away. Both
    sides are judged by today's zones and rules, as if they had held all the time.
    """
    features = read_features(file, format_name)
    opened = service_database()
    edits = edits_of(ZoneStore(opened), features, tenant_id=tenant_id)
    check_edits(edits)
    begin, end = the_last_week(since, until, now=datetime.now(UTC))
    found = WhatIfTrials(opened, config.load().location).try_zones(
        [msgspec.structs.asdict(edit) for edit in edits],
        tenant_id=tenant_id,
        since=begin,
        until=end,
        guard_id=guard_id,
        max_fixes=MAX_FIXES,
        say=WhatIfProgress(),
    )

    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_result(found)


class WhatIfProgress:
    """Progress of the judging, printed once a second."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, judged: int, total: int) -> None:
        if time.monotonic() - self._said_s > PROGRESS_S:
            self._said_s = time.monotonic()
            click.echo(f"{judged:,} of {total:,} fixes", err=True)


def print_result(found: WhatIfResult) -> None:
    """Print the result in words, guard by guard."""
    named = ", ".join(f"{item.name} ({item.outcome})" for item in found.zones)
    click.echo(f"{named}: tried on {found.fixes:,} fixes of {found.guards_judged} guards,")
    click.echo(f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M %Z}. Nothing is changed.")
    for difference in found.guards:
        click.echo()
        _tell_guard(difference)
    if not found.guards:
        click.echo("No guard would have been judged otherwise.")


def _tell_guard(found: GuardChanges) -> None:
    today, edited = found.violations_today, found.violations_edited
    click.echo(f"{found.guard_id}: violations {_violations(today)} -> {_violations(edited)}")
    _tell_moments("no longer", found.lost, found.lost_count)
    _tell_moments("new", found.gained, found.gained_count)

    for pair in found.shifted:
        seconds = (pair.at_edited - pair.at_today).total_seconds()
        when = f"{abs(seconds):.0f} s {'later' if seconds > 0 else 'earlier'}"
        kind = pair.kind.replace("_", " ")
        click.echo(
            f"  {when}: {kind}{' ' + pair.zone if pair.zone else ''} at {pair.at_edited:%Y-%m-%d %H:%M:%S %Z}"
        )

    _tell_rest("moved in time", found.shifted_count - len(found.shifted))


def _tell_moments(word: str, moments: list[OneSidedTransition], count: int) -> None:
    for moment in moments:
        click.echo(f"  {word}: {moment.why}")
    _tell_rest(word, count - len(moments))


def _tell_rest(word: str, left: int) -> None:
    if left:
        click.echo(f"  {word}: {left} more")


def _violations(found: ViolationTotals) -> str:
    if not found.count:
        return "none"
    hours, minutes = int(found.seconds // HOUR_S), int(found.seconds % HOUR_S // MINUTE_S)
    lasted = f"{hours} h {minutes} min" if hours else f"{minutes} min {found.seconds % MINUTE_S:.0f} s"
    return f"{found.count} ({lasted})"
