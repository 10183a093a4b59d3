"""Messages that their decoder does not survive: how they are known again, and when one is set aside unread. Pure.

A message gets a strike when the process ended, killed or stalled, while this message was being decoded. With two
strikes it is poison. One strike is not enough: a kill from outside hits some message in hand, and the same one is hit
twice only by a chance that no test will see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

STRIKES = 2
"""Ends of the process during one message after which the message is not read again."""
UNNAMED_STRIKES = 3
"""Ends after which its topic is not read either: two while it was decoded, one while it was set aside."""
REMEMBERED = 64
"""Messages whose strikes are kept, the newest ones."""
DIGEST_BYTES = 16
NONE = bytes(DIGEST_BYTES)
"""The digest that stands for no message."""
RECORD_BYTES = DIGEST_BYTES + 1
MOST = 255


def digest(topic: str, payload: bytes) -> bytes:
    """Return by what a message is known again when it is redelivered, to this process or to the next one.

    The topic and the bytes are the same in each delivery. The packet id is not counted: a broker that was restarted
    may choose another one.
    """
    return hashlib.blake2b(
        topic.encode("utf-8", "surrogatepass") + b"\0" + payload, digest_size=DIGEST_BYTES
    ).digest()


def key(message_digest: bytes, packet_id: int, fresh_key: Callable[[], bytes]) -> bytes:
    """Return the identity of a message that was set aside, made without reading it.

    A redelivery has the packet id of the delivery (MQTT 5, 4.4), so it is the same message; equal bytes that a device
    sends once more have another id and are another message. What comes at QoS 0 is never delivered twice.
    """
    if not packet_id:
        return fresh_key()
    return hashlib.blake2b(
        b"poison\0" + packet_id.to_bytes(2, "big") + message_digest, digest_size=DIGEST_BYTES
    ).digest()


class Strikes:
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
        """Count one more strike; returns how many there are now."""
        count = min(self._counts.pop(message_digest, 0) + 1, MOST)
        while len(self._counts) >= REMEMBERED:
            del self._counts[next(iter(self._counts))]
        self._counts[message_digest] = count
        return count

    def forgive(self, message_digest: bytes) -> None:
        """Forget a message that was decoded after all.

        Poison is never forgiven: the same bytes would cost as many ends of the process again.
        """
        if self.of(message_digest) < STRIKES:
            self._counts.pop(message_digest, None)

    def table(self) -> bytes:
        """Return all of it as bytes, `REMEMBERED` records long."""
        records = b"".join(found + bytes([count]) for found, count in self._counts.items())
        return records.ljust(REMEMBERED * RECORD_BYTES, b"\0")
