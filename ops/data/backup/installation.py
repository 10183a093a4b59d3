"""Files of an installation besides its database.

The broker's definitions and the configuration go into the backup. Keys and passwords go into a
separate key set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ops.data.backup.manifest import KeyFile, KeySet
from ops.data.backup.store import digest, write
from ops.environment import read_env
from services.alerts.evidence.signing_key import DEFAULT_NAME
from services.contracts.errors import Refused
from services.notifications.channels.provider import text_of
from services.notifications.channels.sms_providers import secrets_of
from services.platform import config as configuration
from services.platform.config import Config

BROKER_FILES = ("dynamic-security.json", "acl", "mosquitto.conf", "tls/ca.pem", "tls/server.pem")
"""The broker holds passwords of sources only as salted hashes."""
KEY_NAMES = ("*-key.pem", "*.key")
HOME_KEYS = ("secrets.env", "feed.keys", DEFAULT_NAME)
ENVIRONMENT = "environment.env"
OF_DATA = ("CHANNELS_ENCRYPTION_KEY", "JWT_SECRET")
"""Secrets that belong to the data. The other secrets belong to the servers of a machine."""
FURTHER_VARIABLES = ("VIGIL_CA_DIRECTORY", "VIGIL_EVIDENCE_KEY_FILE", "VIGIL_CONFIG")
MIN_SECRET_LENGTH = 8


class InstalledFile(NamedTuple):
    """A file to keep: its path, its name in the set, and its place in the home if it has one."""

    path: Path
    name: str
    home_name: str = ""


def definitions(home: Path, broker: Path | None) -> Iterator[tuple[Path, str]]:
    """Yield (file, name in the backup) of the files that are not secret."""
    directory = broker or home / "mosquitto"
    for name in BROKER_FILES:
        if (directory / name).is_file():
            yield directory / name, f"broker/{name}"
    yield config_file(), "config.yaml"


def config_file() -> Path:
    beside = Path(configuration.__file__).resolve().parents[2] / "config.yaml"
    return Path(os.environ.get("VIGIL_CONFIG") or beside)


def copy_definitions(home: Path, broker: Path | None, to: Path, *, secrets: set[str]) -> list[str]:
    """Copy the definitions and return notes for the operator.

    Raises:
        Refused: a file holds a secret, and a backup must not hold one.
    """
    notes = []
    names = set()
    for path, name in definitions(home, broker):
        data = path.read_bytes()
        if any(secret.encode() in data for secret in secrets):
            raise Refused(
                f"{path} holds a password or key; a backup holds none. Put it into the environment, and its variable "
                "(${NAME}) into the file"
            )
        write(to / name, data)
        names.add(name)

    if "broker/dynamic-security.json" not in names:
        notes.append(
            "no broker's definitions: dynamic-security.json was not found; --broker-dir names its directory"
        )

    return notes


def copy_keys(config: Config, home: Path, broker: Path | None, to: Path, *, name: str) -> KeySet:
    """Copy every secret file, readable by its owner only, and return the list of their places."""
    files = []
    for place in key_files(config, home, broker):
        write(to / place.name, place.path.read_bytes())
        kept = KeyFile(place.name, digest(to / place.name), str(place.path.resolve()), place.home_name)
        files.append(kept)
    write(to / ENVIRONMENT, "".join(f"{key}={value}\n" for key, value in environment()).encode())
    files.append(KeyFile(ENVIRONMENT, digest(to / ENVIRONMENT), "the environment"))
    return KeySet(name=name, files=files)


def key_files(config: Config, home: Path, broker: Path | None) -> list[InstalledFile]:
    """Return the files that hold secrets, each once."""
    directory = broker or home / "mosquitto"
    found = [InstalledFile(home / name, f"home/{name}", name) for name in HOME_KEYS]

    for pattern in KEY_NAMES:
        for path in sorted((directory / "tls").glob(pattern)):
            inside = "" if broker else f"mosquitto/tls/{path.name}"
            found.append(InstalledFile(path, f"broker/tls/{path.name}", inside))

    found += [
        InstalledFile(path, f"elsewhere/{n}-{path.name}") for n, path in enumerate(_named_files(config))
    ]
    return _each_once(found)


def _each_once(places: list[InstalledFile]) -> list[InstalledFile]:
    known: dict[Path, InstalledFile] = {}
    for place in places:
        if place.path.is_file():
            known.setdefault(place.path.resolve(), place)
    return list(known.values())


def _named_files(config: Config) -> Iterator[Path]:
    """Yield the files that settings point to.

    These include the files of all variables that end in _FILE, except the public authority.
    """
    authority = os.environ.get("VIGIL_CA_DIRECTORY", "")
    if authority:
        yield Path(authority, "ca-key.pem")
    yield from map(
        Path, filter(None, [config.feed.encryption_keys_file, config.notifications.fcm_credentials_file])
    )
    for name, value in environment():
        if name.endswith("_FILE") and name != "MQTT_CA_FILE":
            yield Path(value)


def environment() -> list[tuple[str, str]]:
    """Return the variables that config.yaml and commands read, with their present values."""
    named = {match["name"] for match in configuration.VARIABLE.finditer(config_file().read_text())}
    wanted = sorted(named | {f"{name}_FILE" for name in named} | set(FURTHER_VARIABLES))
    return [(name, os.environ[name]) for name in wanted if os.environ.get(name)]


def secret_values(config: Config, home: Path) -> set[str]:
    """Return every password and key in the settings of this installation.

    No backup may hold them.
    """
    urls = [config.database.url, config.database.owner_url, config.amqp.uri, config.redis.url]
    urls += config.notifications.smtp_url.split(",")
    values = {unquote(urlsplit(url.strip()).password or "") for url in urls}
    values |= {config.mqtt.password, config.mqtt.admin_password, config.noc.jwt_secret}
    values |= {text_of(config.notifications.providers, secret) for secret in secrets_of()}
    values.add(config.notifications.webhook_secret)
    values |= set(re.split(r"[,\s]+", config.feed.encryption_keys))
    values |= set(read_env(home / "secrets.env").values())
    return {value for value in values if len(value) >= MIN_SECRET_LENGTH}
