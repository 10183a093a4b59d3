"""How the processes of a host are one exposition: each writes files named after itself, not after its pid.

A name is taken for as long as its process lives, by a lock that the kernel frees. The next process of that name goes
on with the files, so that neither restarts nor pids of containers that share the directory make them more, and
counters grow on. Gauges of the living are left out when their process is dead, whoever supervises it.
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
    """What the files of this process are named by."""
    return _held[0][0] if _held else f"unnamed{os.getpid()}"


def write_as_this_process() -> None:
    """Let metrics that are made from now on write to this process's files, where there is a directory for them."""
    if os.environ.get(VARIABLE):
        values.ValueClass = values.MultiProcessValue(identifier)  # type: ignore[no-untyped-call]


def claim(process: str) -> str:
    """Take a name for this process's files; a second process of the same name is `<name>.2`. Raises `OSError`."""
    directory = os.environ.get(VARIABLE)
    if not directory:
        return process
    path, name = Path(directory), process.replace("_", "-")  # the library parts file names at underscores
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
    """All processes of the host in Prometheus's text format when they share a directory, else this one."""
    directory = os.environ.get(VARIABLE)
    if not directory:
        return generate_latest(REGISTRY)
    for slot in dead(Path(directory)):
        _remove(Path(directory), f"gauge_live*_{slot}.db")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def samples(names: Collection[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of all samples of these names, over all processes of the host that share a directory."""
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
    """Names whose process has gone."""
    for path in sorted(directory.glob("*.lock")):
        with path.open("r+b") as lock:
            if not _is_locked(lock):
                yield path.name.removesuffix(".lock")


def _lock(lock: IO[bytes]) -> bool:
    """Lock of the open file, not of the process (F_OFD_SETLK): closing another handle does not free it."""
    try:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return False
    return True


def _is_locked(lock: IO[bytes]) -> bool:
    """Asked without taking it: a process that starts just now must find its name free."""
    answer = fcntl.fcntl(lock, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind: int = _FLOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK


def _remove(directory: Path, pattern: str) -> None:
    for path in directory.glob(pattern):
        path.unlink(missing_ok=True)
