"""Commands that guards and devices have in common: credentials, import, change, rename."""

from __future__ import annotations

import csv
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from ops.commands.connections import owner_database
from ops.commands.options import site_option, tenant_option
from ops.commands.registry.rows import store
from ops.environment import apply_environment, home
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes
from ops.input_output.tables import as_json_option, limit_option, show
from ops.servers.certificates import CertificateAuthority
from ops.servers.mosquitto import BrokerAdmin
from ops.sources import sources_csv
from ops.sources.credentials import AlreadyThere, Credential, Provisioner, SourceRequest
from ops.sources.rename import Kind, rename
from ops.sources.sources_csv import SourceLine
from services.contracts.errors import Refused
from services.platform import config

BATCH = 50
PROGRESS_S = 1.0
ALL_SITES = 100_000


@contextmanager
def provisioner(tenant_id: int, *, with_broker: bool = True) -> Iterator[Provisioner]:
    apply_environment()
    mqtt = config.load().mqtt
    broker = BrokerAdmin(mqtt) if with_broker else None
    try:
        yield Provisioner(store(), broker, tenant_id=tenant_id, prefix=mqtt.topic_prefix)
    finally:
        if broker is not None:
            broker.close()


def show_credential(credential: Credential, *, as_json: bool) -> None:
    """Print a credential, which is shown only this once."""
    facts = {"username": credential.source_id, "client_id": credential.source_id}
    facts |= {name: value for name, value in credential._asdict().items() if value and name != "source_id"}
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:<16} {value}")
    click.echo("It is not shown again.", err=True)


def credential_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--no-credential",
            is_flag=True,
            help="Into the registry only; the broker's credentials do not change.",
        ),
        click.option(
            "--certificate", is_flag=True, help="An X.509 client certificate instead of a password."
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path(),
            help="Where certificates go.",
        ),
        as_json_option,
    ):
        command = option(command)

    return command


def add_source(
    wanted: SourceRequest, tenant_id: int, *, no_credential: bool, certificate: bool, out: Path, as_json: bool
) -> None:
    with provisioner(tenant_id, with_broker=not no_credential) as sources:
        source_id, said = sources.register(wanted)
        click.echo(said, err=as_json)

        if certificate:
            authority = CertificateAuthority(
                Path(os.environ.get("VIGIL_CA_DIRECTORY") or home() / "mosquitto" / "tls")
            )
            show_credential(
                sources.give_certificate(wanted, source_id, authority=authority, out=out), as_json=as_json
            )
        elif not no_credential:
            [credential] = sources.give_passwords([(wanted, source_id)])
            show_credential(credential, as_json=as_json)


def make_group(kind: Kind, help_text: str) -> click.Group:
    """Return a command group with the commands that guards and devices have in common."""

    @click.group(kind, help=help_text)
    def commands() -> None:
        pass

    @commands.command("list", help=f"List them ({kind}), with the kind of credential that each has.")
    @tenant_option
    @limit_option
    @as_json_option
    def list_rows(tenant_id: int, limit: int, as_json: bool) -> None:
        show(store().list_rows(kind, tenant_id=tenant_id, limit=limit), as_json=as_json)

    @commands.command("rotate", help="Give one a new password; the old one is void at once.")
    @click.argument("source_id")
    @tenant_option
    @as_json_option
    def rotate(source_id: str, tenant_id: int, as_json: bool) -> None:
        with provisioner(tenant_id) as sources:
            show_credential(sources.rotate(kind, source_id), as_json=as_json)

    for verb, enabled in (("enable", True), ("disable", False)):
        commands.add_command(_switch(kind, verb, enabled))

    commands.add_command(_change(kind))
    commands.add_command(_import(kind))
    commands.add_command(_rename(kind))

    return commands


def _switch(kind: str, verb: str, enabled: bool) -> click.Command:
    effect = "let in again" if enabled else "disconnected at once, and its messages are refused"

    @click.command(verb, help=f"{verb.capitalize()} one: it is {effect}.")
    @click.argument("source_id")
    @click.option(
        "--no-credential", is_flag=True, help="In the registry only; the broker's credentials do not change."
    )
    @tenant_option
    def switch(source_id: str, no_credential: bool, tenant_id: int) -> None:
        with provisioner(tenant_id, with_broker=not no_credential) as sources:
            sources.switch(kind, source_id, enabled=enabled)
        click.echo(f"{kind} {source_id} is {verb}d")

    return switch


def _change(kind: Kind) -> click.Command:
    @click.command("change", help="Change the name or the site of one. Its id stays; see `rename`.")
    @click.argument("source_id")
    @click.option("--name")
    @site_option
    @tenant_option
    def change(source_id: str, name: str | None, site_id: int | None, tenant_id: int) -> None:
        if name is None and site_id is None:
            raise Refused("nothing to change: give --name, --site or both")
        store().describe(kind, source_id, tenant_id=tenant_id, name=name, site_id=site_id)
        said = [f"name {name!r}"] if name is not None else []
        said += [f"site {site_id}"] if site_id is not None else []
        click.echo(f"{kind} {source_id} has {' and '.join(said)} now")

    return change


def _rename(kind: Kind) -> click.Command:
    @click.command(
        "rename",
        help="Give one another id. What it sent before stays under the old id; it needs a new credential.",
    )
    @click.argument("source_id")
    @click.argument("new_id")
    @tenant_option
    def rename_one(source_id: str, new_id: str, tenant_id: int) -> None:
        renamed = rename(owner_database(), kind, source_id, new_id, tenant_id=tenant_id)
        click.echo(
            f"{kind} {source_id} is {renamed} now; `vigil {kind} rotate {renamed}` gives it a credential"
        )

    return rename_one


def _import(kind: str) -> click.Command:
    columns = ", ".join(sources_csv.COLUMNS[kind])

    @click.command(
        "import",
        help=f"Add all of a CSV file; columns: {columns}. Run it again with the same file to continue.",
    )
    @click.argument("file", type=INPUT_FILE)
    @click.option(
        "--credentials",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File for the passwords, readable by you only; FILE-credentials.csv when left out.",
    )
    @click.option(
        "--refused", type=click.Path(path_type=Path, dir_okay=False), help="Keep refused lines here as CSV."
    )
    @tenant_option
    def import_file(file: Path, credentials: Path | None, refused: Path | None, tenant_id: int) -> None:
        content = read_bytes(file)
        with naming(file):
            table = sources_csv.read(content, kind)

        out = credentials or file.with_name(f"{file.stem}-credentials.csv")
        with provisioner(tenant_id) as sources, ImportReport(out, refused, total=len(table.rows)) as report:
            sites = store().list_rows("site", tenant_id=tenant_id, limit=ALL_SITES)
            known = {str(site["site_id"]): site["site_id"] for site in sites} | {
                s["name"]: s["site_id"] for s in sites
            }
            lines = sources_csv.lines_of(table, kind, sites=known)
            while batch := list(itertools.islice(lines, BATCH)):
                take(batch, sources, report)

        click.echo(report.summary())
        if report.refused:
            sys.exit(1)

    return import_file


def take(lines: list[SourceLine], sources: Provisioner, report: ImportReport) -> None:
    """Register a batch, add it at the broker, then write its passwords to the file."""
    batch: list[tuple[SourceRequest, str]] = []
    for line in lines:
        if line.wanted is None:
            report.refuse(line, line.reason)
            continue
        try:
            batch.append((line.wanted, sources.register(line.wanted).source_id))
        except AlreadyThere:
            report.present += 1
        except Refused as error:
            report.refuse(line, str(error))

    report.added(sources.give_passwords(batch) if batch else [])
    report.progress(len(lines))


class ImportReport:
    """Result of an import.

    The passwords' file is readable by its owner only. Passwords are appended to it.
    """

    def __init__(self, credentials: Path, refused: Path | None, *, total: int) -> None:
        self.refused = 0
        self.present = 0
        self._added = 0
        self._read = 0
        self._total = total
        self._path = credentials
        self._said_s = time.monotonic()
        descriptor = os.open(credentials, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        self._credentials: TextIO = os.fdopen(descriptor, "a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._credentials)
        if self._credentials.tell() == 0:
            self._writer.writerow(["username", "client_id", "password"])

        self._refused = refused.open("w", encoding="utf-8", newline="") if refused else None

    def __enter__(self) -> ImportReport:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._credentials.close()
        if self._refused is not None:
            self._refused.close()
        if kind is not None:
            # A refusal would come again. To run the command again helps only after another failure.
            remedy = "" if issubclass(kind, Refused) else "; run the same command again to continue"
            click.echo(f"stopped: {self.summary()}{remedy}", err=True)

    def refuse(self, line: SourceLine, reason: str) -> None:
        self.refused += 1
        click.echo(f"line {line.number}: {reason}", err=True)
        if self._refused is not None:
            csv.writer(self._refused).writerow([line.number, *line.fields.values(), reason])

    def added(self, credentials: list[Credential]) -> None:
        self._added += len(credentials)
        self._writer.writerows([c.source_id, c.source_id, c.password] for c in credentials)
        self._credentials.flush()

    def progress(self, lines: int) -> None:
        self._read += lines
        if time.monotonic() - self._said_s > PROGRESS_S:
            self._said_s = time.monotonic()
            click.echo(f"{self._read} of {self._total} lines, {self.refused} refused", err=True)

    def summary(self) -> str:
        known = f", {self.present} were there already" if self.present else ""
        return f"{self._added} added{known}, {self.refused} refused; passwords are in {self._path}"
