"""The state directory of a checkout, and the environment files of the stack that runs there.

- `<home>/secrets.env` is made once and kept.
- `<home>/stack.env` says where the running stack listens.
- `<home>/operator.env` holds what only operators' commands may have.
- `<home>/secrets/<process>.env` holds what one process may have.

A variable that the operator sets in the environment always wins.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the state directory: `VIGIL_HOME`, else `.vigil` in the checkout."""
    env = os.environ if environ is None else environ
    return Path(env.get("VIGIL_HOME") or PROJECT / ".vigil")


def read_env(path: Path) -> dict[str, str]:
    """Return the KEY=VALUE lines of a file.

    Comments and blank lines are skipped. A missing file counts as empty.
    """
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write for the owner only, whole or not at all."""
    for key, value in values.items():
        if "\n" in value or "=" in key:
            raise ValueError(f"{key} cannot be kept in an environment file")
    write_private(path, "".join(f"{key}={value}\n" for key, value in values.items()))


def write_private(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def password_of(server: str, process: str) -> str:
    """Return the name, in `secrets.env`, of a process's password at a server (DB, AMQP, REDIS)."""
    return f"VIGIL_{server}_PASSWORD_{process.replace('-', '_').upper()}"


def secrets_file(directory: Path, process: str) -> Path:
    """Return the file with the secrets of one process, while the stack of this home runs."""
    return directory / "secrets" / f"{process}.env"


def environment_files(directory: Path) -> list[Path]:
    """Return the files that are there only while the stack of this home runs."""
    own = sorted((directory / "secrets").glob("*.env"))
    return [directory / "stack.env", directory / "operator.env", *own]


def keep_secrets(directory: Path, *, passwords: Iterable[str] = ()) -> dict[str, str]:
    """Return the secrets of this home, and make those that are missing.

    `passwords` names further secrets.
    """
    path = directory / "secrets.env"
    kept = read_env(path)
    made: dict[str, Callable[[], str]] = {
        "CHANNELS_ENCRYPTION_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "JWT_SECRET": lambda: secrets.token_urlsafe(48),
        "VIGIL_DB_PASSWORD": lambda: secrets.token_hex(16),
        "VIGIL_DB_SERVICE_PASSWORD": lambda: secrets.token_hex(16),
        "MQTT_BROKER_PASSWORD": lambda: secrets.token_urlsafe(24),
        "MQTT_WATCHDOG_PASSWORD": lambda: secrets.token_urlsafe(24),
        "MQTT_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(24),
        "VIGIL_AMQP_PASSWORD": lambda: secrets.token_hex(16),
        "VIGIL_REDIS_PASSWORD": lambda: secrets.token_hex(16),
        "VIGIL_DB_SUPERUSER_PASSWORD": lambda: secrets.token_hex(16),
        **dict.fromkeys(passwords, lambda: secrets.token_hex(16)),
    }

    missing = {name: make() for name, make in made.items() if name not in kept}
    if missing:
        write_env(path, kept | missing)

    return kept | missing


def apply_environment(*, process: str = "") -> None:
    """Let this process find the running stack: set the variables that the operator did not set.

    Operators' commands get those of `operator.env`. A process of Vigil gets its own.
    """
    own = secrets_file(home(), process) if process else home() / "operator.env"
    for file in (home() / "stack.env", own):
        for key, value in read_env(file).items():
            os.environ.setdefault(key, value)
