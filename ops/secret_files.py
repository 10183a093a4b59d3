"""The secrets of an installation as files, one each: what compose and systemd hand to processes.

A file's name is the variable's in small letters; of what a process has for itself, `<process>.<variable>`. What is
there is kept; what is missing is made at random, or left empty where only a provider can know it. What the servers
must know of users is made of that anew each time.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ops import amqp_users, redis_users
from ops.environment import write_private
from ops.privileges import OWN_URLS, PRIVILEGES
from services.addresses import amqp_nodes, with_login
from services.config import Config

OPTIONAL = ("smtp_url", "twilio_auth_token", "alert_url_recipients")
"""Known to a provider only: empty means that the channel is not used."""
NO_FILES = frozenset({"VIGIL_EVIDENCE_KEY_FILE", "FCM_CREDENTIALS_FILE", "FCM_SERVER_KEY"})
"""Secrets that the installation's settings point to."""
LOAD = "load_definitions = /run/secrets/rabbitmq_definitions"
"""Where RabbitMQ's container has the users of processes."""
SHARED = {"DATABASE_URL": "vigil_owner_database_url", "AMQP_URI": "amqp_uri", "REDIS_URL": "redis_url"}
"""The file whose URL is that of a process but for the login."""
DATABASE = "vigil"
VHOST = "vigil"


class Addresses(NamedTuple):
    """host:port of the servers, as Vigil reaches them."""

    postgres: str
    amqp: str
    redis: str


def write(
    directory: Path,
    addresses: Addresses,
    *,
    settings: Config,
    owners: Mapping[str, tuple[int, int]] | None = None,
    one_login: Collection[str] = (),
) -> list[str]:
    """Make what is missing; returns the names of what was made. `owners`: name to (user id, group id).

    `one_login`: variables of servers elsewhere that know no users of processes; all have the same URL there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    made = []
    makers = _makers(directory, addresses) | _of_processes(directory, one_login)
    derived = _of_servers(directory, settings)
    for name, make in (makers | derived).items():
        file = directory / name
        if not file.exists():
            write_private(file, make() + "\n")
            made.append(name)
        elif name in derived and file.read_text() != make() + "\n":
            write_private(file, make() + "\n")
        if name == "rabbitmq_conf" and LOAD not in file.read_text():  # of an installation of old
            write_private(file, f"{LOAD}\n{file.read_text()}")
        # Whoever put one there by hand may have left it open to all.
        file.chmod(0o600 if owners is None else 0o440)
        if owners is not None:
            os.chown(file, *owners.get(name, owners[""]))
    return made


def name_of(variable: str, process: str) -> str:
    """The file of what a process has for itself; of what several are given, the one file of all."""
    return f"{process}.{variable.lower()}" if variable in OWN_URLS else variable.lower()


def files_of(process: str) -> dict[str, str]:
    """The secret files that a process is given, by variable; settings that name a file of their own are none."""
    wanted = sorted(PRIVILEGES[process].secrets - NO_FILES)
    return {variable: name_of(variable, process) for variable in wanted}


def _of_processes(directory: Path, one_login: Collection[str]) -> dict[str, Callable[[], str]]:
    def make(variable: str, process: str) -> str:
        shared = (directory / SHARED[variable]).read_text().strip()
        if variable in one_login:
            return (directory / variable.lower()).read_text().strip()
        login = f"{_login_of(shared)[0]}_{process}" if variable == "DATABASE_URL" else process
        return with_login(shared, login, secrets.token_hex(24))

    return {
        name_of(variable, process): partial(make, variable, process)
        for process, may in PRIVILEGES.items()
        for variable in OWN_URLS
        if variable in may.secrets
    }


def _of_servers(directory: Path, settings: Config) -> dict[str, Callable[[], str]]:
    """The users of RabbitMQ and Redis, as these read them."""

    def logins(variable: str) -> tuple[tuple[str, str], dict[str, str]]:
        operator = _login_of((directory / variable.lower()).read_text())
        of_processes = {
            process: _login_of((directory / name_of(variable, process)).read_text())
            for process, may in PRIVILEGES.items()
            if variable in may.secrets
        }
        return operator, {name: word for process, (name, word) in of_processes.items() if name == process}

    def amqp() -> str:
        (operator, password), processes = logins("AMQP_URI")
        made = amqp_users.definitions(
            processes,
            operator=operator,
            operator_password=password,
            vhost=unquote(urlsplit(amqp_nodes((directory / "amqp_uri").read_text().strip())[0]).path[1:]),
            retry_delays_s=settings.amqp.retry_delays_s,
        )
        return json.dumps(made, indent=1)

    def redis() -> str:
        (operator, password), processes = logins("REDIS_URL")
        return redis_users.acl_file(
            processes,
            operator=operator or "default",
            operator_password=password,
            servers_password=(directory / "redis_auth").read_text().split()[-1],
            prefix=settings.redis.key_prefix,
        ).rstrip("\n")

    return {"rabbitmq_definitions": amqp, "redis_users": redis}


def _login_of(url: str) -> tuple[str, str]:
    """Login and password of a URL; of several, those of the first."""
    split = urlsplit(url.strip().split(";")[0])
    return unquote(split.username or ""), unquote(split.password or "")


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
            f"default_user = vigil\ndefault_vhost = {VHOST}\n{LOAD}\ndefault_pass = {secrets.token_hex(24)}"
        ),
        "amqp_uri": lambda: f"amqp://vigil:{password('rabbitmq_conf')}@{addresses.amqp}/{VHOST}",
        "redis_auth": lambda: f"requirepass {secrets.token_hex(24)}",
        "redis_url": lambda: f"redis://{redis_users.OPERATOR}:{secrets.token_hex(24)}@{addresses.redis}/0",
        "grafana_admin_password": lambda: secrets.token_urlsafe(24),
        **dict.fromkeys(OPTIONAL, lambda: ""),
    }
