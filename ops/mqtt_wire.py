"""MQTT 3.1.1 packets for senders that must cost next to nothing: the simulator and the benchmark. Pure.

Packet layouts are those of the OASIS standard MQTT 3.1.1, chapter 3. The gateway does not use this; it uses paho.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def connect(client_id: str, *, clean: bool = True, keepalive_s: int = 0) -> bytes:
    """CONNECT without credentials."""
    flags = 0x02 if clean else 0x00
    body = _text(b"MQTT") + bytes([4, flags]) + keepalive_s.to_bytes(2, "big") + _text(client_id.encode())
    return b"\x10" + _remaining(len(body)) + body


def publish(topic: str, payload: bytes, *, message_id: int) -> bytes:
    """PUBLISH at QoS 1."""
    body = _text(topic.encode()) + message_id.to_bytes(2, "big") + payload
    return b"\x32" + _remaining(len(body)) + body


def subscribe(topic_filter: str, *, message_id: int = 1, qos: int = 1) -> bytes:
    """SUBSCRIBE to one filter."""
    body = message_id.to_bytes(2, "big") + _text(topic_filter.encode()) + bytes([qos])
    return b"\x82" + _remaining(len(body)) + body


def puback(message_ids: Iterator[int] | list[int]) -> bytes:
    """Many PUBACKs in one buffer."""
    return b"".join(b"\x40\x02" + message_id.to_bytes(2, "big") for message_id in message_ids)


DISCONNECT = b"\xe0\x00"
PINGREQ = b"\xc0\x00"


class Reader:
    """Cuts a byte stream into packets: (first byte, body)."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes as they came; returns the packets that they complete."""
        buffer = self._buffer + data if self._buffer else data
        packets = []
        position, end = 0, len(buffer)
        while end - position >= 2:
            size, shift, cursor = 0, 0, position + 1
            while cursor < end:
                digit = buffer[cursor]
                size |= (digit & 0x7F) << shift
                shift += 7
                cursor += 1
                if digit < 0x80:
                    break
            else:
                break
            if end - cursor < size:
                break
            packets.append((buffer[position], buffer[cursor : cursor + size]))
            position = cursor + size
        self._buffer = buffer[position:]
        return packets


def parse_publish(first: int, body: bytes) -> tuple[bytes, bytes, int]:
    """(topic, payload, message id) of a PUBLISH; the id is 0 at QoS 0."""
    size = int.from_bytes(body[:2], "big")
    topic, rest = body[2 : 2 + size], body[2 + size :]
    if first & 0x06:
        return topic, rest[2:], int.from_bytes(rest[:2], "big")
    return topic, rest, 0
