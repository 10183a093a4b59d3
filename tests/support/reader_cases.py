"""Streams of frames that a reader must take or refuse.

They are for both readers: `services.feed.client` and `console/feed.js`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cryptography.fernet import Fernet

from services.feed import encryption
from services.feed.encryption import PlainSealer, Sealer

MASTER = bytes(range(32))
KEYS = encryption.derived_keys([MASTER], 1)
SEALED_S = 1_700_000_000
ALERT = {"id": "a1", "message": "help, κόσμε"}


class FrameStream(NamedTuple):
    """Frames as they come, and for each whether the reader must believe it.

    The first frame that is not believed is the last. "repeated": the frame is believed, and repeats
    an earlier frame.
    """

    name: str
    frames: list[bytes]
    believed: list[bool | str]
    keys: dict[str, str] = KEYS


def seal(
    kind: str,
    frame_id: int,
    *,
    tenant_id: int = 1,
    at_s: int = SEALED_S,
    master: bytes = MASTER,
    data: Any = ALERT,
) -> bytes:
    return Sealer(lambda: master).seal(tenant_id, type=kind, id=frame_id, data=data, now_s=at_s)


def plain(kind: str, frame_id: int, *, data: Any = ALERT) -> bytes:
    return PlainSealer().seal(1, type=kind, id=frame_id, data=data, now_s=0)


def clear(kind: str = "connected", **fields: Any) -> bytes:
    return json.dumps(
        {"type": kind, **({"resumed": False} if kind == "connected" else {}), **fields}
    ).encode()


def changed(frame: bytes, **fields: Any) -> bytes:
    """Return the frame with other values in its outer fields. None removes a field."""
    outside = {**json.loads(frame), **fields}
    return json.dumps({name: value for name, value in outside.items() if value is not None}).encode()


START = [clear(), seal("snapshot", 5)]


def all_streams() -> Iterator[FrameStream]:
    yield FrameStream(
        "as it comes",
        [*START, seal("positions", 6), clear("heartbeat"), seal("critical_alert", 7)],
        [True] * 5,
    )
    yield FrameStream("told again after a fault", *repeated_alerts())
    yield FrameStream("told again, in the clear", *repeated_alerts(plain), {})
    yield FrameStream("resumed", [*START, clear(resumed=True), seal("positions", 6)], [True] * 4)
    yield FrameStream(
        "a newer snapshot",
        [*START, seal("positions", 9), clear(), seal("snapshot", 7, at_s=SEALED_S + 9)],
        [True] * 5,
    )
    yield FrameStream(
        "a feed that Redis has lost", [*START, clear(), seal("snapshot", 0), seal("positions", 1)], [True] * 5
    )
    yield FrameStream(
        "two hosts whose clocks differ", [*START, seal("positions", 6, at_s=SEALED_S - 30)], [True] * 3
    )
    for name, bad in refused_frames():
        yield FrameStream(name, [*START, seal("critical_alert", 6), bad], [True, True, True, False])
    lost = [*START, clear(), seal("snapshot", 0, at_s=SEALED_S + 1000)]
    yield FrameStream(
        "old frames after the feed was lost", [*lost, seal("critical_alert", 6)], [True] * 4 + [False]
    )
    yield FrameStream("a frame before the snapshot", [clear(), seal("positions", 6)], [True, False])
    yield FrameStream("the first frame is no snapshot", [seal("positions", 6)], [False])
    flipped = seal("critical_alert", 6)
    for position in range(len(flipped)):
        for bit in range(8):
            frame = bytearray(flipped)
            frame[position] ^= 1 << bit
            yield FrameStream(f"bit {bit} of byte {position}", [*START, bytes(frame)], [True, True, False])
    yield from plain_streams()


def repeated_alerts(make: Callable[..., bytes] | None = None) -> tuple[list[bytes], list[bool | str]]:
    """Return frames of two alerts, some of them repeated, and the expected result of each."""
    seal_or_not = make or seal

    def tell(frame_id: int, kind: str, alert: str, event: object) -> bytes:
        return seal_or_not(kind, frame_id, data={**ALERT, "id": alert, "event": event})

    frames = [
        (tell(6, "critical_alert", "a1", 31), True),
        (tell(7, "critical_alert", "a1", 31), "repeated"),
        (tell(8, "critical_alert", "a2", 31), True),
        (tell(9, "alert_updated", "a1", 33), True),
        (tell(10, "alert_updated", "a1", 32), True),  # late, but not a repeat
        (tell(11, "critical_alert", "a1", 31), "repeated"),
        (tell(12, "alert_updated", "a1", "33"), True),  # not an event of ours
        (tell(13, "alert_updated", "a1", 33), "repeated"),
    ]
    start = [clear(), seal_or_not("snapshot", 5)]
    return [*start, *(frame for frame, _ in frames)], [True, True, *(known for _, known in frames)]


def refused_frames() -> Iterator[tuple[str, bytes]]:
    """Yield (name, frame) of frames that are refused after frame 6."""
    good = seal("critical_alert", 7)
    yield "another tenant's", seal("critical_alert", 7, tenant_id=2)
    kid, key = next(iter(KEYS.items()))
    yield "another tenant's under our kid", changed(seal("critical_alert", 7, tenant_id=2), kid=kid)
    yield "sealed for another tenant with our key", _sealed_with(key, tenant_id=2)
    yield "under a key that nobody has", seal("critical_alert", 7, master=bytes(32))
    yield "replayed", seal("critical_alert", 6)
    yield "reordered", seal("critical_alert", 5)
    yield "relabelled", changed(good, type="alert_updated")
    yield "renumbered", changed(good, id=8)
    yield "without a number", changed(good, id=None)
    yield "with a number that is text", changed(good, id="7")
    yield "without a key", changed(good, kid=None)
    yield "without its data", changed(good, data=None)
    yield "in the clear", changed(good, data=ALERT, kid=None)
    yield "empty", changed(good, data="")
    yield "passed off as a heartbeat", changed(good, type="heartbeat")
    yield "a clear frame with a number", clear("heartbeat", id=99)
    yield "an old snapshot", seal("snapshot", 7, at_s=SEALED_S - 100)
    yield "of another frame's data", changed(good, data=json.loads(seal("critical_alert", 6))["data"])
    yield "no object", b"[1]"
    yield "no JSON", b"{"
    yield "without a type", b'{"id": 7}'
    padded = (seal("critical_alert", 7, data="x" * size) for size in range(0, 96, 16))
    good = next(frame for frame in padded if json.loads(frame)["data"].endswith("="))
    for name, text in rewritten(json.loads(good)["data"]):
        yield name, changed(good, data=text)


def rewritten(token: str) -> Iterator[tuple[str, str]]:
    """Yield other ways to write the same bytes, or fewer of them."""
    yield "with spaces", token[:40] + " " + token[40:]
    yield "with a line's end", token + "\n"
    yield "in the other alphabet", token.replace("-", "+").replace("_", "/") + "+"
    yield "cut", token[:-4]
    yield "longer", token + token
    body = token.rstrip("=")
    yield "without its padding", body
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = letters[letters.index(body[-1]) ^ 1]
    yield "with spare bits set", body[:-1] + spare + "=" * (len(token) - len(body))
    version = bytearray(base64.urlsafe_b64decode(token))
    version[0] = 0x81
    yield "of another version", base64.urlsafe_b64encode(bytes(version)).decode()


def plain_streams() -> Iterator[FrameStream]:
    """Yield streams with `NOC_FEED_ENCRYPTION=off`.

    Nothing proves a frame's origin, but the order still holds.
    """

    start = [clear(), plain("snapshot", 0)]
    yield FrameStream(
        "plain, as it comes", [*start, plain("positions", 1), plain("critical_alert", 2)], [True] * 4, {}
    )
    yield FrameStream(
        "plain, replayed", [*start, plain("positions", 1), plain("positions", 1)], [True] * 3 + [False], {}
    )
    yield FrameStream(
        "plain, without a number", [*start, changed(plain("positions", 1), id=None)], [True, True, False], {}
    )


def _sealed_with(key: str, *, tenant_id: int) -> bytes:
    """Return a frame that a key's holder could make, to carry data from one tenant to another."""

    body = json.dumps({"type": "critical_alert", "id": 7, "tenant_id": tenant_id, "data": ALERT}).encode()
    token = Fernet(key).encrypt_at_time(body, SEALED_S).decode()
    return json.dumps(
        {"type": "critical_alert", "id": 7, "kid": encryption.key_id(key.encode()), "data": token}
    ).encode()
