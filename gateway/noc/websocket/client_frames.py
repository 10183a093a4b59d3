"""Frames of clients, decoded by `services/contracts/frames.py`. Pure."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from services.contracts import frames
from services.contracts.errors import Refused

NO_REF = msgspec.Raw(b"null")
_DECODER: msgspec.json.Decoder[frames.ClientFrame] = msgspec.json.Decoder(frames.ClientFrame)
_FAULTS = (msgspec.DecodeError, RecursionError, UnicodeError)


class FrameHead(msgspec.Struct, frozen=True):
    """Fields that a refused frame may still have."""

    type: str = ""
    ref: msgspec.Raw = NO_REF


_HEAD = msgspec.json.Decoder(FrameHead)


def decode(text: str | None) -> frames.ClientFrame:
    """Return the client's frame. Raises `Refused` for any fault; `text` is None for binary data."""
    if text is None:
        raise Refused("a frame is JSON text, not binary")

    try:
        frame = _DECODER.decode(text)
    except _FAULTS as error:
        kind = _head(text).type
        if kind and kind not in frames.CLIENT:
            raise Refused(f"type is {kind[:50]!r}, which is not a client frame") from error
        raise Refused(f"not a frame: {error}") from error

    if any("\0" in value for value in msgspec.structs.asdict(frame).values() if isinstance(value, str)):
        raise Refused("text must not hold NUL")

    return frame


def ref_of(text: str | None) -> msgspec.Raw:
    """Return the `ref` of a frame that may be invalid; null when it has none."""
    return _head(text or "").ref


def given(ref: msgspec.Raw | UnsetType) -> msgspec.Raw:
    """Return the `ref` of an answer: the client's own, or null."""
    return NO_REF if ref is UNSET else ref


def _head(text: str) -> FrameHead:
    """Return the head of a frame; an empty one for a text that has none."""
    try:
        return _HEAD.decode(text)
    except _FAULTS:
        return FrameHead()
