"""The secrets of an installation as files, one each: what compose and systemd hand to processes.

A file's name is the variable's in small letters. What is there is kept; what is missing is made at random, or left
empty where only a provider can know it.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ops.environment import write_private

OPTIONAL = ("smtp_url", "twilio_auth_token", "alert_url_recipients")
"""Known to a provider only: empty means that the channel is not used."""
DATABASE = "vigil"
VHOST = "vigil"


class Addresses(NamedTuple):
    """host:port of the servers, as Vigil reaches them."""

    postgres: str
    amqp: str
    redis: str


def write(
    directory: Path, addresses: Addresses, *, owners: Mapping[str, tuple[int, int]] | None = None
) -> list[str]:
    """Make what is missing; returns the names of what was made. `owners`: name to (user id, group id)."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    made = []
    for name, make in _makers(directory, addresses).items():
        file = directory / name
        if not file.exists():
            write_private(file, make() + "\n")
            made.append(name)
        # Whoever put one there by hand may have left it open to all.
        file.chmod(0o600 if owners is None else 0o440)
        if owners is not None:
            os.chown(file, *owners.get(name, owners[""]))
    return made


def _makers(directory: Path, addresses: Addresses) -> dict[str, Callable[[], str]]:
    """In the order in which they need each other: a URL repeats a password that stands in another file."""

    def password(name: str) -> str:
        return (directory / name).read_text().split()[-1]

    postgres = f"{addresses.postgres}/{DATABASE}"
    return {
        "channels_encryption_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt_secret": lambda: secrets.token_urlsafe(48),
        "vigil_webhook_secret": lambda: secrets.token_urlsafe(32),
        "mqtt_broker_password": lambda: secrets.token_urlsafe(24),
        "mqtt_watchdog_password": lambda: secrets.token_urlsafe(24),
        "mqtt_admin_password": lambda: secrets.token_urlsafe(24),
        "postgres_password": lambda: secrets.token_hex(24),
        "vigil_superuser_database_url": lambda: (
            f"postgresql://postgres:{password('postgres_password')}@{addresses.postgres}/postgres"
        ),
        "vigil_owner_database_url": lambda: f"postgresql://vigil:{secrets.token_hex(24)}@{postgres}",
        "database_url": lambda: f"postgresql://vigil_service:{secrets.token_hex(24)}@{postgres}",
        "rabbitmq_conf": lambda: (
            f"default_user = vigil\ndefault_vhost = {VHOST}\ndefault_pass = {secrets.token_hex(24)}"
        ),
        "amqp_uri": lambda: f"amqp://vigil:{password('rabbitmq_conf')}@{addresses.amqp}/{VHOST}",
        "redis_auth": lambda: f"requirepass {secrets.token_hex(24)}",
        "redis_url": lambda: f"redis://:{password('redis_auth')}@{addresses.redis}/0",
        "grafana_admin_password": lambda: secrets.token_urlsafe(24),
        **dict.fromkeys(OPTIONAL, lambda: ""),
    }
