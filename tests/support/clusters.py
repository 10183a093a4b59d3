"""Clusters of real servers on loopback, for tests to kill."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2
import redis

from ops.local import ports, servers
from ops.local.stack import Stack
from ops.local.supervisor import Process, Supervisor

NODES = 3
START_TIMEOUT_S = 120.0
TOOL_TIMEOUT_S = 60.0
RABBITMQ_CLUSTER = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
queue_leader_locator = balanced
"""
SENTINEL = """\
bind 127.0.0.1
port {port}
dir {data}
daemonize no
sentinel monitor mymaster 127.0.0.1 {master} 2
sentinel down-after-milliseconds mymaster 1500
sentinel failover-timeout mymaster 6000
"""


class Cluster:
    """Servers under a supervisor of their own.

    A server that a test kills stays dead until the test brings it back.
    """

    def __init__(self, home: Path, names: list[str]) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o711)
        self.ports = ports.choose({}, names, prefer=False)
        self.supervisor = Supervisor(home / "cluster.json")

    def __enter__(self) -> Any:
        try:
            self.start()
        except BaseException:
            self.supervisor.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self.supervisor.stop()

    def start(self) -> None:
        raise NotImplementedError

    def add(self, *processes: Process) -> None:
        """Start the processes together, and wait until all answer."""
        self.supervisor.add(*processes)
        late = self.supervisor.wait_ready([p.name for p in processes], timeout_s=START_TIMEOUT_S)
        assert not late, f"{late[0].name}: {late[0].last_lines()}"

    def kill(self, name: str) -> None:
        """Kill a server and all its processes with SIGKILL."""
        pid = self._process(name).pid
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)

    def bring_back(self, name: str) -> bool:
        """Take one turn of bringing a killed server back, and return whether it answers."""
        process = self._process(name)
        process.poll()
        return process.state == "ready"

    def _process(self, name: str) -> Process:
        [found] = [process for process in self.supervisor.processes if process.name == name]
        return found


class RabbitNodes(Cluster):
    """Three RabbitMQ nodes. Each has the next ones in its configuration, and all share a cookie."""

    def __init__(self, home: Path) -> None:
        numbered = [f"{name}{end}" for name in ("amqp", "amqp_dist") for end in ("", "_2", "_3")]
        super().__init__(home, ["epmd", *numbered])
        self.password = secrets.token_hex(16)
        self.names = {
            servers.rabbitmq_node(self.ports, number): "rabbitmq" if number == 1 else f"rabbitmq_{number}"
            for number in range(1, NODES + 1)
        }

    @property
    def uri(self) -> str:
        hosts = ",".join(f"127.0.0.1:{self.ports[name]}" for name in ("amqp", "amqp_2", "amqp_3"))
        return f"amqp://vigil:{self.password}@{hosts}/{servers.VHOST}"

    def start(self) -> None:
        cookie = self.home / "rabbitmq" / ".erlang.cookie"
        cookie.parent.mkdir()
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)
        self.add(servers.epmd(self.home, self.ports, os.environ))
        more = RABBITMQ_CLUSTER + "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node}\n"
            for number, node in enumerate(self.names, start=1)
        )
        self.add(
            *(
                servers.rabbitmq(
                    self.home, self.ports, os.environ, password=self.password, number=number, more=more
                )
                for number in range(1, NODES + 1)
            )
        )
        subprocess.run(self._command("await_online_nodes", str(NODES)), **self._options(), check=True)

    def queues(self, *, through: int = 1) -> list[dict[str, Any]]:
        """Return every queue with its type, its leader, its members and its online members."""
        return json.loads(subprocess.run(self._list(), **self._options(through), check=True).stdout)

    def queues_later(self, *, through: int = 1) -> subprocess.Popen[bytes]:
        """Start `queues` while the test goes on. `read_queues` reads its output."""
        options = self._options(through)
        del options["timeout"]
        del options["capture_output"]
        return subprocess.Popen(self._list(), **options, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _list(self) -> list[str]:
        columns = ["name", "type", "leader", "members", "online"]
        return [*self._command("list_queues", "-q", "-p", servers.VHOST, "--formatter", "json"), *columns]

    def _command(self, *arguments: str) -> list[str]:
        return [str(servers.rabbitmq_sbin() / "rabbitmqctl"), *arguments]

    def _options(self, through: int = 1) -> dict[str, Any]:
        environment = servers.rabbitmq_settings(self.home, self.ports, os.environ, number=through)
        return {"env": environment, "timeout": TOOL_TIMEOUT_S, "capture_output": True}


def leader_of_most(queues: list[dict[str, Any]]) -> str:
    """Return the node that leads the most replicated queues."""
    leaders = Counter(queue["leader"] for queue in queues if queue["type"] == "quorum")
    return leaders.most_common(1)[0][0]


def all_there(queues: list[dict[str, Any]]) -> bool:
    """Return whether every replicated queue has all its members online."""
    replicated = [queue for queue in queues if queue["type"] == "quorum"]
    return bool(replicated) and all(len(queue["online"]) == NODES for queue in replicated)


class PostgresPair(Cluster):
    """A primary and its synchronous replica, connected by streaming replication and a slot."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, ["postgres", "replica"])
        logins = (servers.OWNER, servers.SERVICE, servers.SUPERUSER)
        self.passwords = {name: secrets.token_hex(16) for name in logins}

    def url(self, user: str) -> str:
        hosts = ",".join(f"127.0.0.1:{self.ports[name]}" for name in ("postgres", "replica"))
        return f"postgresql://{user}:{self.passwords[user]}@{hosts}/{servers.DATABASE}"

    def start(self) -> None:
        more = {"wal_level": "replica", "max_wal_senders": "4", "wal_keep_size": "256MB"}
        password = self.passwords[servers.SUPERUSER]
        self.add(servers.postgres(self.home, self.ports, os.environ, password=password, more=more))
        servers.prepare_database(
            self.ports["postgres"],
            superuser_password=password,
            owner_password=self.passwords[servers.OWNER],
            service_password=self.passwords[servers.SERVICE],
        )
        self.ask("postgres", "SELECT pg_create_physical_replication_slot('replica', true)")
        source = f"host=127.0.0.1 port={self.ports['postgres']} user=postgres application_name=replica"
        source += f" password={password}"
        follow = {"primary_conninfo": source, "primary_slot_name": "replica", "hot_standby": "on"}
        self.add(
            servers.postgres(
                self.home,
                self.ports,
                os.environ,
                password=password,
                name="replica",
                more=more | follow,
                make=self._copy,
            )
        )
        self.ask("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'replica'")
        self.ask("postgres", "SELECT pg_reload_conf()")
        until(lambda: self.ask("postgres", "SELECT sync_state FROM pg_stat_replication") == "sync")

    def promote(self) -> None:
        assert self.ask("replica", "SELECT pg_promote(true, 30)") is True

    def ask(self, name: str, query: str) -> Any:
        """Return the first value of a server's answer to the superuser, or None when there is none."""
        address = f"host=127.0.0.1 port={self.ports[name]} user=postgres dbname=postgres connect_timeout=5"
        address += f" password={self.passwords[servers.SUPERUSER]}"
        connection = psycopg2.connect(address)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query)
                found = cursor.fetchone() if cursor.description else None
                return found and found[0]
        finally:
            connection.close()

    def _copy(self, data: Path, user: str | None) -> None:
        source = ["-h", "127.0.0.1", "-p", str(self.ports["postgres"]), "-U", "postgres"]
        copy = [str(servers.postgres_bin() / "pg_basebackup"), *source, "-D", str(data)]
        password = {**os.environ, "PGPASSWORD": self.passwords[servers.SUPERUSER]}
        servers.run([*copy, "-X", "stream", "-c", "fast", "-R", "--no-sync"], user=user, environment=password)


class RedisWithSentinels(Cluster):
    """A Redis master with two replicas, and three sentinels that watch them."""

    REDIS = ("redis", "redis_2", "redis_3")
    SENTINELS = ("sentinel", "sentinel_2", "sentinel_3")

    def __init__(self, home: Path) -> None:
        super().__init__(home, [*self.REDIS, *self.SENTINELS])

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{self.ports[name]}" for name in self.SENTINELS)
        return f"redis+sentinel://{hosts}/mymaster/0"

    def start(self) -> None:
        self.add(*(self._redis(name) for name in self.REDIS))
        until(lambda: self.client("redis").info("replication")["connected_slaves"] == 2)
        self.add(*(self._sentinel(name) for name in self.SENTINELS))
        until(self._sentinels_know_each_other)

    def client(self, name: str) -> Any:
        return redis.Redis(port=self.ports[name], socket_timeout=5, socket_connect_timeout=5)

    def master(self) -> str:
        """Return the name of the server that the sentinels call the master."""
        sentinel: Any = self.client("sentinel_3")
        _, port = sentinel.sentinel_get_master_addr_by_name("mymaster")
        return next(name for name in self.REDIS if self.ports[name] == int(port))

    def _redis(self, name: str) -> Process:
        role = "" if name == "redis" else f"replicaof 127.0.0.1 {self.ports['redis']}\n"
        # A master without replicas accepts no writes: it may be the one that was cut off.
        more = f"{role}min-replicas-to-write 1\nmin-replicas-max-lag 10\nrepl-diskless-sync-delay 0\n"
        return servers.redis(self.home, self.ports, os.environ, name=name, more=more)

    def _sentinel(self, name: str) -> Process:
        data = self.home / name
        data.mkdir()
        config = data / "sentinel.conf"
        config.write_text(SENTINEL.format(port=self.ports[name], data=data, master=self.ports["redis"]))
        return Process(
            name,
            [servers.binary("redis-server"), str(config), "--sentinel"],
            log=self.home / "log" / f"{name}.log",
            environment=os.environ,
            probe=lambda: servers.answers(self.ports[name]),
        )

    def _sentinels_know_each_other(self) -> bool:
        seen = [self.client(name).sentinel_master("mymaster") for name in self.SENTINELS]
        return all(one["num-other-sentinels"] == 2 and one["num-slaves"] == 2 for one in seen)


@contextmanager
def vigil_on(home: Path, given: Mapping[str, str], *, instances: Mapping[str, int]) -> Iterator[Stack]:
    """Run all of Vigil, with `instances` processes of each kind.

    It uses the servers that are given, and servers of its own for the rest.
    """
    stack = Stack(
        home, say=print, prefer_usual_ports=False, given={**os.environ, **given}, instances=instances
    )
    try:
        stack.start_servers()
        stack.start_services(timeout_s=START_TIMEOUT_S)
        yield stack
    finally:
        stack.stop()


def until(
    condition: Callable[[], Any], *, timeout_s: float = 30.0, between: Callable[[], None] = lambda: None
) -> Any:
    """Wait for the condition, and return its first true value."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        between()
        time.sleep(0.05)
    return found
