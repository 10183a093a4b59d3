"""Taking a backup.

A backup holds the dump and manifest of one snapshot, the broker's definitions and the
configuration. The keys go to a separate place.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from ops.data.backup import checking, installation, postgres
from ops.data.backup.manifest import DUMP, MANIFEST, VERIFIED, Manifest, SnapshotFacts, encoded, name_of
from ops.data.backup.postgres import Say
from ops.data.backup.store import BackupStore, files_of, write
from ops.servers.queues import definitions
from services.contracts.errors import Misconfigured, Unavailable
from services.platform.config import Config
from services.platform.database import make_operator_engine, transaction

KEYS_SUFFIX = "-keys"
AS_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class BackupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a backup: where it goes, and how it is checked.

    Older backups beyond `keep` are removed; 0 keeps all.
    """

    directory: Path
    keys: Path
    home: Path
    broker: Path | None = None
    keep: int = 0
    verify: bool = True
    verify_url: str = ""


class BackupResult(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    directory: str
    keys: str
    size_bytes: int
    rows: int
    verified: bool
    notes: list[str]
    removed: list[str]


def take(config: Config, wanted: BackupRequest, *, say: Say) -> BackupResult:
    """Take a backup, check it, and remove old backups.

    Every error says why there is no backup, and then no part of one is left.
    """
    _check_apart(wanted)
    url = postgres.owner_url(config.database.owner_url)

    kept, keys = BackupStore(wanted.directory), BackupStore(wanted.keys)
    with kept.locked(), keys.locked():
        at = datetime.now(UTC)
        name = name_of(at)
        _take(config, wanted, url, name, at, say=say)
        manifest = checking.check_files(kept.directory / name)

        if wanted.verify:
            verify(
                kept, manifest, wanted.verify_url or str(url.render_as_string(hide_password=False)), say=say
            )

        # Remove old backups only now. One that can be restored is worth more than a new one that
        # cannot.
        removed = kept.prune(keep=wanted.keep)
        for old in removed:
            shutil.rmtree(keys.directory / old, ignore_errors=True)

    return BackupResult(
        name=name,
        directory=str(kept.directory / name),
        keys=str(keys.directory / name),
        size_bytes=sum(file.size_bytes for file in manifest.files),
        rows=sum(manifest.facts.tables.values()),
        verified=wanted.verify,
        notes=manifest.notes,
        removed=removed,
    )


def verify(kept: BackupStore, manifest: Manifest, address: str, *, say: Say) -> None:
    """Restore the backup into a scratch database and compare; only then it counts as a success.

    Raises:
        Refused: the restored database is not what was backed up.
    """
    directory = kept.directory / manifest.name
    checking.check_in_scratch(directory, manifest, postgres.owner_url(address), say=say)
    write(directory / VERIFIED, msgspec.json.encode({"verified_at": datetime.now(UTC)}))
    last = kept.last_success()
    if last is None or last < manifest.taken_at.replace(microsecond=0):
        kept.succeeded(manifest.taken_at)


def _take(config: Config, wanted: BackupRequest, url: URL, name: str, at: datetime, *, say: Say) -> None:
    secrets = installation.secret_values(config, wanted.home)
    keys = BackupStore(wanted.keys)

    try:
        with BackupStore(wanted.directory).fresh(name) as directory:
            with keys.fresh(name) as key_directory:
                held = installation.copy_keys(config, wanted.home, wanted.broker, key_directory, name=name)
                write(key_directory / MANIFEST, encoded(held))

            notes = installation.copy_definitions(wanted.home, wanted.broker, directory, secrets=secrets)
            notes += _queues(directory, say=say)
            found, dumped_by = _dump(url, directory / DUMP, say=say)
            say("digests")
            manifest = Manifest(
                name=name,
                taken_at=at,
                vigil_version=version("vigil"),
                dumped_by=dumped_by,
                facts=found,
                files=files_of(directory),
                notes=notes,
            )
            write(directory / MANIFEST, encoded(manifest))
    except BaseException:
        shutil.rmtree(keys.directory / name, ignore_errors=True)
        raise


def _dump(url: URL, to: Path, *, say: Say) -> tuple[SnapshotFacts, str]:
    """Dump the database, and return the facts of the same snapshot and the program's version."""
    with _snapshot(url) as connection:
        postgres.check_owner(connection)
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        program = postgres.program("pg_dump", connection)
        found = postgres.facts(connection, say=say)
        options = [f"--snapshot={snapshot}"]
        postgres.dump(program, url, to, within=found.schema, options=options, say=say)
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=30)
    return found, said.stdout.strip()


@contextmanager
def _snapshot(url: URL) -> Iterator[Connection]:
    """Yield a transaction that sees the database as it is now, until the dump is done."""
    engine = make_operator_engine(url.render_as_string(hide_password=False), name="backup")
    with transaction(engine) as connection:
        connection.exec_driver_sql(AS_ONE_SNAPSHOT)
        yield connection


def _queues(directory: Path, *, say: Say) -> list[str]:
    """Record the depths of the queues, as no backup holds the messages in them."""
    say("queues")
    try:
        found = definitions.states_of()
    except Unavailable as error:
        return [f"how many messages wait in RabbitMQ is not known ({error}), and none is in the backup"]
    write(directory / "queues.json", msgspec.json.format(msgspec.json.encode(found), indent=1))
    waiting = sum(queue.messages or 0 for queue in found)
    return [f"{waiting} messages wait in RabbitMQ's queues, and are not in the backup"] if waiting else []


def _check_apart(wanted: BackupRequest) -> None:
    """Check that keys and data go to separate directories: a key beside its data protects nothing.

    Raises:
        Misconfigured: one directory is within the other.
    """
    data, keys = wanted.directory.resolve(), wanted.keys.resolve()
    if keys == data or data in keys.parents or keys in data.parents:
        raise Misconfigured(
            f"--keys-to {keys} and the backups' directory {data} contain each other; keep the keys in another directory"
        )
