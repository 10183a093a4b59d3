"""Seals of notification texts with links and codes, and keyed hashes of codes. Pure.

Viewers, evidence packs and backups read a row of `notification`. Therefore its readable columns
hold the text with `LINK` and `CODE` in place of the link and the code. The text for the provider is
sealed (Fernet) until the notification is finished. Keys are HKDF-SHA256 (RFC 5869) of each master
key of the feed. After a rotation, every key of the ring still opens older seals.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LINK, CODE = "[link]", "****"
"""Placeholders of readable columns. A code has four characters as well, so an SMS keeps its length."""
UNREADABLE = b""
"""A seal without content: the text is written again, with its link and without a code."""
_TEXT, _CODE = b"vigil notification text", b"vigil reply code"


class SealedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Message as its reader gets it. `reference` binds it to its row."""

    reference: UUID
    subject: str
    text: str
    html: str
    link: str
    code: str = ""


def seal(master: bytes, private: SealedMessage) -> bytes:
    """Return the sealed form of a message."""
    return Fernet(_fernet_key(master)).encrypt(msgspec.json.encode(private))


def unseal(masters: Sequence[bytes], sealed: bytes, *, reference: UUID) -> SealedMessage | None:
    """Return the message of this row; None when no key opens the seal, or it is another row's."""
    for master in masters:
        try:
            private = msgspec.json.decode(Fernet(_fernet_key(master)).decrypt(sealed), type=SealedMessage)
        except (InvalidToken, msgspec.DecodeError):
            continue
        return private if private.reference == reference else None
    return None


def hash_code(master: bytes, code: str, *, phone: str) -> bytes:
    """Return the hash of a code that was sent to a phone.

    The hash fits no other phone and no other installation.
    """
    return hmac.digest(_derived(master, _CODE), f"{phone} {code}".encode(), hashlib.sha256)


def _fernet_key(master: bytes) -> bytes:
    return base64.urlsafe_b64encode(_derived(master, _TEXT))


def _derived(master: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(master)
