"""Secrets that went through Vigil in this session: in the end they are looked for in its logs."""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from ops.environment import read_env

canaries: set[str] = set()


def canary(secret: str) -> str:
    """The secret, remembered."""
    canaries.add(secret)
    return secret


def secrets_of(home: Path) -> set[str]:
    """What the installation itself keeps secret."""
    found = {value for name, value in read_env(home / "secrets.env").items() if value}
    found |= set((home / "feed.keys").read_text().split())
    for file in home.glob("login*.txt"):
        found |= {line.split()[1] for line in file.read_text().splitlines() if line.startswith("password")}
    return found


def forms(secret: str) -> Iterator[bytes]:
    """Ways to write a secret that somebody reads back without a key: as it is, escaped, as hex, in base64."""
    raw = secret.encode()
    yield from {raw, quote(secret).encode(), quote(secret, safe="").encode(), raw.hex().encode()}
    for shift in range(3):
        # What stands before it moves its letters: the first and last ones depend on the neighbours.
        whole = base64.b64encode(b"\0" * shift + raw)
        inner = whole[(0, 2, 3)[shift] : len(whole) - (0 if (len(raw) + shift) % 3 == 0 else 4)]
        yield from {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}


def found_in(text: bytes, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets that stand in a text, in any of their forms."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]
