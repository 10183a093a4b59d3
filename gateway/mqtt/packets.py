"""The frequent MQTT packets, parsed and built at low cost. Pure.

Layouts follow the OASIS standards MQTT 3.1.1 and 5.0, chapter 3. paho handles connections,
sessions, subscriptions and keep-alive. See docs/adr for the measurements.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

CONNACK = 0x20
PUBLISH = 0x30
PUBACK = 0x40
SUBACK = 0x90


def _remaining(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        encoded.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def connect(
    client_id: str, *, clean: bool = True, keepalive_s: int = 0, username: str = "", password: str = ""
) -> bytes:
    """Return a CONNECT of MQTT 3.1.1. It has credentials only when a user name is given."""
    flags = 0x02 if clean else 0x00
    fields = [client_id]
    if username:
        flags |= 0xC0
        fields += [username, password]
    body = _text(b"MQTT") + bytes([4, flags]) + keepalive_s.to_bytes(2, "big")
    body += b"".join(_text(field.encode()) for field in fields)
    return b"\x10" + _remaining(len(body)) + body


def publish(topic: str, payload: bytes, *, message_id: int, retain: bool = False) -> bytes:
    """Return a PUBLISH at QoS 1."""
    body = _text(topic.encode()) + message_id.to_bytes(2, "big") + payload
    return (b"\x33" if retain else b"\x32") + _remaining(len(body)) + body


_CLEARED = b"\x26" + _text(b"vigil") + _text(b"cleared")
"""The user property of MQTT 5 that marks the gateway's own clearing messages."""


def clear(topic: bytes) -> bytes:
    """Return a PUBLISH of MQTT 5 at QoS 0 that clears a topic's retained message.

    It carries the mark of Vigil's own clearing.
    """
    body = _text(topic) + _remaining(len(_CLEARED)) + _CLEARED
    return b"\x31" + _remaining(len(body)) + body


def subscribe(topic_filter: str, *, message_id: int = 1, qos: int = 1) -> bytes:
    """Return a SUBSCRIBE to one filter."""
    body = message_id.to_bytes(2, "big") + _text(topic_filter.encode()) + bytes([qos])
    return b"\x82" + _remaining(len(body)) + body


def puback(message_ids: Iterable[int]) -> bytes:
    """Return many PUBACKs in one buffer."""
    return b"".join(b"\x40\x02" + message_id.to_bytes(2, "big") for message_id in message_ids)


DISCONNECT = b"\xe0\x00"
PINGREQ = b"\xc0\x00"


class PublishPacket(NamedTuple):
    """PUBLISH as it came. `message_id` is 0 at QoS 0.

    `retained`: the broker had kept the message. `redelivered`: the broker has tried before.
    `cleared`: the message is empty and carries the mark of Vigil's own clearing (see `clear`).
    """

    topic: bytes
    payload: bytes
    qos: int
    message_id: int
    retained: bool = False
    redelivered: bool = False
    cleared: bool = False


def front(buffer: bytes, position: int) -> tuple[int, int, int] | None:
    """Return (first byte, start of the body, end) of the packet at `position`.

    Returns:
        None while the packet is not whole.

    Raises:
        ValueError: The remaining length has more than four bytes.
    """
    size, shift, cursor, end = 0, 0, position + 1, len(buffer)
    while cursor < end:
        digit = buffer[cursor]
        cursor += 1
        size |= (digit & 0x7F) << shift
        if digit < 0x80:
            return (buffer[position], cursor, cursor + size) if cursor + size <= end else None
        shift += 7
        if shift > 21:
            raise ValueError("a remaining length of more than four bytes")

    return None


def parse_publish(first: int, buffer: bytes, start: int, end: int, *, version: int = 4) -> PublishPacket:
    """Parse a PUBLISH with the body `buffer[start:end]`.

    Version 5 has properties, which are read only when there is no payload.
    """
    topic_end = start + 2 + (buffer[start] << 8 | buffer[start + 1])
    topic = buffer[start + 2 : topic_end]
    qos = first >> 1 & 3
    message_id = 0
    cleared = False

    if qos:
        message_id = buffer[topic_end] << 8 | buffer[topic_end + 1]
        topic_end += 2

    if version == 5:
        size, shift = 0, 0
        while True:
            digit = buffer[topic_end]
            topic_end += 1
            size |= (digit & 0x7F) << shift
            if digit < 0x80:
                break
            shift += 7

        cleared = topic_end + size == end and _CLEARED in buffer[topic_end:end]
        topic_end += size

    return PublishPacket(
        topic, buffer[topic_end:end], qos, message_id, bool(first & 0x01), bool(first & 0x08), cleared
    )


class PacketReader:
    """Splits a byte stream into packets: (first byte, body)."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes as they came. Return the packets that they complete."""
        buffer = self._buffer + data if self._buffer else data
        packets, position = [], 0
        while position < len(buffer) and (found := front(buffer, position)) is not None:
            first, start, position = found
            packets.append((first, buffer[start:position]))
        self._buffer = buffer[position:]
        return packets
