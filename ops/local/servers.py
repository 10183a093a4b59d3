"""Private instances of the real servers: their setup, start and probe. Loopback only."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ops.environment import PROJECT, write_private
from ops.local.supervisor import Process
from services.contracts.errors import Misconfigured

PACKAGES = "haproxy mosquitto rabbitmq-server redis-server postgresql-15 postgresql-15-postgis-3"
REMEDY = "end that program, or run `vigil down` and `vigil up`, which chooses another port"
DATABASE = "vigil"
VHOST = "vigil"
OWNER, SERVICE, SUPERUSER = "vigil", "vigil_service", "postgres"
PG_HBA = """\
# Written by Vigil: on loopback, everybody with a password.
host all         all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""

REDIS = """\
bind 127.0.0.1
port {port}
dir {data}
{more}
appendonly yes
appendfsync everysec
save ""
maxmemory 512mb
maxmemory-policy volatile-lru
daemonize no
"""
RABBITMQ_DEFAULT_USER = """\
default_user = vigil
default_pass = {password}
default_vhost = {vhost}
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
"""
RABBITMQ = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 200MB
vm_memory_high_watermark.relative = 0.4
"""
POSTGRES = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_connections": "120",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %a ",
}


SMALL_POSTGRES = {
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "wal_buffers": "2MB",
    "bgwriter_delay": "1000ms",
    "wal_writer_delay": "1000ms",
    "autovacuum_naptime": "2min",
    "max_logical_replication_workers": "0",
}
"""For a small machine, in place of the settings above.

A commit is synced before it is answered, whatever the delays.
"""
SMALL_RABBITMQ = """\
raft.wal_max_size_bytes = 33554432
"""


def binary(name: str) -> str:
    """Return the server's program. Raises `Misconfigured`, which says what to install."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise _missing(name)
    return path


def postgres_bin() -> Path:
    """Return the directory of the newest PostgreSQL that has PostGIS."""
    for library in sorted(Path("/usr/lib/postgresql").glob("*/lib/postgis-3.so"), reverse=True):
        directory = library.parent.parent / "bin"
        if (directory / "initdb").exists():
            return directory
    raise _missing("PostgreSQL with PostGIS")


def rabbitmq_sbin() -> Path:
    """Return the directory of RabbitMQ's own scripts; the wrappers in PATH need a system user."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    if not found:
        raise _missing("rabbitmq-server")
    return found[-1]


def answers(port: int) -> bool:
    """Return whether a server accepts connections on the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def mosquitto(home: Path, ports: Mapping[str, int], environment: Mapping[str, str], config: Path) -> Process:
    """Return the MQTT broker. `ops.servers.mosquitto.write_configuration` makes `config`."""
    return Process(
        "mosquitto",
        [binary("mosquitto"), "-c", str(config)],
        log=home / "log" / "mosquitto.log",
        environment=environment,
        probe=lambda: answers(ports["mqtt"]),
        ports={ports[name]: REMEDY for name in ("mqtt", "mqtts", "mqtts_certificate") if name in ports},
    )


def haproxy(
    log: Path,
    environment: Mapping[str, str],
    *,
    port: int,
    feeds: Sequence[int],
    apis: Sequence[int],
    name: str = "haproxy",
    remedy: str = REMEDY,
) -> Process:
    """Return HAProxy on the public port, with the configuration of production.

    `feeds` and `apis` are the ports of one or two processes each. HAProxy shares the requests among
    them.
    """
    addresses = {
        "VIGIL_HTTP_HOST": "127.0.0.1",
        "VIGIL_HTTP_PORT": str(port),
        **{
            _numbered(variable, number): f"127.0.0.1:{server}"
            for variable, servers in (("VIGIL_FEED_SERVER", feeds), ("VIGIL_API_SERVER", apis))
            for number, server in enumerate(servers, 1)
        },
    }
    return Process(
        name,
        [binary("haproxy"), "-db", "-f", str(PROJECT / "ops" / "servers" / "edge" / "haproxy.cfg")],
        log=log,
        environment={**environment, **addresses},
        probe=lambda: _haproxy_answers(port),
        ports={port: remedy},
    )


def redis(
    home: Path,
    ports: Mapping[str, int],
    environment: Mapping[str, str],
    *,
    name: str = "redis",
    more: str = "",
    users: str = "",
) -> Process:
    """Return a Redis server.

    `more` are further lines of its configuration, such as the master of a replica. `users` is the
    content of its ACL file.
    """
    data = _directory(home / name)
    config, acl = data / "redis.conf", data / "users.acl"

    if users:
        write_private(acl, users)
        more += f"aclfile {acl}\n"
    if users or not config.exists() or not more:  # sentinels write the present master into it
        write_private(config, REDIS.format(port=ports[name], data=data, more=more))

    return Process(
        name,
        [binary("redis-server"), str(config)],
        log=home / "log" / f"{name}.log",
        environment=environment,
        probe=lambda: answers(ports[name]),
        ports={ports[name]: REMEDY},
    )


def epmd(home: Path, ports: Mapping[str, int], environment: Mapping[str, str]) -> Process:
    """Return Erlang's name server, for this stack only.

    RabbitMQ would start one that outlives it.
    """
    return Process(
        "epmd",
        [binary("epmd"), "-address", "127.0.0.1", "-port", str(ports["epmd"])],
        log=home / "log" / "epmd.log",
        environment=environment,
        probe=lambda: answers(ports["epmd"]),
        ports={ports["epmd"]: REMEDY},
    )


def rabbitmq_node(ports: Mapping[str, int], number: int = 1) -> str:
    """Return the Erlang name of a node."""
    return f"vigil{ports[_numbered('amqp_dist', number)]}@localhost"


def rabbitmq_settings(
    home: Path, ports: Mapping[str, int], environment: Mapping[str, str], *, number: int = 1
) -> dict[str, str]:
    """Return the environment of a node, and of the tools that administer it."""
    data = home / _numbered("rabbitmq", number)
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    return {
        **environment,
        # The directory of the cookie, which nodes of one cluster share.
        "HOME": str(home / "rabbitmq"),
        "RABBITMQ_NODENAME": rabbitmq_node(ports, number),
        "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(data / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
        "RABBITMQ_DIST_PORT": str(ports[_numbered("amqp_dist", number)]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{loopback} +sbwt none +sbwtdcpu none +sbwtdio none",
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def rabbitmq(
    home: Path,
    ports: Mapping[str, int],
    environment: Mapping[str, str],
    *,
    password: str = "",
    definitions: Mapping[str, Any] | None = None,
    number: int = 1,
    more: str = "",
) -> Process:
    """Return a RabbitMQ node.

    Its users are those of `definitions`, else one with `password` who may do everything. `number`
    and `more` (further lines of its configuration) are for further nodes of a cluster.
    """
    name, port = _numbered("rabbitmq", number), ports[_numbered("amqp", number)]
    data = _directory(home / name)

    if definitions is None:
        more += RABBITMQ_DEFAULT_USER.format(password=password, vhost=VHOST)
    else:
        write_private(data / "definitions.json", json.dumps(definitions))
        more += f"load_definitions = {data / 'definitions.json'}\n"

    write_private(data / "rabbitmq.conf", RABBITMQ.format(port=port) + more)
    (data / "enabled_plugins").write_text("[].\n")
    return Process(
        name,
        [str(rabbitmq_sbin() / "rabbitmq-server")],
        log=home / "log" / f"{name}.log",
        environment=rabbitmq_settings(home, ports, environment, number=number),
        probe=lambda: answers(port),
        grace_s=30,
        ports={port: REMEDY, ports[_numbered("amqp_dist", number)]: REMEDY},
    )


def postgres(
    home: Path,
    ports: Mapping[str, int],
    environment: Mapping[str, str],
    *,
    password: str,
    name: str = "postgres",
    more: Mapping[str, str] = MappingProxyType({}),
    make: Callable[[Path, str | None], None] | None = None,
) -> Process:
    """Return a PostgreSQL server.

    PostgreSQL refuses to run as root. Then it runs as the user that Debian's package made.

    Args:
        home: the state directory.
        ports: the port of each server, by name.
        environment: the environment of the server.
        password: the superuser's password.
        name: the name of the server.
        more: further settings.
        make: fills the directory of a new server, for (data, user); used for a replica.
    """
    user = "postgres" if os.geteuid() == 0 else None
    data = _directory(home / name)

    if user:
        _check_reachable(data, user)
        shutil.chown(data, user, user)

    data.chmod(0o700)
    if not (data / "PG_VERSION").exists():
        (make or _initdb)(data, user)

    # A supervisor that was killed leaves this file. The free ports show that the server is gone.
    (data / "postmaster.pid").unlink(missing_ok=True)
    if make is None:
        _ask_for_passwords(data, user, password)

    settings = POSTGRES | dict(more) | {"port": str(ports[name])}
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return Process(
        name,
        [str(postgres_bin() / "postgres"), "-D", str(data), *options],
        log=home / "log" / f"{name}.log",
        environment=environment,
        probe=lambda: _postgres_answers(ports[name]),
        ports={ports[name]: REMEDY},
        stop_signal=2,  # SIGINT: fast shutdown, without waiting for clients to leave
        user=user,
    )


def _initdb(data: Path, user: str | None) -> None:
    command = [
        str(postgres_bin() / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "-A",
        "reject",
        "-E",
        "UTF8",
    ]
    run([*command, "--locale=C.UTF-8", "--no-sync"], user=user)


def _ask_for_passwords(data: Path, user: str | None, password: str) -> None:
    """Require a password of everybody, also in a directory that was made without passwords."""
    rules = data / "pg_hba.conf"
    if rules.read_text() == PG_HBA:
        return

    # Without a server: the single-user mode needs no password.
    alone = [
        str(postgres_bin() / "postgres"),
        "--single",
        "-D",
        str(data),
        "-c",
        "log_statement=none",
        "postgres",
    ]

    run(alone, user=user, say=f"ALTER ROLE postgres PASSWORD '{password}'\n")
    rules.write_text(PG_HBA)
    rules.chmod(0o600)


def database_url(port: int, login: str, password: str, name: str = DATABASE) -> str:
    """Return the address of a database of the private server."""
    return f"postgresql+psycopg2://{login}:{password}@127.0.0.1:{port}/{name}"


def prepare_database(
    port: int,
    *,
    superuser_password: str,
    owner_password: str,
    service_password: str,
    process_passwords: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Make the owner, the logins, the roles, database and PostGIS, where they are missing.

    PostGIS is in the template too. Therefore each database that the owner makes has it, such as
    scratch databases and those of tests.
    """
    superuser = partial(database_url, port, SUPERUSER, superuser_password)
    wanted = {
        "template_url": superuser("template1"),
        "admin_url": superuser("postgres"),
        "owner_url": database_url(port, OWNER, owner_password),
        "service_url": database_url(port, SERVICE, service_password),
        "process_urls": {
            process: database_url(port, f"{OWNER}_{process}", password)
            for process, password in process_passwords.items()
        },
    }

    # In a separate process, because this one lives as long as the stack, and needs the database
    # library only here.
    run([sys.executable, "-m", "ops.servers.database"], say=json.dumps(wanted), cwd=PROJECT)


def _haproxy_answers(port: int) -> bool:
    """Return whether HAProxy itself answers, and not another program that has the port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/edge/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _postgres_answers(port: int) -> bool:
    ready = [str(postgres_bin() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(ready, check=False, timeout=10).returncode == 0


def _numbered(name: str, number: int) -> str:
    """Return a name with its number; the first of several has the plain name."""
    return name if number == 1 else f"{name}_{number}"


def _directory(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def run(
    command: list[str],
    *,
    user: str | None = None,
    say: str | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
) -> str:
    """Run a server's own tool and return its output.

    `say` is the tool's standard input.

    Raises:
        Misconfigured: the tool failed.
    """
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        user=user,
        group=user,
        cwd=cwd,
        timeout=120,
        input=say,
        env=environment,
    )
    if done.returncode != 0:
        raise Misconfigured(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()}")

    return done.stdout


def _check_reachable(path: Path, user: str) -> None:
    """Check that the user can enter all parents of the directory. Raises `Misconfigured`."""
    uid = pwd.getpwnam(user).pw_uid
    for parent in path.resolve().parents:
        status = parent.stat()
        if status.st_uid != uid and not status.st_mode & 0o001:
            raise Misconfigured(
                f"user {user}, who runs PostgreSQL, cannot enter {parent}; "
                f"run `chmod o+x {parent}`, or set VIGIL_HOME to a directory that everybody can reach"
            )


def _missing(name: str) -> Misconfigured:
    return Misconfigured(
        f"{name} is not installed; as root: apt-get install {PACKAGES}, or use docker compose, "
        "or point DATABASE_URL, AMQP_URI, REDIS_URL and MQTT_BROKER_ADDRESS to servers that run already"
    )
