"""The message that a lane is decoding, noted where the note survives the process: in a small file mapped into memory.

The kernel holds the pages of the file. They outlive the process however it ends, kill -9 included, and nothing is
synced for that: a note costs the digest and a copy of 16 bytes. Only a crash of the machine may lose it, and then the
strikes begin again.

One note is enough, because decoding is not interrupted: nothing in it gives way to another green thread. It names a
message, not a batch: after a redelivery the same messages come in other batches.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import structlog

from gateway.mqtt import poison
from gateway.mqtt.poison import DIGEST_BYTES, NONE, RECORD_BYTES, REMEMBERED, Strikes

log = structlog.get_logger(__name__)

MAGIC = b"VIGILMK1"
_HAND = slice(8, 8 + DIGEST_BYTES)
_HEARD = struct.Struct("<d")
_HEARD_AT = 24
_TABLE = slice(32, 32 + REMEMBERED * RECORD_BYTES)
SIZE = 4096
assert _TABLE.stop <= SIZE


class CrashMarker:
    """The notes of one lane. Its file is named by the lane's session at the broker, which delivers again."""

    def __init__(self, path: Path | None) -> None:
        """Open the notes of the last run. Without a path, or on a disk that is full, they are lost with the process."""
        self._map = _open(path)
        if self._map[: len(MAGIC)] != MAGIC:
            self._map[:] = MAGIC.ljust(SIZE, b"\0")
        self._strikes = Strikes(self._map[_TABLE])
        self._struck: list[bytes] = []
        self._count_last_run()

    def take(self, topic: str, payload: bytes) -> int:
        """Note that this message is being decoded from now on; returns its strikes so far."""
        found = poison.digest(topic, payload)
        self._map[_HAND] = found
        if not self._strikes:
            return 0
        strikes = self._strikes.of(found)
        if strikes:
            self._struck.append(found)
        return strikes

    def release(self) -> None:
        """Note that nothing is being decoded: all that was taken since the last release has been survived."""
        self._map[_HAND] = NONE
        if self._struck:
            for found in self._struck:
                self._strikes.forgive(found)
            self._map[_TABLE] = self._strikes.table()
            self._struck.clear()

    @property
    def heard_at(self) -> float | None:
        """The time (epoch) at which the link was last known to work, in this run or in the last one."""
        found: float = _HEARD.unpack_from(self._map, _HEARD_AT)[0]
        return found or None

    def heard(self, at: float) -> None:
        """Note that the link works."""
        _HEARD.pack_into(self._map, _HEARD_AT, at)

    def close(self) -> None:
        """Give the file back."""
        self._map.close()

    def _count_last_run(self) -> None:
        found = self._map[_HAND]
        if found == NONE:
            return
        # The note goes first: a process that ends between the two lines loses a strike, and adds none.
        self._map[_HAND] = NONE
        count = self._strikes.add(found)
        self._map[_TABLE] = self._strikes.table()
        log.error("ended_while_decoding", message=found.hex(), times=count)


def _open(path: Path | None) -> mmap.mmap:
    if path is None:
        return mmap.mmap(-1, SIZE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # All of it is there before it is mapped: writing to a page that the disk has no room for kills the process.
            os.posix_fallocate(descriptor, 0, SIZE)
            return mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("crash_marker_unusable", path=str(path), error=str(error))
        return mmap.mmap(-1, SIZE)
