"""The manifest of a backup, the names of backups, and comparisons. Pure: times come in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from services.contracts.errors import Refused

FORMAT = 1
MANIFEST, DUMP, VERIFIED, LAST_SUCCESS = "manifest.json", "database.dump", "verified.json", "last-success"
NAME = re.compile(r"vigil-\d{8}T\d{6}Z")
PARTIAL_SUFFIX = ".partial"
NOT_INCLUDED = (
    "messages on their way: in RabbitMQ's queues (dead letters too) and in the MQTT broker's sessions",
    "Redis: the feed and the hot state are rebuilt, websocket sessions begin with a snapshot",
    "keys and passwords: they are in the key set of the same name",
)


class BackupFile(msgspec.Struct, frozen=True):
    """A file of a backup. `name` is relative to the backup's directory."""

    name: str
    size_bytes: int
    sha256: str


class TimelineHead(msgspec.Struct, frozen=True, order=True):
    """The last link of a tenant's chain of timeline rows."""

    tenant_id: int
    seq: int
    hash: str


class SnapshotFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of the snapshot that was dumped.

    `tables` maps schema and name of a table to its number of rows.
    """

    schema: str
    revision: str
    postgresql: str
    postgis: str
    tables: dict[str, int]
    heads: list[TimelineHead]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    name: str
    taken_at: datetime
    vigil_version: str
    dumped_by: str
    facts: SnapshotFacts
    files: list[BackupFile]
    notes: list[str]
    not_included: tuple[str, ...] = NOT_INCLUDED


class KeyFile(msgspec.Struct, frozen=True):
    """A file of a key set.

    `home_name` is its place in the home. It is empty for a file from elsewhere, which was at
    `was_at`.
    """

    name: str
    sha256: str
    was_at: str
    home_name: str = ""


class KeySet(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    name: str
    files: list[KeyFile]


def name_of(at: datetime) -> str:
    return f"vigil-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def is_backup(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def encoded(document: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def read(data: bytes, *, where: str) -> Manifest:
    """Decode the manifest of a backup.

    Raises:
        Refused: the data are not a manifest, or have another format.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise Refused(f"{where} is not the manifest of a backup: {error}") from error

    if manifest.format != FORMAT:
        raise Refused(
            f"{where} has format {manifest.format}, this version of Vigil reads {FORMAT}; use the version that made it "
            f"({manifest.vigil_version})"
        )

    return manifest


def read_keys(data: bytes, *, where: str) -> KeySet:
    try:
        return msgspec.json.decode(data, type=KeySet)
    except msgspec.DecodeError as error:
        raise Refused(f"{where} is not the list of a key set: {error}") from error


def differences(files: Sequence[BackupFile], there: Mapping[str, BackupFile]) -> list[str]:
    """Return what is wrong with the files of a backup, one line for each file."""
    found = []
    for file in files:
        actual = there.get(file.name)
        if actual is None:
            found.append(f"{file.name} is missing")
        elif actual.sha256 != file.sha256:
            found.append(
                f"{file.name} is not what was written: {actual.size_bytes} of {file.size_bytes} bytes, other SHA-256"
            )

    return found


def disagreements(wanted: SnapshotFacts, found: SnapshotFacts) -> list[str]:
    """Return where a restored database differs from the facts of the snapshot."""
    lines = []
    for table in sorted(wanted.tables.keys() | found.tables.keys()):
        rows = wanted.tables.get(table), found.tables.get(table)
        if rows[0] != rows[1]:
            lines.append(f"{table} has {rows[1]} rows, {rows[0]} were backed up")

    if wanted.revision != found.revision:
        lines.append(f"the schema is at {found.revision}, {wanted.revision} was backed up")
    if sorted(wanted.heads) != sorted(found.heads):
        lines.append("the heads of the timeline's chains are not those that were backed up")

    return lines


def to_prune(names: Sequence[str], *, keep: int) -> list[str]:
    """Return the oldest backups beyond `keep`, by name, as names sort by time. 0 keeps all."""
    ordered = sorted(filter(is_backup, names))
    return ordered[:-keep] if keep > 0 else []
