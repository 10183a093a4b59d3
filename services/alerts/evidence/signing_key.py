"""Key that signs evidence packs: an Ed25519 key in a file of its own, made at first use."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.contracts.errors import Misconfigured

DEFAULT_NAME = "evidence-key.pem"


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the key of a file. The file is made when it does not exist.

    Raises:
        Misconfigured: the file is not a key, or others may read it.
    """
    if not path.exists():
        _make(path)
    return read_key(path)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the key of a file that exists. Raises `Misconfigured`."""
    try:
        others = path.stat().st_mode & 0o077
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"VIGIL_EVIDENCE_KEY_FILE: {path} cannot be read as a key: {error}") from error

    if others:
        raise Misconfigured(f"VIGIL_EVIDENCE_KEY_FILE: others may read {path}; say chmod 600 {path}")
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"VIGIL_EVIDENCE_KEY_FILE: {path} is not an Ed25519 key")

    return key


def _make(path: Path) -> None:
    """Make the key file, whole or not at all, and never over another.

    When two processes make it at once, both use the file of the first.
    """
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
    finally:
        fresh.unlink(missing_ok=True)
