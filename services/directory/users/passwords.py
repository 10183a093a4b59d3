"""Passwords: argon2id with the library's defaults (RFC 9106's low-memory choice)."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def matches(password: str, stored: str | None) -> bool:
    """Return whether the password is the stored one.

    With None stored, the work takes as long, and the answer is False.
    """
    try:
        return _hasher.verify(stored or _hash_of_nobody(), password) and stored is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


@cache
def _hash_of_nobody() -> str:
    """Return the hash that is verified for an unknown user, so that the answer takes as long.

    It is made when it is first needed. It takes a quarter of a second, and every command imports
    this file.
    """
    return _hasher.hash(secrets.token_urlsafe(16))
