"""Secrets that went through Vigil in this session.

At the end, a test looks for them in Vigil's logs.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from ops.environment import read_env

canaries: set[str] = set()


def canary(secret: str) -> str:
    """Remember a secret, and return it."""
    canaries.add(secret)
    return secret


def secrets_of(home: Path) -> set[str]:
    """Return the secrets that the installation itself keeps."""
    found = {value for name, value in read_env(home / "secrets.env").items() if value}
    found |= set((home / "feed.keys").read_text().split())
    for file in home.glob("login*.txt"):
        found |= {line.split()[1] for line in file.read_text().splitlines() if line.startswith("password")}
    return found


def forms(secret: str) -> Iterator[bytes]:
    """Yield the ways to write a secret that somebody can read back without a key.

    The secret is written as it is, escaped, as hex and in base64.
    """
    raw = secret.encode()
    yield from {raw, quote(secret).encode(), quote(secret, safe="").encode(), raw.hex().encode()}
    for shift in range(3):
        # The bytes before the secret shift its base64 text: the first and last characters depend on
        # the neighbours.
        whole = base64.b64encode(b"\0" * shift + raw)
        inner = whole[(0, 2, 3)[shift] : len(whole) - (0 if (len(raw) + shift) % 3 == 0 else 4)]
        yield from {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}


def found_in(text: bytes, secrets: dict[str, str]) -> list[str]:
    """Return the names of the secrets that a text contains, in any of their forms."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]
