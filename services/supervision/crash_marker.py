"""Notes of the messages that a process has in hand, in a small file mapped into memory.

The kernel holds the pages of the file, so they outlive the process however it ends, kill -9
included. Nothing is synced for that: a note costs the digest and a copy of 16 bytes. Only a crash
of the machine may lose the notes; the strikes then begin again at zero.

A note names a message, not a batch: after a redelivery the same messages come in other batches.

Layout of the file: magic, time, strikes; then the digests in hand, one for each hand; then the
message that is read, as it is. A copy of its bytes costs a third of their digest. Only the next run
needs the digest.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
from pathlib import Path

import structlog

from services.supervision import poison
from services.supervision.poison import DIGEST_BYTES, NONE, RECORD_BYTES, REMEMBERED, MessageStrikes

log = structlog.get_logger(__name__)

MAGIC = b"VIGILMK3"
_HEARD = struct.Struct("<d")
_HEARD_AT = len(MAGIC)
_TABLE = slice(16, 16 + REMEMBERED * RECORD_BYTES)
_HANDS_AT = 2048
_READ_AT = 4096
_LENGTHS = struct.Struct("<HH")
_BYTES_AT = _READ_AT + _LENGTHS.size
SIZE = 8192
LONGEST_COPY = SIZE - _BYTES_AT
"""Bytes of name and content up to which a message is noted as it is.

Of a longer message the digest is noted.
"""
MOST_HANDS = (_READ_AT - _HANDS_AT) // DIGEST_BYTES
"""Messages that may be in hand at once; further ones are not noted."""
assert _TABLE.stop <= _HANDS_AT
_open_markers: weakref.WeakSet[CrashMarker] = weakref.WeakSet()


def release_all() -> None:
    """Empty every hand of this process, because it ends in order.

    No message in hand is to blame for such an end.
    """
    for marker in _open_markers:
        marker.release_hands()


def _hand(number: int) -> slice:
    return slice(_HANDS_AT + number * DIGEST_BYTES, _HANDS_AT + (number + 1) * DIGEST_BYTES)


class CrashMarker:
    """The notes of one process, or of one link to a broker.

    Each has its own notes because each gets its messages again.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the notes of the last run.

        Without a path, or on a full disk, the notes are lost with the process.
        """
        self._map = _open(path)
        if self._map[: len(MAGIC)] != MAGIC:
            self._map[:] = MAGIC.ljust(SIZE, b"\0")
        self._strikes = MessageStrikes(self._map[_TABLE])
        self._is_copied = False
        self._count_last_run()
        _open_markers.add(self)

    @property
    def has_strikes(self) -> bool:
        """Return True when the process has ended with a message in hand that is not forgotten."""
        return bool(self._strikes)

    def begin_reading(self, name: str, content: bytes) -> None:
        """Note that this message is read from now on, until `end_reading`.

        Only one message is read at a time.
        """
        encoded = name.encode("utf-8", "surrogatepass")
        if len(encoded) + len(content) > LONGEST_COPY:
            self.take(poison.digest(name, content))
            return
        self._map.seek(_BYTES_AT)
        self._map.write(encoded + content)
        # The lengths go last: they say that the bytes are there.
        _LENGTHS.pack_into(self._map, _READ_AT, len(encoded), len(content))
        self._is_copied = True

    def end_reading(self) -> None:
        """Note that no message is read."""
        if self._is_copied:
            _LENGTHS.pack_into(self._map, _READ_AT, 0, 0)
            self._is_copied = False
        else:
            self.release()

    def strikes_of(self, digest: bytes) -> int:
        """Return how often the process has ended with this message in hand."""
        return self._strikes.of(digest) if self._strikes else 0

    def take(self, digest: bytes, hand: int = 0) -> None:
        """Note that this message is in hand from now on."""
        if hand < MOST_HANDS:
            self._map[_hand(hand)] = digest

    def release(self, hand: int = 0) -> None:
        """Note that this hand is empty."""
        if hand < MOST_HANDS:
            self._map[_hand(hand)] = NONE

    def forget(self, digest: bytes) -> None:
        """Forget the strikes of a message that the process survived, or that is kept elsewhere."""
        if self.strikes_of(digest):
            self._strikes.forget(digest)
            self._map[_TABLE] = self._strikes.table()

    @property
    def heard_at(self) -> float | None:
        """Return the time (epoch) at which the link last worked; None when it is unknown.

        The time may be of this run or of the last one.
        """
        found: float = _HEARD.unpack_from(self._map, _HEARD_AT)[0]
        return found or None

    def heard(self, at: float) -> None:
        """Note that the link worked at this time (epoch)."""
        _HEARD.pack_into(self._map, _HEARD_AT, at)

    def release_hands(self) -> None:
        """Note that nothing is in hand, and nothing is read."""
        if not self._map.closed:
            self._map[_HANDS_AT:] = bytes(SIZE - _HANDS_AT)

    def close(self) -> None:
        """Close the file."""
        self._map.close()

    def _count_last_run(self) -> None:
        held = [found for hand in range(MOST_HANDS) if (found := self._map[_hand(hand)]) != NONE]
        named, filled = _LENGTHS.unpack_from(self._map, _READ_AT)
        if named:
            name = self._map[_BYTES_AT : _BYTES_AT + named].decode("utf-8", "surrogatepass")
            held.append(poison.digest(name, self._map[_BYTES_AT + named : _BYTES_AT + named + filled]))
        if not held:
            return

        # Clear the notes first. A process that ends between the two lines then loses strikes, and
        # adds none.
        self._map[_HANDS_AT:] = bytes(SIZE - _HANDS_AT)
        counts = {found.hex(): self._strikes.add(found) for found in held}
        self._map[_TABLE] = self._strikes.table()
        log.error("unfinished_messages_found", messages=counts)


def _open(path: Path | None) -> mmap.mmap:
    if path is None:
        return mmap.mmap(-1, SIZE)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Allocate the whole file before it is mapped. Writing to a page for which the disk has
            # no room kills the process.
            os.posix_fallocate(descriptor, 0, SIZE)
            return mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("crash_marker_failed", path=str(path), error=str(error))
        return mmap.mmap(-1, SIZE)
