"""The process that listens on a TCP port of this machine, for messages about a port that is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LISTENING = "0A"
"""State of a listening socket in proc(5), `net/tcp`."""


def sentence(port: int, remedy: str) -> str:
    """Return one sentence: the port that is taken, the process that has it if known, the remedy."""
    owner = owner_of(port)
    by = f" by {owner}" if owner else " by another program"
    return f"port {port} is taken{by}; {remedy}"


def owner_of(port: int) -> str:
    """Return `name (pid N)` of the process that listens on a port.

    Returns:
        "" when no process listens, or the kernel does not show which one.
    """
    sockets = set(_listening(port))
    if not sockets:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and sockets & set(_sockets_of(process)):
            return f"{_name_of(process)} (pid {process.name})"
    return ""


def pid_of(port: int) -> int | None:
    """Return the pid of the process that listens on a port; None when it is not known."""
    _, _, rest = owner_of(port).rpartition("(pid ")
    return int(rest.rstrip(")")) if rest else None


def _listening(port: int) -> Iterator[str]:
    """Yield the links `socket:[INODE]` of the sockets that listen on this port.

    A process holds a socket by such a link.
    """
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"


def _sockets_of(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return  # another user's, or gone
    for descriptor in descriptors:
        try:
            yield str(descriptor.readlink())
        except OSError:
            continue


def _name_of(process: Path) -> str:
    """Return the name of a process: for Python, the module or script that it runs."""
    try:
        words = (process / "cmdline").read_text(errors="replace").split("\0")
        name = (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a process"
    if name.startswith("python"):
        further = [word for word in words[1:] if word and not word.startswith("-")]
        return " ".join([name, *further[:2]])[:60]
    return name
