"""`vigil guard|site|device profile`: what an operator must know of them during an alert.

Numbers come from files, never from the command line: every user of the machine can read its
process list. Pillow is imported only by the command that needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ops.commands.connections import service_database
from ops.commands.options import tenant_option
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes, read_json, safe_name
from ops.input_output.tables import as_json_option, limit_option, show
from ops.sources import profiles_csv
from ops.sources.profiles_csv import Line
from services.contracts.errors import Conflict, NotFound, Refused
from services.contracts.people import (
    DeviceProfileChange,
    GuardProfileChange,
    SiteProfileChange,
    overdue,
    wrong,
)
from services.directory.people.store import SHAPES, Key, Kind, ProfileStore, today

BY = "vigil"
CHANGES: dict[Kind, type[msgspec.Struct]] = {
    "guard": GuardProfileChange,
    "site": SiteProfileChange,
    "device": DeviceProfileChange,
}


def profiles() -> ProfileStore:
    return ProfileStore(service_database())


def make_profile_group(kind: Kind) -> click.Group:
    """Return the commands about the profiles of guards, sites or devices."""

    @click.group("profile", help=f"What an operator must know of a {kind} during an alert.")
    def commands() -> None:
        pass

    for command in (_show(kind), _set(kind), _import(kind), _changes(kind)):
        commands.add_command(command)
    if SHAPES[kind].picture:
        commands.add_command(_picture(kind, SHAPES[kind].picture))
    return commands


def _show(kind: Kind) -> click.Command:
    @click.command("show", help=f"Show the profile of a {kind}, and what to verify.")
    @click.argument("subject")
    @tenant_option
    @as_json_option
    def show_profile(subject: str, tenant_id: int, as_json: bool) -> None:
        key = _key_of(kind, subject, tenant_id)
        stored = profiles().get(kind, key, tenant_id=tenant_id)

        if as_json:
            click.echo(msgspec.json.encode({"version": stored.version, "profile": stored.profile}))
            return

        for name, value in msgspec.to_builtins(stored.profile).items():
            click.echo(f"{name:<18} {_words(value)}")

        unverified = overdue(stored.profile, today=today())
        for said, places in (("Verify", unverified), ("Wrong number", wrong(stored.profile))):
            if places:
                click.echo(f"{said}: {', '.join(places)}")

    return show_profile


def _words(value: Any) -> str:
    if value in ("", None, []):
        return "not on record"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _set(kind: Kind) -> click.Command:
    @click.command("set", help=f"Set fields of a {kind}'s profile from a JSON FILE; the others stay.")
    @click.argument("subject")
    @click.argument("file", type=INPUT_FILE)
    @tenant_option
    def set_profile(subject: str, file: Path, tenant_id: int) -> None:
        changes = _fields(kind, read_json(file))
        version = changes.pop("version", None)
        key = _key_of(kind, subject, tenant_id)
        stored = profiles().change(kind, key, changes, tenant_id=tenant_id, by=BY, version=version)
        said = f"is at version {stored.version} now" if stored.is_changed else "had these values already"
        click.echo(f"profile of {kind} {subject} {said}")

    return set_profile


def _fields(kind: Kind, document: Any) -> dict[str, Any]:
    """Return the checked fields of a JSON document. Raises `Refused`."""
    try:
        change = msgspec.convert(document, CHANGES[kind])
    except msgspec.ValidationError as error:
        raise Refused(f"profile: {error}") from error
    given = {name: getattr(change, name) for name in change.__struct_fields__}
    return {n: msgspec.to_builtins(v) for n, v in given.items() if v is not msgspec.UNSET}


def _import(kind: Kind) -> click.Command:
    further = tuple(f"callee_{number}_" for number in range(2, profiles_csv.CALLEES + 1))
    columns = ", ".join(name for name in profiles_csv.COLUMNS[kind] if not name.startswith(further))
    columns += f". Callees go up to callee_{profiles_csv.CALLEES}" if "callee_1_" in columns else ""

    @click.command(
        "import",
        short_help="Set the profiles of a CSV file.",
        help=f"Set the profiles of a CSV FILE; a blank cell leaves its field as it is. Columns: {columns}.",
    )
    @click.argument("file", type=INPUT_FILE)
    @click.option("--dry-run", is_flag=True, help="Check every line and change nothing.")
    @tenant_option
    def import_profiles(file: Path, dry_run: bool, tenant_id: int) -> None:
        content = read_bytes(file)
        with naming(file):
            lines = list(profiles_csv.lines_of(profiles_csv.read(content, kind), kind))

        keys = profiles().site_keys(tenant_id=tenant_id) if kind == "site" else None
        counts = {"changed": 0, "unchanged": 0, "refused": 0}
        stored = profiles()

        for line in lines:
            outcome, problem = _take(stored, kind, line, keys, tenant_id=tenant_id, dry_run=dry_run)
            counts[outcome] += 1
            if problem:
                click.echo(f"{safe_name(file)}, line {line.number}: {problem}", err=True)

        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        click.echo(f"{said}{'; nothing was written (--dry-run)' if dry_run else ''}")

        if counts["refused"]:
            raise SystemExit(1)

    return import_profiles


def _take(
    stored: ProfileStore,
    kind: Kind,
    line: Line,
    sites: dict[str, int] | None,
    *,
    tenant_id: int,
    dry_run: bool,
) -> tuple[str, str]:
    """Set the profile of one line. Return the outcome, and the problem of a refused line."""
    if line.reason:
        return "refused", line.reason

    key: Key | None = line.subject if sites is None else sites.get(line.subject)
    if key is None:
        return "refused", f"site is {line.subject!r}, which this tenant does not have"

    try:
        done = stored.change(kind, key, line.changes, tenant_id=tenant_id, by=BY, dry_run=dry_run)
    except (Refused, NotFound, Conflict) as error:
        return "refused", str(error)

    return ("changed" if done.is_changed else "unchanged"), ""


def _changes(kind: Kind) -> click.Command:
    @click.command("changes", help=f"List the changes of a {kind}'s profile, newest first.")
    @click.argument("subject")
    @tenant_option
    @limit_option
    @as_json_option
    def changes(subject: str, tenant_id: int, limit: int, as_json: bool) -> None:
        key = _key_of(kind, subject, tenant_id)
        rows = profiles().changes(kind, key, tenant_id=tenant_id, limit=limit, after=None)
        show(rows, as_json=as_json)

    return changes


def _picture(kind: Kind, word: str) -> click.Command:
    @click.command(
        word,
        short_help=f"Set or remove the {word} of a {kind}.",
        help=f"Set the {word} of a {kind} from a JPEG, PNG or WebP FILE, or remove it.",
    )
    @click.argument("subject")
    @click.argument("file", type=INPUT_FILE, required=False)
    @click.option("--remove", is_flag=True)
    @tenant_option
    def picture(subject: str, file: Path | None, remove: bool, tenant_id: int) -> None:
        if remove == (file is not None):
            raise Refused(f"give a FILE with the {word}, or --remove")

        made = None
        if file is not None:
            from services.directory.people import pictures

            with naming(file):
                made = pictures.prepared(read_bytes(file))

        profiles().set_picture(kind, subject, made, tenant_id=tenant_id, by=BY)
        click.echo(f"{kind} {subject} has {'no' if made is None else 'a new'} {word} now")

    return picture


def _key_of(kind: Kind, subject: str, tenant_id: int) -> Key:
    """Return the key of a subject: a site's by its number or name. Raises `NotFound`."""
    if kind != "site":
        return subject
    keys = profiles().site_keys(tenant_id=tenant_id)
    if subject not in keys:
        raise NotFound(f"no site {subject!r} in tenant {tenant_id}; `vigil site list` shows them")
    return keys[subject]
