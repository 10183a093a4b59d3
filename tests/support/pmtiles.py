"""PMTiles files of one tile: the whole world at zoom 0.

They are written by hand from the specification (version 3).
"""

from __future__ import annotations

import struct
import zlib

PNG, MVT = 2, 1
HEADER_BYTES = 127
NOT_COMPRESSED = 1


def pmtiles(tile: bytes, *, kind: int) -> bytes:
    directory = (
        bytes([1, 0, 1]) + varint(len(tile)) + bytes([1])
    )  # one entry: id 0, run 1, length, offset 0 (+ 1)
    metadata = b"{}"
    at = HEADER_BYTES + len(directory)
    header = b"PMTiles\x03" + struct.pack(
        "<11Q",
        *(HEADER_BYTES, len(directory)),
        *(at, len(metadata)),
        *(at + len(metadata), 0),
        *(at + len(metadata), len(tile)),
        *(1, 1, 1),
    )
    header += struct.pack("<6B", 1, NOT_COMPRESSED, NOT_COMPRESSED, kind, 0, 0)
    header += struct.pack("<4i", -1800000000, -850000000, 1800000000, 850000000) + struct.pack(
        "<Bii", 0, 0, 0
    )
    assert len(header) == HEADER_BYTES
    return header + directory + metadata + tile


def varint(value: int) -> bytes:
    low = bytes([value & 0x7F])
    return low if value < 0x80 else bytes([low[0] | 0x80]) + varint(value >> 7)


def png(red: int, green: int, blue: int) -> bytes:
    """Return a PNG of 256 by 256 pixels of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\x00" + bytes([red, green, blue]) * 256) * 256
    head = struct.pack(">IIBBBBB", 256, 256, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def sea() -> bytes:
    """Return a vector tile (version 2.1) that is `water` all over."""

    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    def zigzag(value: int) -> bytes:
        return varint(value << 1 ^ value >> 31)

    corners = [(0, 0), (4096, 0), (0, 4096), (-4096, 0)]
    geometry = varint(9) + zigzag(corners[0][0]) + zigzag(corners[0][1]) + varint(3 << 3 | 2)
    geometry += b"".join(zigzag(step) for corner in corners[1:] for step in corner) + varint(15)
    feature = bytes([3 << 3, 3]) + field(4, geometry)
    layer = (
        field(1, b"water") + field(2, feature) + varint(5 << 3) + varint(4096) + varint(15 << 3) + varint(2)
    )
    return field(3, layer)
