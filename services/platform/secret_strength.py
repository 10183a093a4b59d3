"""Secrets that were typed or copied, not made at random. Pure.

The value alone is judged. The tests find values that a person would type or leave unchanged. No
test finds every weak secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

KEY_DISTINCT = 18
"""Distinct bytes that a random key has at least.

A random key of 32 bytes has 30 different ones. In a thousand million keys none has fewer than 18.
"""
TEXT_LENGTH, TEXT_DISTINCT = 32, 10
KNOWN_PASSWORDS = frozenset(
    {
        "",
        "guest",
        "admin",
        "administrator",
        "root",
        "user",
        "test",
        "default",
        "password",
        "passw0rd",
        "pass",
        "vigil",
        "vigil_service",
        "postgres",
        "postgresql",
        "redis",
        "rabbitmq",
        "mosquitto",
        "mqtt",
        "changeme",
        "change-me",
        "change_me",
        "secret",
        "letmein",
        "qwerty",
        "123456",
        "12345678",
        "123456789",
    }
)


def is_weak_key(key: bytes) -> bool:
    """Return whether the bytes of a key show a pattern.

    A pattern is one byte again and again, a period, a count, or typed letters.
    """
    typed = all(0x20 <= byte < 0x7F for byte in key)
    return typed or len(set(key)) < min(KEY_DISTINCT, len(key) // 2) or _has_pattern(key)


def is_weak_text(secret: str) -> bool:
    """Return whether a secret text shows a pattern, or is too short.

    It needs 32 characters, and 10 different ones among them.
    """
    codes = [ord(letter) for letter in secret]
    return len(secret) < TEXT_LENGTH or len(set(secret)) < TEXT_DISTINCT or _has_pattern(codes)


def is_known_password(password: str, *, login: str = "") -> bool:
    """Return whether a password is missing, a default, or the login itself.

    Any case counts, and any digits at the end.
    """
    word = password.lower()
    bare = word.rstrip("0123456789!")
    return word in KNOWN_PASSWORDS or (bare or word) in KNOWN_PASSWORDS or word == login.lower()


def has_known_password(url: str) -> bool:
    """Return whether the password in a URL is missing, a default, or the login itself.

    The password stands before the host, or is a parameter, as libpq takes it.
    """
    split = urlsplit(url)
    login, password = _login(split)
    return is_known_password(password, login=login)


def _login(split: SplitResult) -> tuple[str, str]:
    query = parse_qs(split.query, keep_blank_values=True)
    login = split.username if split.username is not None else query.get("user", [""])[-1]
    password = split.password if split.password is not None else query.get("password", [""])[-1]
    return unquote(login), unquote(password)


def _has_pattern(values: Sequence[int]) -> bool:
    """Return whether values repeat within their first half, or mostly count up or down."""
    length = len(values)
    periods = (p for p in range(1, length // 2 + 1) if list(values[p:]) == list(values[:-p]))
    if next(periods, None) is not None:
        return True
    steps = [later - earlier for earlier, later in zip(values, values[1:], strict=False)]
    return sum(abs(step) <= 1 for step in steps) > length // 2 or len(set(steps)) == 1
