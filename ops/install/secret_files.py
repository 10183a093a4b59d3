"""The secrets of an installation as files, which compose and systemd pass to processes.

Each secret has one file. A file's name is the variable's in small letters. The name of a secret of
one process is `<process>.<variable>`. Files that are there are kept. Missing ones are made at
random, or left empty where only a provider knows the secret. The definitions of users for the
servers are made from these files each time.
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

from ops.environment import write_private
from ops.servers import rabbitmq_users, redis_users
from ops.servers.privileges import OWN_URLS, PRIVILEGES
from services.notifications.channels.sms_providers import secrets_of
from services.platform.config import Config
from services.platform.server_lists import amqp_nodes, with_login

OPTIONAL = ("smtp_url", *(secret.name for secret in secrets_of()), "alert_url_recipients")
"""Secrets that only a provider knows. An empty file means that the channel is not used."""
NO_FILES = frozenset({"VIGIL_EVIDENCE_KEY_FILE", "FCM_CREDENTIALS_FILE", "FCM_SERVER_KEY"})
"""Secrets that the installation's settings point to."""
LOAD = "load_definitions = /run/secrets/rabbitmq_definitions"
"""Line that makes RabbitMQ's container load the users of processes."""
SHARED = {"DATABASE_URL": "vigil_owner_database_url", "AMQP_URI": "amqp_uri", "REDIS_URL": "redis_url"}
"""Files whose URL is that of a process, except for the login."""
DATABASE = "vigil"
VHOST = "vigil"


class ServerAddresses(NamedTuple):
    """Addresses (host:port) that Vigil uses for the servers."""

    postgres: str
    amqp: str
    redis: str


def write(
    directory: Path,
    addresses: ServerAddresses,
    *,
    settings: Config,
    owners: Mapping[str, tuple[int, int]] | None = None,
    one_login: Collection[str] = (),
) -> list[str]:
    """Make the missing files and return their names.

    Args:
        directory: the directory of the files.
        addresses: the servers.
        settings: the configuration, for the users at the servers.
        owners: file name to (user id, group id); "" is the default.
        one_login: variables of external servers without users of processes; all processes have the
            same URL there.
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

        if name == "rabbitmq_conf" and LOAD not in file.read_text():  # an older installation
            write_private(file, f"{LOAD}\n{file.read_text()}")

        # A file that was put there by hand may be readable by everybody.
        file.chmod(0o600 if owners is None else 0o440)
        if owners is not None:
            os.chown(file, *owners.get(name, owners[""]))

    return made


def name_of(variable: str, process: str) -> str:
    """Return the file of a variable: one for the process, or one that several share."""
    return f"{process}.{variable.lower()}" if variable in OWN_URLS else variable.lower()


def files_of(process: str) -> dict[str, str]:
    """Return the secret files that a process is given, by variable.

    Settings that name a file of their own are left out.
    """
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
    """Return makers of the definitions of users for RabbitMQ and Redis."""

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
        made = rabbitmq_users.definitions(
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
    """Return login and password of a URL; of several URLs, those of the first."""
    split = urlsplit(url.strip().split(";")[0])
    return unquote(split.username or ""), unquote(split.password or "")


def _makers(directory: Path, addresses: ServerAddresses) -> dict[str, Callable[[], str]]:
    """Return the makers of files, in the order of their dependencies.

    A URL repeats a password that is in another file.
    """

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
