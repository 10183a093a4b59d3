"""The directory of backups: one directory for each backup, which is whole or not there.

A backup is made under a name with `.partial`. Every file is synced before the backup gets its final
name. The process that makes a backup holds the lock of the directory. A partial backup while the
lock is free was left by a crash, and is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ops.data.backup.manifest import (
    LAST_SUCCESS,
    MANIFEST,
    PARTIAL_SUFFIX,
    VERIFIED,
    BackupFile,
    Manifest,
    is_backup,
    read,
    to_prune,
)
from ops.environment import write_private
from services.contracts.errors import Conflict, Misconfigured, NotFound

NOT_OF_THE_BACKUP = {MANIFEST, VERIFIED}


class BackupStore:
    """Backups in a directory. Raises `Misconfigured` when the directory cannot be written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the directory.

        Raises:
            Conflict: another backup is being made here.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unwritable(self.directory, error) from error

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another backup is being made in {self.directory}; wait for it") from error
        else:
            self._remove_partial()
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def fresh(self, name: str) -> Iterator[Path]:
        """Yield a directory to fill.

        It gets its name when the block ends, and is removed when the block fails.
        """
        partial = self.directory / f"{name}{PARTIAL_SUFFIX}"
        final = self.directory / name
        if final.exists():
            raise Conflict(f"{final} exists already: two backups within a second; run the command again")

        try:
            partial.mkdir(mode=0o700)
        except OSError as error:
            raise _unwritable(self.directory, error) from error

        try:
            yield partial
            for path in [*sorted(partial.rglob("*")), partial]:
                sync(path)
            partial.rename(final)
            sync(self.directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def names(self) -> list[str]:
        """Return the names of the complete backups, oldest first."""
        if not self.directory.is_dir():
            return []
        found = (path for path in self.directory.iterdir() if is_backup(path.name))
        return sorted(path.name for path in found if (path / MANIFEST).exists())

    def prune(self, *, keep: int) -> list[str]:
        """Remove the oldest backups beyond `keep` and return their names.

        A backup first gets a partial name, so that one that is half removed does not count as a
        backup.
        """
        names = to_prune(self.names(), keep=keep)
        for name in names:
            going = self.directory / f"{name}{PARTIAL_SUFFIX}"
            (self.directory / name).rename(going)
            shutil.rmtree(going)
        return names

    def succeeded(self, at: datetime) -> None:
        """Note that a verified backup was taken at that time, for the health check."""
        write(self.directory / LAST_SUCCESS, f"{at.astimezone(UTC).isoformat(timespec='seconds')}\n".encode())

    def last_success(self) -> datetime | None:
        path = self.directory / LAST_SUCCESS
        return datetime.fromisoformat(path.read_text().strip()) if path.exists() else None

    def _remove_partial(self) -> None:
        for path in self.directory.glob(f"vigil-*{PARTIAL_SUFFIX}"):
            shutil.rmtree(path)


def manifest_of(directory: Path) -> Manifest:
    """Return the manifest of a backup.

    Raises:
        NotFound: the directory has no manifest.
        Refused: the manifest cannot be read.
    """
    path = directory / MANIFEST
    if not path.exists():
        partial = directory.name.endswith(PARTIAL_SUFFIX)
        raise NotFound(
            f"{directory} is {'a backup that was not finished' if partial else 'no backup'}: it has no {MANIFEST}; "
            "`vigil backup list` lists those that are complete"
        )
    return read(path.read_bytes(), where=str(path))


def files_of(directory: Path) -> list[BackupFile]:
    """Return every file of a backup, except the manifest, with its digest."""
    return [
        BackupFile(path.relative_to(directory).as_posix(), path.stat().st_size, digest(path))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.relative_to(directory).as_posix() not in NOT_OF_THE_BACKUP
    ]


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, for its owner only."""
    # Path.mkdir gives its mode only to the last directory.
    for parent in reversed([parent for parent in path.parents if not parent.exists()]):
        parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, data)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(directory: Path, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"{directory} cannot be written: {error.strerror}; give this user the right to, or name another by --to "
        "or VIGIL_BACKUP_DIR"
    )
