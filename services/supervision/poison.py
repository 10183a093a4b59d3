"""Messages that a process does not survive: their identity, and their strikes. Pure.

A message gets a strike when the process ended, killed or stalled, while it had this message in
hand. One strike is not enough to set a message aside unread. A kill from outside hits some message,
and hits the same one again only by a rare chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

REMEMBERED = 64
"""Messages whose strikes are kept, the newest ones."""
DIGEST_BYTES = 16
NONE = bytes(DIGEST_BYTES)
"""The digest that stands for no message."""
RECORD_BYTES = DIGEST_BYTES + 1
MOST = 255


def digest(name: str, content: bytes) -> bytes:
    """Return the digest that identifies a message in every delivery, to every process.

    An MQTT message is identified by its topic and its bytes, which are the same in each delivery.
    Its packet id is not counted: a broker that was restarted may choose another one. An event is
    identified by its queue and its message id.
    """
    return hashlib.blake2b(
        name.encode("utf-8", "surrogatepass") + b"\0" + content, digest_size=DIGEST_BYTES
    ).digest()


def key(message_digest: bytes, packet_id: int, fresh_key: Callable[[], bytes]) -> bytes:
    """Return the identity of a message that was set aside, made without reading it.

    A redelivery has the packet id of the delivery (MQTT 5, 4.4), so it is the same message. Equal
    bytes that a device sends once more have another id and are another message. A message at QoS 0
    is never delivered twice.
    """
    if not packet_id:
        return fresh_key()
    return hashlib.blake2b(
        b"poison\0" + packet_id.to_bytes(2, "big") + message_digest, digest_size=DIGEST_BYTES
    ).digest()


class MessageStrikes:
    """The strikes of messages, newest last, as a table of fixed size in bytes."""

    def __init__(self, table: bytes = b"") -> None:
        self._counts: dict[bytes, int] = {}
        for start in range(0, len(table) - RECORD_BYTES + 1, RECORD_BYTES):
            found = table[start : start + DIGEST_BYTES]
            if found != NONE:
                self._counts[found] = table[start + DIGEST_BYTES]

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, message_digest: bytes) -> int:
        """Return the strikes of a message."""
        return self._counts.get(message_digest, 0)

    def add(self, message_digest: bytes) -> int:
        """Count one more strike; return how many there are now."""
        count = min(self._counts.pop(message_digest, 0) + 1, MOST)
        while len(self._counts) >= REMEMBERED:
            del self._counts[next(iter(self._counts))]
        self._counts[message_digest] = count
        return count

    def forget(self, message_digest: bytes) -> None:
        """Forget the strikes of a message."""
        self._counts.pop(message_digest, None)

    def table(self) -> bytes:
        """Return all strikes as bytes, `REMEMBERED` records long."""
        records = b"".join(found + bytes([count]) for found, count in self._counts.items())
        return records.ljust(REMEMBERED * RECORD_BYTES, b"\0")
