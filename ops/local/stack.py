"""The local stack: private servers that are not given, Vigil's processes, and their order.

servers -> database -> migrations -> queues -> (development) seed -> processes, then HAProxy
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import MappingProxyType

from gateway.mqtt import access_control
from ops import environment
from ops.environment import PROJECT
from ops.hosting.production import problems
from ops.local import ports, servers
from ops.local.supervisor import Process, Supervisor
from ops.processes import GROUPS, layout
from ops.servers import mosquitto, rabbitmq_users, redis_users
from ops.servers.privileges import PRIVILEGES, SECRETS, of_process
from services.contracts.errors import VigilError
from services.feed.keyring import read_key_files
from services.platform import config
from services.platform.config import Config
from services.platform.server_lists import hosts_of

GIVEN = {"postgres": "DATABASE_URL", "amqp": "AMQP_URI", "redis": "REDIS_URL", "mqtt": "MQTT_BROKER_ADDRESS"}
"""Variables by server.

When the operator sets the variable, that server is used, and none is started.
"""
SERVERS = {"DB": "DATABASE_URL", "AMQP": "AMQP_URI", "REDIS": "REDIS_URL"}
"""Servers at which each process has its own login, and the variable with that login."""
SECRETS_AS_FILES = frozenset(f"{name}_FILE" for name in SECRETS if not name.endswith("_FILE"))
WARNINGS = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
HAPROXY = "haproxy"
HTTP_PORTS = {HAPROXY: "http", "noc_gateway": "feed", "noc_api": "api"}
"""Processes that listen for HTTP, and the names of their ports."""
PORT_VARIABLES = {"http": "VIGIL_HTTP_PORT", "feed": "VIGIL_FEED_PORT", "api": "VIGIL_API_PORT"}
SERVERS_TIMEOUT_S = 90.0
TEST_MESSAGES_S = 20.0
"""Time for which test messages are repeated.

A process that has just started may be late for its first one.
"""
LOST = (
    "Vigil is not up: a test message did not arrive, so alarms may not arrive either. The processes that run stay up;"
    " `vigil health` shows what is wrong, `vigil logs NAME` why, and `vigil down` stops it."
)
FEED_KEYS = "feed.keys"
EVIDENCE_KEY = "evidence-key.pem"
GATEWAY_USER, ADMIN_USER, WATCHDOG_USER = "vigil-gateway", "vigil-admin", "vigil-watchdog"
Say = Callable[[str], None]


class StackFailed(VigilError):  # noqa: N818
    """The stack did not come up.

    The message says which part failed and shows the end of its log.
    """


class Stack:
    """One stack in one home.

    Args:
        home: the state directory.
        say: called at each step with the time that it took.
        prefer_usual_ports: take the usual ports when they are free.
        given: the operator's environment.
        instances: number of processes of those that run more than once; the second of `telemetry`
            is `telemetry@2`.
        small: parts that need no process of their own share one (`ops.processes.GROUPS`), and the
            servers take less memory.
    """

    def __init__(
        self,
        home: Path,
        *,
        say: Say,
        prefer_usual_ports: bool = True,
        given: Mapping[str, str] | None = None,
        instances: Mapping[str, int] = MappingProxyType({}),
        small: bool = False,
    ) -> None:
        self.small = small
        self.home = home.resolve()
        self._say = say
        self._prefer = prefer_usual_ports
        self._given = dict(os.environ if given is None else given)
        self.services = [
            _numbered(name, n) for name in layout(small=small) for n in range(1, instances.get(name, 1) + 1)
        ]
        self._ports: dict[str, int] = {}
        self._reserved = ports.PortReservations()
        self._secrets: dict[str, str] = {}
        self.home.mkdir(parents=True, exist_ok=True)
        self.supervisor = Supervisor(self.home / "state.json")

    def start_servers(self) -> None:
        """Start the servers that were not given and prepare the database. Raises `StackFailed`."""
        self.prepare()
        self._check_production()

        with self._step("servers"):
            started = self._server_processes()
            self.supervisor.add(*started)
            self._await([process.name for process in started], timeout_s=SERVERS_TIMEOUT_S)

            if self._own("postgres"):
                servers.prepare_database(
                    self._ports["postgres"],
                    superuser_password=self._secrets["VIGIL_DB_SUPERUSER_PASSWORD"],
                    owner_password=self._secrets["VIGIL_DB_PASSWORD"],
                    service_password=self._secrets["VIGIL_DB_SERVICE_PASSWORD"],
                    process_passwords=self._passwords("DB"),
                )

        self._write_environments()

    def prepare(self) -> None:
        """Choose the ports and make the secrets, which the home keeps."""
        # PostgreSQL's own user must be able to enter its directory.
        self.home.chmod(0o711 if os.geteuid() == 0 else 0o700)
        self._secrets = environment.keep_secrets(
            self.home,
            passwords=[environment.password_of(*pair) for pair in product(SERVERS, PRIVILEGES)],
        )
        if self._own_keys() and not (self.home / FEED_KEYS).exists():
            environment.write_private(self.home / FEED_KEYS, self._secrets["CHANNELS_ENCRYPTION_KEY"] + "\n")

        further = [port for port in self._ports_of_processes().values() if "@" in port]
        self._ports = ports.remembered(
            self.home / "ports.json", prefer=self._prefer, more=further, take=self._reserved.take
        )

    def start_services(self, *, timeout_s: float = 60.0) -> None:
        """Migrate, declare, seed, and start Vigil's processes. Raises `StackFailed`."""
        metrics = Path(self.settings()["PROMETHEUS_MULTIPROC_DIR"])
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        for title, arguments in self._preparations():
            self.run(title, *arguments)
        with self._step("services"):
            self._start_on_free_ports(timeout_s)

    def lost_messages(self) -> str:
        """Send test messages by each lane until both arrive.

        A part that is ready may still be of no use. Only a message tests queues, tables and rights.

        Returns:
            What is wrong and what to do; empty when nothing is wrong.
        """
        deadline_s = time.monotonic() + TEST_MESSAGES_S
        while True:
            try:
                self.run("messages", "watchdog", "test")
            except StackFailed as failed:
                if self.supervisor.interrupted:
                    raise InterruptedError from failed
                if time.monotonic() > deadline_s:
                    return f"{failed}\n{self._schema_problem()}{LOST}"
            else:
                return ""

    def _schema_problem(self) -> str:
        """Return the problem that `vigil migrate check` finds, or "".

        It is the usual reason after a change of version.
        """
        try:
            self._vigil("migrate", "check")
        except StackFailed as failed:
            return f"{failed}\n"
        return ""

    def _start_on_free_ports(self, timeout_s: float) -> None:
        """Start Vigil's processes, on other HTTP ports when another program takes one first.

        Then all of them start again, because the port is in the environment of each, and in links
        to the console.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._leave_taken_ports()
            self.supervisor.add(*(self._service(name) for name in self.services))
            names = self.services

            late = self._late(names, deadline_s)
            if not late:
                # HAProxy starts last. Earlier, it would see that the others do not answer, and
                # refuse requests for a second longer.
                self.supervisor.add(self._haproxy())
                names = [*self.services, HAPROXY]
                late = self._late(names, deadline_s)

            if not late:
                return
            if time.monotonic() >= deadline_s or not self._lost_a_port():
                raise self._not_ready(_worst_of(late), timeout_s)

            self.supervisor.remove(*names)

    def _late(self, names: list[str], deadline_s: float) -> list[Process]:
        """Wait for these processes, and return those that are not ready.

        The wait ends at the deadline, or when one of them has lost its port.
        """
        left_s = deadline_s - time.monotonic()
        return self.supervisor.wait_ready(names, timeout_s=left_s, give_up=self._is_blocked)

    def _leave_taken_ports(self) -> None:
        """Choose other ports for the HTTP ports that are taken now, and write them to all files."""
        taken = [name for name in self._http_ports().values() if not ports.is_free(self._ports[name])]
        if not taken:
            return

        kept = {name: port for name, port in self._ports.items() if name not in taken}
        busy = set(self._ports.values())

        chosen = ports.choose(
            {}, taken, prefer=False, take=lambda port: port not in busy and self._reserved.take(port)
        )
        for name, port in chosen.items():
            self._say(f"port {self._ports[name]} is taken by another program; {name} is on {port}")

        self._ports = kept | chosen
        environment.write_private(self.home / "ports.json", json.dumps(self._ports))
        self._write_environments()
        self.supervisor.add_facts(addresses=self.addresses())

    def _is_blocked(self) -> bool:
        """Return whether a process cannot start because another program has its port."""
        return any(process.state == "blocked" for process in self.supervisor.processes) or self._lost_a_port()

    def _lost_a_port(self) -> bool:
        """Return whether another program has a port that this stack can choose again."""
        names = self._http_ports()
        blocked = {process.name for process in self.supervisor.processes if process.state == "blocked"}
        ended = {process.name for process in self.supervisor.processes if process.state == "backoff"}
        return any(
            name in blocked or (name in ended and not ports.is_free(self._ports[port]))
            for name, port in names.items()
        )

    def _http_ports(self) -> dict[str, str]:
        """Return the names of the HTTP ports that this stack chooses, by process.

        Ports that the operator sets are left out, because they stay.
        """
        return {
            process: port
            for process, port in self._ports_of_processes().items()
            if "@" in port or not self._given.get(PORT_VARIABLES[port])
        }

    def _ports_of_processes(self) -> dict[str, str]:
        """Return the name of the port of each process that listens for HTTP.

        For instance, `noc_gateway@2` has `feed@2`.
        """
        parts = [(name, *name.partition("@")) for name in [HAPROXY, *self.services]]
        return {
            name: f"{HTTP_PORTS[process]}{at}{instance}"
            for name, process, at, instance in parts
            if process in HTTP_PORTS
        }

    def _check_production(self) -> None:
        """Check the settings for production once, instead of in the log of each process."""
        settings = self._config()
        if settings.environment == "production" and (
            found := problems(settings, files=read_key_files(settings))
        ):
            raise StackFailed("\n".join(["production does not start with this:", *found]))

    def stop(self) -> None:
        """Stop the services first, so that they finish their work while the servers still run."""
        self.supervisor.add_facts(up=False)
        names = [process.name for process in self.supervisor.processes]
        self.supervisor.stop(only=[name for name in names if name in (*self.services, HAPROXY, "simulator")])
        self.supervisor.stop(only=[name for name in names if name != "epmd"])
        self.supervisor.stop()
        for file in (self.home / "state.json", *environment.environment_files(self.home)):
            file.unlink(missing_ok=True)
        self._reserved.close()

    def _write_environments(self) -> None:
        """Write the environment files of this home.

        They hold the settings for all, the secrets for operators' commands, and those of each
        process.
        """
        settings, operators = self.settings(), self.operator_settings()
        shared = {name: value for name, value in settings.items() if name not in SECRETS}
        environment.write_env(self.home / "stack.env", shared)
        further = {name: value for name, value in settings.items() if name in SECRETS}
        environment.write_env(self.home / "operator.env", further | operators)
        for process in PRIVILEGES:
            own = self._secrets_of(process)
            environment.write_env(environment.secrets_file(self.home, process), own)

    def settings(self) -> dict[str, str]:
        """Return the settings that operators' commands need to find this stack.

        The operator's values win.
        """
        loopback, port = "127.0.0.1", self._ports
        made = {
            "VIGIL_HOME": str(self.home),
            "VIGIL_ENV": "development",
            "DATABASE_URL": self._database_url(servers.SERVICE, "VIGIL_DB_SERVICE_PASSWORD"),
            "AMQP_URI": self._amqp_uri(rabbitmq_users.OPERATOR, "VIGIL_AMQP_PASSWORD"),
            "REDIS_URL": self._redis_url(redis_users.OPERATOR, "VIGIL_REDIS_PASSWORD"),
            "MQTT_BROKER_ADDRESS": loopback,
            "MQTT_BROKER_PORT": str(port["mqtt"] if self._own("mqtt") else 1883),
            "MQTT_BROKER_USERNAME": GATEWAY_USER if self._own("mqtt") else "",
            "MQTT_BROKER_PASSWORD": self._secrets["MQTT_BROKER_PASSWORD"] if self._own("mqtt") else "",
            "MQTT_WATCHDOG_USERNAME": WATCHDOG_USER,
            "MQTT_WATCHDOG_PASSWORD": self._secrets["MQTT_WATCHDOG_PASSWORD"] if self._own("mqtt") else "",
            **{variable: str(port[name]) for name, variable in PORT_VARIABLES.items()},
            "CHANNELS_ENCRYPTION_KEY": self._feed_keys(),
            "CHANNELS_ENCRYPTION_KEY_FILE": str(self.home / FEED_KEYS) if self._own_keys() else "",
            "VIGIL_EVIDENCE_KEY_FILE": str(self.home / EVIDENCE_KEY),
            "JWT_SECRET": self._secrets["JWT_SECRET"],
            "PROMETHEUS_MULTIPROC_DIR": str(self.home / "metrics"),
            "VIGIL_RESTART_DIR": str(self.home / "restarts"),
        }

        # Only a development stack registers unknown sources. Registration is closed by default.
        if (self._given.get("VIGIL_ENV") or "development") == "development":
            made["VIGIL_REGISTRATION"] = "open"
            # Only there can the readers of messages reach the console at this address.
            made["VIGIL_PUBLIC_URL"] = f"http://{loopback}:{port['http']}"

        return {name: self._given.get(name) or value for name, value in made.items()}

    def operator_settings(self) -> dict[str, str]:
        """Return further settings for operators' commands.

        They are the login of the tables' owner, the password of the broker's administrator, and the
        authority.
        """
        made = {}
        if self._own("postgres"):
            made["VIGIL_OWNER_DATABASE_URL"] = self._database_url(servers.OWNER, "VIGIL_DB_PASSWORD")
        if self._own("mqtt"):
            made["MQTT_ADMIN_PASSWORD"] = self._secrets["MQTT_ADMIN_PASSWORD"]
            made["VIGIL_CA_DIRECTORY"] = str(self.home / "mosquitto" / "tls")
        return {name: self._given.get(name) or value for name, value in made.items()}

    def superuser_url(self, database: str = "postgres") -> str:
        """Return the address of the private PostgreSQL for its superuser."""
        password = self._secrets["VIGIL_DB_SUPERUSER_PASSWORD"]
        return servers.database_url(self._ports["postgres"], servers.SUPERUSER, password, database)

    def _database_url(self, user: str, password: str) -> str:
        return servers.database_url(self._ports["postgres"], user, self._secrets[password])

    def _amqp_uri(self, user: str, password: str) -> str:
        return f"amqp://{user}:{self._secrets[password]}@127.0.0.1:{self._ports['amqp']}/{servers.VHOST}"

    def _redis_url(self, user: str, password: str) -> str:
        return f"redis://{user}:{self._secrets[password]}@127.0.0.1:{self._ports['redis']}/0"

    def _config(self) -> Config:
        return config.load(environ=self.operator_environment())

    def _passwords(self, server: str) -> dict[str, str]:
        """Return the password of each process that uses a server."""
        variable = SERVERS[server]
        return {
            process: self._secrets[environment.password_of(server, process)]
            for process, privileges in PRIVILEGES.items()
            if variable in privileges.secrets
        }

    def _secrets_of(self, process: str) -> dict[str, str]:
        """Return all secrets that a process is given, and no others.

        They include the addresses of servers with the process's own login.
        """
        wanted = of_process(process).secrets
        everything = {**self._given, **self.settings()}
        # A key in a file may be named by the setting for the file.
        found = {
            name: value
            for name, value in everything.items()
            if name in wanted or (name in SECRETS_AS_FILES and name.removesuffix("_FILE") in wanted)
        }
        return found | self._own_urls(process)

    def _own_urls(self, process: str) -> dict[str, str]:
        """Return the addresses of this stack's own servers, with the login of one process."""
        made = {}
        wanted = of_process(process).secrets
        if "DATABASE_URL" in wanted and self._own("postgres"):
            made["DATABASE_URL"] = self._database_url(
                f"{servers.OWNER}_{process}", environment.password_of("DB", process)
            )
        if "AMQP_URI" in wanted and self._own("amqp"):
            made["AMQP_URI"] = self._amqp_uri(process, environment.password_of("AMQP", process))
        if "REDIS_URL" in wanted and self._own("redis"):
            made["REDIS_URL"] = self._redis_url(process, environment.password_of("REDIS", process))

        return made

    def addresses(self) -> dict[str, str]:
        """Return host:port of every part, for operators and programs."""
        settings = self.settings()
        found = {
            **{name: f"127.0.0.1:{port}" for name, port in self._ports.items() if "@" in name},
            "mqtt": f"{settings['MQTT_BROKER_ADDRESS']}:{settings['MQTT_BROKER_PORT']}",
            **{name: f"127.0.0.1:{settings[variable]}" for name, variable in PORT_VARIABLES.items()},
        }

        if self._own("mqtt"):
            found |= {name: f"127.0.0.1:{self._ports[name]}" for name in ("mqtts", "mqtts_certificate")}

        for name, variable in (("amqp", "AMQP_URI"), ("redis", "REDIS_URL"), ("postgres", "DATABASE_URL")):
            found[name] = hosts_of(settings[variable])

        return found

    def _own(self, name: str) -> bool:
        return not self._given.get(GIVEN[name])

    def _feed_keys(self) -> str:
        file = self.home / FEED_KEYS
        return (
            ",".join(file.read_text().split()) if file.exists() else self._secrets["CHANNELS_ENCRYPTION_KEY"]
        )

    def _own_keys(self) -> bool:
        """Return whether the feed's keys are a file of this home, and not given by the operator."""
        return not self._given.get("CHANNELS_ENCRYPTION_KEY")

    def process_environment(self, process: str) -> dict[str, str]:
        """Return the whole environment of a process of this stack, with no secrets but its own.

        The environment of a group has no secrets. Each of its parts reads its own file of secrets.
        """
        shared = {
            name: value
            for name, value in {**self._given, **self.settings()}.items()
            if name not in SECRETS | SECRETS_AS_FILES
        }
        own = {"VIGIL_HOME": str(self.home)} if process in GROUPS else self._secrets_of(process)
        return {**shared, **own, **WARNINGS}

    def operator_environment(self) -> dict[str, str]:
        """Return the whole environment of an operator's command."""
        return {**self._given, **self.settings(), **self.operator_settings(), **WARNINGS}

    def _server_processes(self) -> list[Process]:
        base = {name: value for name, value in self._given.items() if not name.startswith("RABBITMQ_")}
        started: list[Process] = []
        if self._own("postgres"):
            password = self._secrets["VIGIL_DB_SUPERUSER_PASSWORD"]
            less = servers.SMALL_POSTGRES if self.small else {}
            started.append(servers.postgres(self.home, self._ports, base, password=password, more=less))

        if self._own("amqp"):
            started.append(servers.epmd(self.home, self._ports, base))
            definitions = rabbitmq_users.definitions(
                self._passwords("AMQP"),
                operator_password=self._secrets["VIGIL_AMQP_PASSWORD"],
                vhost=servers.VHOST,
                retry_delays_s=self._config().amqp.retry_delays_s,
            )

            less_memory = servers.SMALL_RABBITMQ if self.small else ""
            started.append(
                servers.rabbitmq(self.home, self._ports, base, definitions=definitions, more=less_memory)
            )

        if self._own("redis"):
            users = redis_users.acl_file(
                self._passwords("REDIS"),
                operator_password=self._secrets["VIGIL_REDIS_PASSWORD"],
                prefix=self._config().redis.key_prefix,
            )
            started.append(servers.redis(self.home, self._ports, base, users=users))

        if self._own("mqtt"):
            started.append(servers.mosquitto(self.home, self._ports, base, self.mosquitto_configuration()))

        return started

    def mosquitto_configuration(self) -> Path:
        """Write the files that the broker reads, and return its configuration file."""
        settings = self.settings()
        return mosquitto.write_configuration(
            self.home / "mosquitto",
            ports=self._ports,
            people={
                GATEWAY_USER: (self._secrets["MQTT_BROKER_PASSWORD"], access_control.GATEWAY),
                WATCHDOG_USER: (self._secrets["MQTT_WATCHDOG_PASSWORD"], access_control.WATCHDOG),
                ADMIN_USER: (self._secrets["MQTT_ADMIN_PASSWORD"], access_control.ADMIN),
            },
            prefix=self._given.get("VIGIL_TOPIC_PREFIX", ""),
            anonymous=settings["VIGIL_ENV"] != "production",
        )

    def _service(self, name: str) -> Process:
        process, _, instance = name.partition("@")
        own = {"VIGIL_INSTANCE": instance or "1"} if self._given.get("VIGIL_MQTT_SHARED_GROUP") else {}

        if process in HTTP_PORTS and instance:
            port = HTTP_PORTS[process]
            own[PORT_VARIABLES[port]] = str(self._ports[f"{port}@{instance}"])

        environment_of_it = {**self.process_environment(process), **own}
        named = self._ports_of_processes().get(name)
        return Process(
            name,
            [sys.executable, "-m", "ops.run", process],
            log=self.home / "log" / f"{name}.log",
            environment=environment_of_it,
            ports={self._port(named): self._remedy(named)} if named else {},
            stall_timeout_s=self._config().supervision.stall_timeout_s,
        )

    def _port(self, name: str) -> int:
        """Return the number of an HTTP port by its name; a port that the operator sets wins."""
        return self._ports[name] if "@" in name else int(self.settings()[PORT_VARIABLES[name]])

    def _remedy(self, name: str) -> str:
        """Return the remedy when another program has an HTTP port."""
        if "@" in name or not self._given.get(PORT_VARIABLES[name]):
            return servers.REMEDY
        return f"end that program, or set {PORT_VARIABLES[name]} to another port"

    def _haproxy(self) -> Process:
        settings = self.settings()
        public, feeds, apis = (
            [
                int(self._ports[port] if "@" in port else settings[PORT_VARIABLES[port]])
                for port in self._ports_of_processes().values()
                if port.partition("@")[0] == kind
            ]
            for kind in PORT_VARIABLES
        )

        log = self.home / "log" / f"{HAPROXY}.log"
        remedy = self._remedy(HTTP_PORTS[HAPROXY])
        return servers.haproxy(log, self._given, port=public[0], feeds=feeds, apis=apis, remedy=remedy)

    def _preparations(self) -> Iterator[tuple[str, list[str]]]:
        yield "migrations", ["migrate", "up"]
        yield "queues", ["topology"]
        if self.settings()["VIGIL_ENV"] == "development":
            yield "seed", ["seed"]
        yield "watchdog", ["watchdog", "prepare"]

    def run(self, title: str, *arguments: str) -> None:
        """Run a `vigil` command as an operator would.

        Raises:
            StackFailed: the command failed; the message has its output.
        """
        with self._step(title):
            self._vigil(*arguments)

    def _vigil(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ops.cli", *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=self.operator_environment(), cwd=PROJECT
        )
        if done.returncode != 0:
            raise StackFailed(
                f"`vigil {' '.join(arguments)}` failed:\n{(done.stderr or done.stdout).strip()}"
            )

    def _await(self, names: Mapping[str, object] | list[str] | tuple[str, ...], *, timeout_s: float) -> None:
        late = self.supervisor.wait_ready(list(names), timeout_s=timeout_s, give_up=self._is_blocked)
        if late:
            raise self._not_ready(_worst_of(late), timeout_s)

    def _not_ready(self, process: Process, timeout_s: float) -> StackFailed:
        if process.state == "blocked":
            return StackFailed(f"{process.name} cannot start: {process.doing}")
        log = process.last_lines()
        return StackFailed(f"{process.name} is not ready after {timeout_s:g} s; the end of its log:\n{log}")

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        self._say(f"{title:<12} ready in {time.monotonic() - started_s:.1f} s")


def _worst_of(late: list[Process]) -> Process:
    """Return the process to name: one with a taken port before one that is only not ready."""
    return next((process for process in late if process.state == "blocked"), late[0])


def _numbered(name: str, number: int) -> str:
    """Return a name with its number; the first of several has the plain name."""
    return name if number == 1 else f"{name}@{number}"


@contextmanager
def running_servers(home: Path) -> Iterator[Stack]:
    """Run only the servers, on free ports, while the block lasts; for tests."""
    stack = Stack(home, say=lambda _: None, prefer_usual_ports=False)
    try:
        stack.start_servers()
        yield stack
    finally:
        stack.stop()
