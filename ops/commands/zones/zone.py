"""`vigil zone`: geofences, which operators make and change here."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from ops.commands.connections import owner_database
from ops.commands.options import tenant_option
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes, read_json
from ops.input_output.tables import as_json_option, limit_option, show
from services.contracts.errors import NotFound, Refused
from services.contracts.zone_parameters import CHANGES, DIRECTIONS, PARAMETERS, names_of
from services.directory.zones.store import ZoneStore
from services.geofencing.files import geojson
from services.geofencing.validation import KINDS

F = TypeVar("F", bound=Callable[..., Any])
HIDDEN = ("tenant_id", "area", "schedule", "confirmation", "changed_by", "in_force_from")
HIDDEN_OF_VERSIONS = ("area", "schedule", "confirmation")
json_object = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
NOTHING = ("-", "")
"""Values that remove a field, such as the site or the schedule of a zone."""


def zones() -> ZoneStore:
    return ZoneStore(owner_database())


def shape_options(command: F) -> F:
    for option in reversed(
        (
            click.option("--circle", nargs=3, type=float, metavar="LAT LON RADIUS_M", help="A circle."),
            click.option(
                "--polygon", metavar="LON,LAT ...", help="A polygon: its corners, parted by spaces."
            ),
            click.option(
                "--multipolygon",
                "multipolygon",
                multiple=True,
                metavar="LON,LAT ...",
                help="One of several polygons; repeat the option for each."
                " After ` / ` come a hole's corners (in --polygon too).",
            ),
            click.option("--geojson", type=INPUT_FILE, help="From a file."),
        )
    ):
        command = option(command)

    return command


def field_options(command: F) -> F:
    for option in reversed(
        (
            click.option("--kind", type=click.Choice(KINDS), help="required when left out of `add`."),
            click.option("--site", help="Name or id; `-`: none. Its time zone is that of the schedule."),
            click.option("--group", help="Applies to the guards of this group (name); `-`: to all."),
            click.option("--guard", help="Applies to this guard (id); `-`: to all."),
            click.option(
                "--speed-limit",
                "speed_limit_mps",
                type=float,
                metavar="M/S",
                help="Speed limit of a speed zone, in metres a second.",
            ),
            click.option("--schedule", metavar="FILE|JSON", help="When it holds; `-`: always."),
            click.option(
                "--confirmation", metavar="FILE|JSON", help="What confirms an entry or exit; `-`: as usual."
            ),
            *(
                click.option(
                    f"--{side}-{parameter.names[side].removesuffix('_s').replace('_', '-')}",
                    f"{side}_{parameter.names[side]}",
                    type=parameter.kind,
                    help=parameter.help.format(change=CHANGES[side]),
                )
                for side in DIRECTIONS
                for parameter in PARAMETERS
            ),
        )
    ):
        command = option(command)

    return command


@click.group()
def zone() -> None:
    """Zones (geofences) with versions.

    A change makes a new version, in force after two seconds. docs/zones.md says how guards are
    judged.
    """


@zone.command("add")
@click.argument("name")
@shape_options
@field_options
@tenant_option
@json_object
def add_zone(name: str, tenant_id: int, as_json: bool, **options: Any) -> None:
    """Add a zone: a circle, a polygon, several, or what a GeoJSON file draws."""
    store = zones()
    shape = shape_of(options)
    if not shape:
        raise Refused("give one of --circle, --polygon, --multipolygon and --geojson")
    fields = {"name": name, **shape, **fields_of(store, options, tenant_id, {})}
    added = store.add(fields, tenant_id=tenant_id, by=getpass.getuser())
    print_row(added, f"zone {added['zone_id']} added", as_json=as_json)


@zone.command("change")
@click.argument("name")
@click.option("--name", "new_name", help="Another name.")
@shape_options
@click.option("--radius", "radius_m", type=float, metavar="M", help="Another radius of a circle.")
@field_options
@click.option("--version", type=int, help="Refuse when the zone is not at this version any more.")
@tenant_option
@json_object
def change_zone(
    name: str, new_name: str | None, version: int | None, tenant_id: int, as_json: bool, **options: Any
) -> None:
    """Change what is named, and nothing else."""
    store = zones()
    old = store.get(tenant_id=tenant_id, name=name)
    changes = {**shape_of(options), **fields_of(store, options, tenant_id, old)}

    if options["radius_m"] is not None:
        changes["radius_m"] = options["radius_m"]
    if new_name is not None:
        changes["name"] = new_name
    if not changes:
        raise Refused("nothing to change is named; `vigil zone change --help` lists what there is")

    found = store.change(
        name, changes, tenant_id=tenant_id, by=getpass.getuser(), version=version or old["version"]
    )
    said = (
        f"zone {name} is at version {found['version']}, in force from {found['in_force_from']:%H:%M:%S} UTC"
    )
    print_row(found, said if found["changed"] else f"zone {name} is so already", as_json=as_json)


def _switch(verb: str, enabled: bool) -> click.Command:
    @click.command(verb, help=f"{verb.capitalize()} one; in force after two seconds.")
    @click.argument("name")
    @tenant_option
    def switch(name: str, tenant_id: int) -> None:
        zones().change(name, {"enabled": enabled}, tenant_id=tenant_id, by=getpass.getuser())
        click.echo(f"zone {name} is {verb}d")

    return switch


zone.add_command(_switch("enable", True))
zone.add_command(_switch("disable", False))


@zone.command("list")
@tenant_option
@limit_option
@as_json_option
def list_zones(tenant_id: int, limit: int, as_json: bool) -> None:
    """List zones."""
    show(zones().list_zones(tenant_id=tenant_id, limit=limit), as_json=as_json, hide=HIDDEN)


@zone.command("show")
@click.argument("name")
@tenant_option
@limit_option
@json_object
def show_zone(name: str, tenant_id: int, limit: int, as_json: bool) -> None:
    """Show all of a zone, with its versions."""
    store = zones()
    found = store.get(tenant_id=tenant_id, name=name)
    versions = store.versions(found["zone_id"], tenant_id=tenant_id, limit=limit)

    if as_json:
        click.echo(msgspec.json.encode({**found, "versions": versions}))
        return

    for field, value in found.items():
        if value is not None:
            said = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            click.echo(f"{field:<16} {said if len(said) <= 500 else said[:500] + ' ...'}")

    show(versions, as_json=False, hide=HIDDEN_OF_VERSIONS)


@zone.command("history")
@click.argument("name")
@tenant_option
@limit_option
@as_json_option
def history(name: str, tenant_id: int, limit: int, as_json: bool) -> None:
    """List a zone's versions and authors, newest first."""
    store = zones()
    found = store.get(tenant_id=tenant_id, name=name)
    versions = store.versions(found["zone_id"], tenant_id=tenant_id, limit=limit)
    show(versions, as_json=as_json, hide=HIDDEN_OF_VERSIONS)


def print_row(row: Mapping[str, Any], said: str, *, as_json: bool) -> None:
    click.echo(msgspec.json.encode(row) if as_json else said)


def shape_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `area` and `radius_m` of the options, or nothing when there are none.

    Raises `Refused`.
    """
    given = [name for name in ("circle", "polygon", "multipolygon", "geojson") if options[name]]
    if len(given) > 1:
        raise Refused(f"give one of --{' and --'.join(given)}, not both")
    if not given:
        return {}
    if given == ["circle"]:
        lat, lon, radius_m = options["circle"]
        return {"area": {"type": "Point", "coordinates": [lon, lat]}, "radius_m": radius_m}

    if given == ["geojson"]:
        content = read_bytes(options["geojson"])
        with naming(options["geojson"]):
            area, radius_m = geojson.area_of(content)
        return {"area": area, "radius_m": radius_m}

    drawn = options["multipolygon"] or [options["polygon"]]
    parts = [[_corners(ring, given[0]) for ring in text.split("/")] for text in drawn]
    return {"area": {"type": "MultiPolygon", "coordinates": parts}}


def fields_of(
    store: ZoneStore, options: Mapping[str, Any], tenant_id: int, old: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields that the options name. Raises `Refused`."""
    found = {name: options[name] for name in ("kind", "speed_limit_mps") if options[name] is not None}
    names = store.names(tenant_id=tenant_id)

    for kind in ("site", "group"):
        if options[kind] is not None:
            found[f"{kind}_id"] = _id_of(kind, options[kind], names[kind])

    if options["guard"] is not None:
        found["guard_id"] = None if options["guard"] in NOTHING else options["guard"]

    for name in ("schedule", "confirmation"):
        if options[name] is not None:
            found[name] = _document(name, options[name])

    return found | _confirmation(options, found.get("confirmation", old.get("confirmation")))


def _confirmation(options: Mapping[str, Any], old: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the old document, changed by the single options."""
    document: dict[str, dict[str, Any]] = {side: dict(fields) for side, fields in (old or {}).items()}
    named = {
        (side, name): options[f"{side}_{name}"]
        for side in DIRECTIONS
        for name in names_of(side)
        if options[f"{side}_{name}"] is not None
    }
    for (side, name), value in named.items():
        document.setdefault(side, {})[name] = value

    return {"confirmation": document} if named else {}


def _id_of(kind: str, text: str, ids: Mapping[str, int]) -> int | None:
    if text in NOTHING:
        return None
    if text in ids:
        return ids[text]
    if text.isascii() and text.isdigit():
        return int(text)
    raise NotFound(f"--{kind}: this tenant has no {kind} {text!r}; `vigil {kind} list` shows them")


def _document(name: str, text: str) -> Any:
    """Return a JSON object from a file or from the text itself; None removes the field."""
    if text in NOTHING:
        return None

    if not text.lstrip().startswith("{"):
        try:
            return read_json(Path(text))
        except Refused as error:
            raise Refused(
                f"--{name}: {error}; give a file with a JSON object, or the object itself"
            ) from error

    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(f"--{name} is not JSON: {error}") from error


def _corners(text: str, option: str) -> list[list[float]]:
    try:
        return [[float(part) for part in corner.split(",")] for corner in text.split()]
    except ValueError as error:
        raise Refused(f"--{option}: {error}; write corners as LON,LAT parted by spaces") from error
