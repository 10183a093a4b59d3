"""`vigil zone import|export|check`: zones in files."""

from __future__ import annotations

import getpass
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import msgspec

from ops.commands.options import tenant_option
from ops.commands.zones.zone import zone, zones
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes
from services.directory.zones import import_export
from services.directory.zones.import_export import FORMATS, FeatureOutcome, ZoneImport
from services.geofencing.files.features import MAX_FILE_BYTES, Feature

PROGRESS_S = 1.0

format_option = click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="Format, when neither the file's name nor its beginning shows it.",
)
file_argument = click.argument("file", type=INPUT_FILE)
update_option = click.option("--update", is_flag=True, help="Change zones that have the names of features.")
json_list = click.option("--json", "as_json", is_flag=True, help="Print one JSON list and nothing else.")


@zone.command("import")
@file_argument
@format_option
@update_option
@click.option("--all-or-nothing", is_flag=True, help="Import nothing when a feature is refused.")
@tenant_option
@json_list
def import_zones(file: Path, tenant_id: int, as_json: bool, all_or_nothing: bool, **options: Any) -> None:
    """Add the zones of a GeoJSON or KML FILE.

    A feature that is refused is named, and the exit code is 1 then. Properties: name, kind, site,
    group, guard, enabled, speed_limit_mps, schedule, confirmation, and radius_m of a Point. A
    property that is absent leaves the zone's as it is; null takes it away. Another run goes on
    where the last one stopped.
    """
    outcomes = _taken(file, tenant_id, whole=all_or_nothing, **options)
    report(outcomes, as_json=as_json, done="imported")


@zone.command("check")
@file_argument
@format_option
@update_option
@tenant_option
@json_list
def check_zones(file: Path, tenant_id: int, as_json: bool, **options: Any) -> None:
    """Say what an import of FILE would do, and do nothing."""
    report(_taken(file, tenant_id, dry=True, **options), as_json=as_json, done="checked, nothing is changed")


@zone.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@format_option
@tenant_option
def export_zones(file: Path | None, format_name: str | None, tenant_id: int) -> None:
    """Write all zones to FILE (.geojson or .kml), or GeoJSON to standard output."""
    suffix = file.suffix.lower().lstrip(".") if file else ""
    progress = FileProgress(None)
    found = zones().export(tenant_id=tenant_id, say=progress)
    written = import_export.write(found, format=format_name or ("kml" if suffix == "kml" else "geojson"))
    if file is None:
        click.echo(written, nl=False)
        return
    file.write_bytes(written)
    click.echo(f"{len(found)} zones are in {file}")


class FileProgress:
    """Progress of long work, printed once a second."""

    def __init__(self, total: int | None) -> None:
        self._of = "" if total is None else f" of {total}"
        self._said_s = time.monotonic()

    def __call__(self, count: int) -> None:
        if time.monotonic() - self._said_s > PROGRESS_S:
            self._said_s = time.monotonic()
            click.echo(f"{count}{self._of} zones", err=True)


def report(outcomes: list[FeatureOutcome], *, as_json: bool, done: str) -> None:
    """Print the outcome of each feature; exit with 1 when one was refused."""
    counts = Counter(outcome.outcome for outcome in outcomes)
    if as_json:
        click.echo(msgspec.json.encode(outcomes))
    else:
        for outcome in outcomes:
            if outcome.outcome == "refused":
                click.echo(
                    f"feature {outcome.index} ({outcome.name or 'no name'}): {outcome.reason}", err=True
                )

        ignored = sorted({name for outcome in outcomes for name in outcome.ignored})
        if ignored:
            click.echo(f"not of a zone, and left out: {', '.join(ignored)}", err=True)

        click.echo(
            f"{done}: {', '.join(f'{count} {what}' for what, count in counts.items()) or 'no features'}"
        )

    if counts["refused"]:
        sys.exit(1)


def read_features(file: Path, format_name: str | None) -> list[Feature]:
    """Return the features of a zone file. Raises `Refused`."""
    content = read_bytes(file, at_most=MAX_FILE_BYTES)
    with naming(file):
        return import_export.read(content, format=format_name)


def _taken(
    file: Path,
    tenant_id: int,
    *,
    format_name: str | None,
    update: bool,
    whole: bool = False,
    dry: bool = False,
) -> list[FeatureOutcome]:
    features = read_features(file, format_name)
    taken = ZoneImport(
        zones(), tenant_id=tenant_id, by=getpass.getuser(), update=update, whole=whole, dry=dry
    )
    return taken.run(features, say=FileProgress(len(features)))
