"""Metrics of all processes of a host, as one exposition.

Each process writes files named after itself, not after its pid. A process holds its name for as
long as it lives, by a lock that the kernel frees. The next process of that name goes on with the
files. Neither restarts nor pids of containers that share the directory therefore add files, and
counters keep growing. Live gauges are left out when their process is dead, whatever supervises it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MAX_OF_A_NAME = 64
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid."""

_held: list[tuple[str, IO[bytes]]] = []


def identifier() -> str:
    """Return the name that this process's files bear."""
    return _held[0][0] if _held else f"unnamed{os.getpid()}"


def write_as_this_process() -> None:
    """Let metrics that are made from now on write to this process's files.

    Without a directory for them, this does nothing.
    """
    if os.environ.get(VARIABLE):
        values.ValueClass = values.MultiProcessValue(identifier)  # type: ignore[no-untyped-call]


def claim(process: str) -> str:
    """Take a name for this process's files; a second process of the same name is `<name>.2`.

    Raises:
        OSError: As many processes as are allowed have the name already, or the directory is not
            writable.
    """
    directory = os.environ.get(VARIABLE)
    if not directory:
        return process

    # The library splits file names at underscores.
    path, name = Path(directory), process.replace("_", "-")
    path.mkdir(parents=True, exist_ok=True)

    for number in range(1, MAX_OF_A_NAME + 1):
        slot = name if number == 1 else f"{name}.{number}"
        lock = (path / f"{slot}.lock").open("wb")
        if _lock(lock):
            _remove(path, f"*_{identifier()}.db")
            _remove(path, f"gauge_live*_{slot}.db")
            _held[:] = [(slot, lock)]
            return slot
        lock.close()

    raise OSError(f"{MAX_OF_A_NAME} processes write as {name} to {path} already")


def exposition() -> bytes:
    """Return the metrics in Prometheus's text format.

    They are those of all processes of the host when these share a directory, else those of this
    process.
    """
    directory = os.environ.get(VARIABLE)
    if not directory:
        return generate_latest(REGISTRY)
    for slot in dead(Path(directory)):
        _remove(Path(directory), f"gauge_live*_{slot}.db")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def samples(names: Collection[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield (name, labels, value) of all samples of these names.

    They are those of all processes of the host that share a directory, else those of this process.
    """
    directory = os.environ.get(VARIABLE)
    registry: CollectorRegistry = REGISTRY

    if directory:
        for slot in dead(Path(directory)):
            _remove(Path(directory), f"gauge_live*_{slot}.db")
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]

    for family in registry.collect():
        for sample in family.samples:
            if sample.name in names:
                yield sample.name, dict(sample.labels), float(sample.value)


def dead(directory: Path) -> Iterator[str]:
    """Yield the names whose process has ended."""
    for path in sorted(directory.glob("*.lock")):
        with path.open("r+b") as lock:
            if not _is_locked(lock):
                yield path.name.removesuffix(".lock")


def _lock(lock: IO[bytes]) -> bool:
    """Take the lock of a name; return False when another process has it.

    The lock is the open file's, not the process's (F_OFD_SETLK): closing another handle does not
    free it.
    """
    try:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return False
    return True


def _is_locked(lock: IO[bytes]) -> bool:
    """Return whether a process holds the lock of a name, without taking the lock.

    A process that starts at this moment must find its name free.
    """
    answer = fcntl.fcntl(lock, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind: int = _FLOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK


def _remove(directory: Path, pattern: str) -> None:
    for path in directory.glob(pattern):
        path.unlink(missing_ok=True)
