"""The sealed form of a feed frame: Fernet under a tenant's key, with type, id and tenant inside.

Fernet has no associated data. The sealed body therefore repeats the facts of the clear frame, and
the reader compares the two. Keys are derived by HKDF-SHA256 (RFC 5869) from each master key of
`CHANNELS_ENCRYPTION_KEY`, with the tenant in `info`. `kid` names a derived key without revealing
it. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.contracts.errors import InvalidMessage, Misconfigured

_encoder = msgspec.json.Encoder()


class SealedFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """A feed frame as it travels.

    `data` is a Fernet token, or a plain object when encryption is off. `trace` is for logs.
    `arrived` is for numbers only: the time at which its message came to the gateway, in Unix
    seconds. Neither is sealed: a change of them changes nothing that a reader believes.
    """

    type: str
    id: int | None = None
    kid: str | None = None
    trace: str | None = None
    arrived: float | None = None
    data: Any = None


class SealedBody(msgspec.Struct, frozen=True):
    type: str
    id: int
    tenant_id: int
    data: Any


FEED_KEY_FILE, EVIDENCE_KEY_FILE = "CHANNELS_ENCRYPTION_KEY_FILE", "VIGIL_EVIDENCE_KEY_FILE"
"""The variables that name key files."""


def master_keys(written: str | bytes) -> list[bytes]:
    """Return the master keys of `CHANNELS_ENCRYPTION_KEY` or of its file, newest first.

    Each key has 32 bytes. Commas or line ends separate the written keys.

    Raises:
        Misconfigured: A key is not 32 bytes in URL-safe base64.
    """
    text_of_all = written if isinstance(written, str) else written.decode("ascii", "replace")
    comma_list = ",".join(text_of_all.splitlines())
    keys = []
    for position, text in enumerate(part.strip() for part in comma_list.split(",") if part.strip()):
        try:
            key = base64.urlsafe_b64decode(text.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError, ValueError):
            key = b""

        if len(key) != 32:
            raise Misconfigured(
                f"CHANNELS_ENCRYPTION_KEY: key {position + 1} is not 32 bytes in URL-safe base64; "
                "make one with `vigil keys generate`"
            )

        keys.append(key)

    return keys


def tenant_key(master: bytes, tenant_id: int) -> bytes:
    """Return the tenant's Fernet key (44 bytes of URL-safe base64)."""
    derived = HKDF(
        algorithm=hashes.SHA256(), length=32, salt=None, info=f"vigil feed tenant {tenant_id}".encode()
    )
    return base64.urlsafe_b64encode(derived.derive(master))


def key_id(key: bytes) -> str:
    """Return the eight hex digits that name a derived key."""
    return hashlib.sha256(b"vigil kid " + key).hexdigest()[:8]


def tenant_keys(comma_list: str, tenant_id: int) -> dict[str, str]:
    """Return all feed keys of a tenant by kid, newest first: the keys that a reader needs."""
    return derived_keys(master_keys(comma_list), tenant_id)


def derived_keys(masters: Iterable[bytes], tenant_id: int) -> dict[str, str]:
    """Return a tenant's Fernet keys by kid, in the order of the master keys."""
    keys = [tenant_key(master, tenant_id) for master in masters]
    return {key_id(key): key.decode("ascii") for key in keys}


class Sealer:
    """Sealer for all tenants under the current master key; remembers the derived keys."""

    def __init__(self, master: Callable[[], bytes]) -> None:
        self._master = master
        self._of_tenant: dict[tuple[bytes, int], tuple[str, Fernet]] = {}

    def seal(
        self,
        tenant_id: int,
        *,
        type: str,  # noqa: A002
        id: int,  # noqa: A002
        data: Any,
        now_s: int,
        trace: str | None = None,
        arrived: float | None = None,
    ) -> bytes:
        """Return the frame as JSON bytes, ready for the socket."""
        master = self._master()
        known = self._of_tenant.get((master, tenant_id))
        if known is None:
            key = tenant_key(master, tenant_id)
            known = self._of_tenant[master, tenant_id] = (key_id(key), Fernet(key))

        kid, fernet = known
        body = _encoder.encode(SealedBody(type=type, id=id, tenant_id=tenant_id, data=data))
        token = fernet.encrypt_at_time(body, now_s)

        return _encoder.encode(
            SealedFrame(type=type, id=id, kid=kid, trace=trace, arrived=arrived, data=token.decode("ascii"))
        )


class PlainSealer:
    """Sealer that seals nothing, for development only (`NOC_FEED_ENCRYPTION=off`).

    The frames are the same, with `data` in the clear.
    """

    def seal(
        self,
        tenant_id: int,  # noqa: ARG002
        *,
        type: str,  # noqa: A002
        id: int,  # noqa: A002
        data: Any,
        now_s: int,  # noqa: ARG002
        trace: str | None = None,
        arrived: float | None = None,
    ) -> bytes:
        return _encoder.encode(SealedFrame(type=type, id=id, trace=trace, arrived=arrived, data=data))


def open_frame(raw: bytes | str, *, keys: Mapping[str, str], tenant_id: int, after_id: int = 0) -> SealedBody:
    """Open and check one sealed frame.

    Args:
        raw: The frame as it came.
        keys: Fernet keys by kid.
        tenant_id: The tenant of the reader.
        after_id: The last id seen. An id that is not greater is a replay.

    Raises:
        InvalidMessage: The frame is unreadable, not authentic, replayed, or sealed under no known
            key.
    """
    try:
        frame = msgspec.json.decode(raw, type=SealedFrame)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage("frame_unreadable", str(error)) from error

    key = keys.get(frame.kid or "")
    if key is None or not isinstance(frame.data, str):
        raise InvalidMessage("frame_unknown_key", f"no key {frame.kid!r}")
    if not _is_canonical(frame.data):
        raise InvalidMessage("frame_not_authentic", f"frame {frame.id} of type {frame.type}")

    try:
        body = msgspec.json.decode(Fernet(key).decrypt(frame.data.encode()), type=SealedBody)
    except (InvalidToken, msgspec.DecodeError) as error:
        raise InvalidMessage("frame_not_authentic", f"frame {frame.id} of type {frame.type}") from error

    if (body.type, body.id, body.tenant_id) != (frame.type, frame.id, tenant_id):
        raise InvalidMessage("frame_not_authentic", "type, id or tenant differ from what was sealed")
    if body.id <= after_id:
        raise InvalidMessage("frame_replayed", f"id {body.id} after {after_id}")

    return body


def sealed_at_s(token: str) -> int:
    """Return the time at which an opened token was sealed, in Unix seconds."""
    return int.from_bytes(base64.urlsafe_b64decode(token)[1:9], "big")


def _is_canonical(token: str) -> bool:
    """Return whether a token is the one way to write its bytes.

    Base64 has spare bits that no signature covers.
    """
    try:
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode("ascii") == token
    except (binascii.Error, ValueError):
        return False
