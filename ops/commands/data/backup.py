"""`vigil backup`: take a backup, list backups, verify one."""

from __future__ import annotations

import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
import psycopg2.extensions

from ops.data.backup import checking, taking
from ops.data.backup.manifest import VERIFIED, Manifest
from ops.data.backup.postgres import Say, owner_url
from ops.data.backup.store import BackupStore, manifest_of
from ops.data.backup.taking import KEYS_SUFFIX, BackupRequest, BackupResult
from ops.environment import apply_environment, home
from ops.input_output.tables import as_json_option, show
from ops.watchdog import measurements
from services.contracts.errors import Refused
from services.platform import config

INTERRUPTED = 130
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@click.option(
    "--to", type=FOLDER, help="Directory of the backups; `backup.directory` of config.yaml if left out."
)
@click.option("--keys-to", type=FOLDER, help="Directory of keys and passwords; `<backups>-keys` if left out.")
@click.option(
    "--broker-dir", type=FOLDER, help="Where the broker has dynamic-security.json; the home's if left out."
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    help="Keep this number of backups, and remove older ones; 0 keeps all.",
)
@click.option(
    "--no-verify",
    is_flag=True,
    help="Do not restore it into a scratch database: the backup is then not verified.",
)
@click.option(
    "--verify-url", default="", help="Another server to try the restore on, as a login that may CREATEDB."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def backup(
    context: click.Context,
    to: Path | None,
    keys_to: Path | None,
    broker_dir: Path | None,
    keep: int | None,
    no_verify: bool,
    verify_url: str,
    as_json: bool,
) -> None:
    """Back up database, broker and configuration.

    Keys and passwords are kept apart. Messages on their way in RabbitMQ and in the MQTT broker are
    in no backup. A backup counts when it was restored into a scratch database and compared.
    """
    apply_environment()
    settings = config.load()
    directory = to or backups(settings)

    context.obj = directory
    if context.invoked_subcommand is not None:
        return

    wanted = BackupRequest(
        directory=directory,
        keys=keys_to or directory.with_name(directory.name + KEYS_SUFFIX),
        home=home(),
        broker=broker_dir,
        keep=settings.backup.keep if keep is None else keep,
        verify=not no_verify,
        verify_url=verify_url,
    )
    with stoppable():
        taken = taking.take(settings, wanted, say=progress)

    click.echo(msgspec.json.encode(taken) if as_json else _said(taken))


@backup.command("list")
@as_json_option
@click.pass_obj
def list_backups(directory: Path, as_json: bool) -> None:
    """List complete backups, the oldest first."""
    store = BackupStore(directory)
    rows = [_row(directory / name, manifest_of(directory / name)) for name in store.names()]
    show(rows, as_json=as_json)


@backup.command("verify")
@click.argument(
    "backup_directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--verify-url", default="", help="The server to try it on; the configured one if left out.")
@click.option("--files-only", is_flag=True, help="Compare digests, and restore nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def verify_backup(backup_directory: Path, verify_url: str, files_only: bool, as_json: bool) -> None:
    """Check a backup: its files, and that a database can be made of it. Exit code 0 only when it can."""
    with stoppable():
        manifest = checking.check_files(backup_directory)
        if not files_only:
            address = verify_url or config.load().database.owner_url
            store = BackupStore(backup_directory.resolve().parent)
            if backup_directory.resolve().name != manifest.name:
                raise Refused(f"{backup_directory} holds {manifest.name}; restore its name")
            taking.verify(
                store, manifest, owner_url(address).render_as_string(hide_password=False), say=progress
            )

    rows = sum(manifest.facts.tables.values())
    if as_json:
        click.echo(
            msgspec.json.encode({"name": manifest.name, "ok": True, "restored": not files_only, "rows": rows})
        )
    else:
        click.echo(f"{manifest.name} is {'as it was written' if files_only else 'restorable'}: {rows} rows")


def backups(settings: config.Config) -> Path:
    """Return the directory of this installation's backups."""
    return measurements.backup_directory(settings, home())


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the work in the block, without leaving a part of a backup."""

    def stop(number: int, _frame: Any) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    # Otherwise the driver waits in C until a statement ends, and no signal is handled.
    psycopg2.extensions.set_wait_callback(_wait)

    try:
        yield
    except KeyboardInterrupt:
        click.echo("vigil: stopped; no partial backup is left", err=True)
        sys.exit(INTERRUPTED)


def _wait(connection: Any) -> None:
    try:
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
            reads = [connection] if state == psycopg2.extensions.POLL_READ else []
            writes = [connection] if state == psycopg2.extensions.POLL_WRITE else []
            select.select(reads, writes, [])
    except KeyboardInterrupt:
        connection.cancel()
        raise


class _Progress:
    """Progress on standard error, at most one line in half a second."""

    interval_s = 0.5

    def __init__(self) -> None:
        self._said_s = float("-inf")
        self._last = ""

    def __call__(self, line: str) -> None:
        now_s = time.monotonic()
        if line != self._last and now_s - self._said_s >= self.interval_s:
            click.echo(line, err=True)
            self._said_s, self._last = now_s, line


progress: Say = _Progress()


def _row(directory: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "taken_at": manifest.taken_at,
        "verified": (directory / VERIFIED).exists(),
        "schema": manifest.facts.revision,
        "vigil": manifest.vigil_version,
        "rows": sum(manifest.facts.tables.values()),
        "bytes": sum(file.size_bytes for file in manifest.files),
        "directory": str(directory),
    }


def _said(taken: BackupResult) -> str:
    checked = "restored into a scratch database and compared" if taken.verified else "not verified"
    lines = [f"{taken.directory}: {taken.rows} rows, {taken.size_bytes:,} bytes, {checked}"]
    lines += [f"keys and passwords: {taken.keys} (keep them elsewhere than the backup)"]
    lines += [f"note: {note}" for note in taken.notes]
    lines += [f"removed {name}" for name in taken.removed]
    return "\n".join(lines)
