"""Links with which a message's reader takes the alert. Pure.

    token = base64url(reference | end | MAC)

The reference has 16 bytes. The end is a Unix time of 4 bytes. The MAC is 16 bytes of HMAC-SHA256
over the rest. A link names its notification, has an end, and cannot be forged.

Keys are HKDF-SHA256 (RFC 5869) of each master key of the feed, newest first, so that a rotation
leaves older links valid. The notification's row records that its link was used: it works once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable, Sequence
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.contracts.errors import Refused

MAC_BYTES = 16
CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Characters of a code, without those that look alike on a small display."""
CODE_LENGTH = 4
CODE_DIGITS = "23456789"


def make_code(choose: Callable[[str], str]) -> str:
    """Return a code for replies by SMS.

    A code has at least one digit and one letter: a reply such as BUSY or a year is never a code by
    chance.

    Args:
        choose: picks one character at random.
    """
    while True:
        code = "".join(choose(CODE_LETTERS) for _ in range(CODE_LENGTH))
        if is_code(code):
            return code


def is_code(word: str) -> bool:
    """Return whether a word in capitals has the form of a code."""
    return (
        len(word) == CODE_LENGTH
        and all(letter in CODE_LETTERS for letter in word)
        and any(letter in CODE_DIGITS for letter in word)
        and not all(letter in CODE_DIGITS for letter in word)
    )


def make_token(master: bytes, reference: UUID, *, ends_at_s: int) -> str:
    """Return a token that is valid until `ends_at_s` (Unix seconds)."""
    body = reference.bytes + struct.pack(">I", ends_at_s)
    return base64.urlsafe_b64encode(body + _mac(master, body)).decode().rstrip("=")


def read_token(masters: Sequence[bytes], token: str, *, now_s: float) -> UUID:
    """Return the reference that a token names.

    Raises:
        Refused: Vigil did not make the token, or it has ended.
    """
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError) as error:
        raise Refused("this link is not complete; open it from the message again") from error

    body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if len(raw) != 20 + MAC_BYTES or not any(
        hmac.compare_digest(mac, _mac(master, body)) for master in masters
    ):
        raise Refused("this link is not complete; open it from the message again")

    [ends_at_s] = struct.unpack(">I", body[16:])
    if now_s > ends_at_s:
        raise Refused("this link has expired; log in to the control room")

    return UUID(bytes=body[:16])


def _mac(master: bytes, body: bytes) -> bytes:
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"vigil acknowledgement link").derive(
        master
    )
    return hmac.digest(key, body, hashlib.sha256)[:MAC_BYTES]
