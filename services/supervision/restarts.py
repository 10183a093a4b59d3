"""Records of the ends of each process: the cause of the last one, and how many there were.

Each record is a file that outlives its process. `VIGIL_RESTART_DIR` names the directory; without
it, nothing is kept. The directory has to survive the process, and in a container the container: use
a volume.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger(__name__)

VARIABLE = "VIGIL_RESTART_DIR"
STALLED = "stalled"
DIED = "died"


_own: list[str] = []
"""The name of this process, once it has begun."""


class RestartRecord(msgspec.Struct):
    """Unplanned ends of a process, with the cause of the last one.

    `running`: it has not ended in order. `stalled_s`: its loop had stood still for at least so many
    seconds. `why`: the reason that the process gave itself, when that was another one.
    """

    running: bool = False
    restarts: int = 0
    stalls: int = 0
    cause: str = ""
    stalled_s: float | None = None
    why: str = ""
    noticed_at: datetime | None = None
    counted_since: datetime | None = None


def path(name: str) -> Path | None:
    """Return the path of a kept file of this name; None when nothing is kept."""
    directory = os.environ.get(VARIABLE)
    return Path(directory, name) if directory else None


def own_path(kind: str) -> Path | None:
    """Return the path of a file of this process.

    Returns:
        None when nothing is kept, or `begin` was not called.
    """
    return path(f"{_own[0]}.{kind}") if _own else None


def report_path(process: str) -> Path | None:
    """Return the path of the file for the stack of a process that stands still."""
    return path(f"{process}.stall")


def begin(process: str, *, stalled_s: float | None, why: str = "") -> tuple[str, RestartRecord]:
    """Note the start of a process.

    Returns:
        The cause of its last end, "" when it ended in order, and its record.

    Raises:
        OSError: The record cannot be written.
    """
    _own[:] = [process]
    file = _file(process)
    if file is None:
        return "", RestartRecord()

    now = datetime.now(UTC)
    record = read(file)
    record.counted_since = record.counted_since or now

    cause = STALLED if stalled_s is not None else DIED if record.running else ""
    if cause:
        record.restarts += 1
        record.stalls += cause == STALLED
        record.cause, record.stalled_s, record.noticed_at = cause, stalled_s, now
        record.why = why

    record.running = True
    _write(file, record)
    return cause, record


def end(process: str) -> None:
    """Note that a process ends in order. Raises `OSError`."""
    file = _file(process)
    if file is not None:
        record = read(file)
        record.running = False
        _write(file, record)


def records() -> dict[str, RestartRecord]:
    """Return the records of all processes by name. Raises `OSError`."""
    directory = os.environ.get(VARIABLE)
    found = sorted(Path(directory).glob("*.restarts")) if directory else []
    return {file.name.removesuffix(".restarts"): read(file) for file in found}


def read(file: Path) -> RestartRecord:
    """Return a record; an empty one when there is none, or the file is damaged.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=RestartRecord)
    except FileNotFoundError:
        return RestartRecord()
    except msgspec.DecodeError as error:
        log.warning("restart_record_not_read", path=str(file), error=str(error))
        return RestartRecord()


def in_words(record: RestartRecord) -> str:
    """Return a text for operators: how often a process was restarted, and the last reason."""
    if not record.restarts:
        return "not restarted"
    at = f" at {record.noticed_at:%Y-%m-%d %H:%M} UTC" if record.noticed_at else ""
    ended = "it was killed or crashed" if record.stalled_s is None else stalled_in_words(record.stalled_s)
    why = record.why or ended
    times = "once" if record.restarts == 1 else f"{record.restarts} times"
    return f"restarted {times}, last{at} because {why}"


def stalled_in_words(seconds: float) -> str:
    """Return the words for a loop that stood still for so many seconds."""
    return f"its loop stood still for {seconds:g} s"


def _file(process: str) -> Path | None:
    return path(f"{process}.restarts")


def _write(file: Path, record: RestartRecord) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(file)
