"""Values that wait in Redis, sealed for one purpose and one place. Pure.

Each value is sealed by Fernet under its own key. The key is HKDF-SHA256 (RFC 5869) of a secret,
with the purpose and the name of the value in `info`. A sealed value that is moved to another name,
or to another use of the same secret, does not open.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def seal(secret: bytes, value: bytes, *, purpose: str, name: str) -> bytes:
    """Return the sealed form of a value.

    Args:
        secret: At least 32 random bytes.
        purpose: The use of the secret; constant in the code.
        name: The value's place, such as its key in Redis.
    """
    return _fernet(secret, purpose, name).encrypt(value)


def unseal(secrets: Iterable[bytes], sealed: bytes, *, purpose: str, name: str) -> bytes | None:
    """Return the value; None when none of the secrets opens it under this purpose and name."""
    for secret in secrets:
        try:
            return _fernet(secret, purpose, name).decrypt(sealed)
        except InvalidToken:
            continue
    return None


def _fernet(secret: bytes, purpose: str, name: str) -> Fernet:
    derivation = HKDF(
        algorithm=hashes.SHA256(), length=32, salt=None, info=f"vigil {purpose}\0{name}".encode()
    )
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret)))
