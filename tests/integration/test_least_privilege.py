"""Tests that no process may do at the servers what only another process may do.

They use the logins that the processes themselves have.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import amqp
import psycopg2
import pytest
import redis
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from ops.local.stack import Stack
from ops.processes import PROCESSES
from ops.servers import postgres_grants, rabbitmq_users
from ops.servers.privileges import OF_OPERATORS, PRIVILEGES, SECRETS, database_role, database_roles
from ops.servers.queues.declared import all_queues
from services.messaging.publisher import connect
from services.platform import config as configuration
from tests.support.outside_clients import OutsideClients
from tests.support.table_rows import fill

WITH_DATABASE = [name for name, may in PRIVILEGES.items() if may.tables]
WITH_REDIS = [name for name, may in PRIVILEGES.items() if may.redis]
OURS = 1001
PUBLIC = {"mosquitto/acl", "mosquitto/mosquitto.conf", "mosquitto/tls/ca.pem", "mosquitto/tls/server.pem"}
"""Rules and certificates. The broker reads them as a user of its own."""
PRIVILEGES_OF_TABLES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
TABLES = text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
    " AND relname <> 'spatial_ref_sys'"
)
COLUMNS = text(
    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
)
HELD = text("SELECT has_column_privilege(:role, :table, :column, :privilege)")
# (process, a statement that the process must not run)
FORBIDDEN = [
    ("telemetry", "SELECT login FROM app_user"),
    ("telemetry", "SELECT phone FROM contact"),
    ("telemetry", "UPDATE mqtt_device_alert SET status = 'RESOLVED'"),
    ("telemetry", "INSERT INTO alert_timeline (alert_id) VALUES (gen_random_uuid())"),
    ("telemetry", "SELECT lat FROM mqtt_guard_location"),
    ("telemetry", "SELECT message FROM mqtt_device_alert"),
    ("location", "SELECT login FROM app_user"),
    ("location", "INSERT INTO mqtt_device_alert (message) VALUES ('all is well')"),
    ("location", "SELECT body FROM notification"),
    ("location", "SELECT vigil_retire_rows('positions', 'mqtt_guard_location', 1, 0, 1, true)"),
    ("alerts", "SELECT password_hash FROM app_user"),
    ("alerts", "SELECT token_hash FROM refresh_token"),
    ("alerts", "DELETE FROM alert_timeline"),
    ("alerts", "UPDATE zone SET name = ''"),
    ("notifications", "SELECT message FROM mqtt_device_alert"),
    ("notifications", "SELECT phone FROM contact"),
    ("notifications", "SELECT lat FROM guard_state"),
    ("directory", "SELECT body FROM notification"),
    ("directory", "SELECT lat FROM guard_state"),
    ("directory", "UPDATE mqtt_device_alert SET status = 'RESOLVED'"),
    ("directory", "UPDATE app_user SET role = 'platform'"),
    ("watchdog", "SELECT lat FROM guard_state"),
    ("watchdog", "SELECT login FROM app_user"),
    ("watchdog", "INSERT INTO alert_occurrence (msg_id) VALUES ('x')"),
]


def test_each_process_has_its_privileges_declared() -> None:
    assert set(PRIVILEGES) == set(PROCESSES)


def test_the_grants_are_those_declared_for_every_role_table_and_column(engine: Engine) -> None:
    with engine.connect() as connection:
        declared = set(_declared(connection))
        held = set(_held(connection))
    assert held == declared


def _declared(connection: Connection) -> Iterator[tuple[str, str, str, str]]:
    for process, may in PRIVILEGES.items():
        for access, tables in may.tables.items():
            for table, words in tables.items():
                every = list(connection.execute(COLUMNS, {"table": table}).scalars())
                assert every, f"{table} of {process} is no table"
                for privilege, column in postgres_grants.privileges_of(words):
                    for one in [column] if column else every:
                        yield database_role(process, access), table, one, privilege


def _held(connection: Connection) -> Iterator[tuple[str, str, str, str]]:
    tables = list(connection.execute(TABLES).scalars())
    for table in tables:
        columns = list(connection.execute(COLUMNS, {"table": table}).scalars())
        for role, privilege in product(database_roles(), ("SELECT", "INSERT", "UPDATE", "REFERENCES")):
            for column in columns:
                values = {"role": role, "table": table, "column": column, "privilege": privilege}
                if connection.execute(HELD, values).scalar_one():
                    yield role, table, column, privilege
        for role, privilege in product(database_roles(), ("DELETE", "TRUNCATE", "TRIGGER")):
            asked = text("SELECT has_table_privilege(:role, :table, :privilege)")
            values = {"role": role, "table": table, "privilege": privilege}
            if connection.execute(asked, values).scalar_one():
                yield from ((role, table, column, privilege) for column in columns)


def test_a_process_can_be_the_roles_of_its_own_and_nobody_else(stack: Stack) -> None:
    roles = {
        *database_roles(),
        "vigil",
        "vigil_service",
        "vigil_tenant",
        "vigil_ingest",
        "vigil_login",
        "postgres",
    }
    taken: dict[str, set[str]] = {}
    for process in WITH_DATABASE:
        with logged_in(stack, process) as cursor:
            taken[process] = {role for role in roles if _takes(cursor, role)}
    assert taken == {
        process: {database_role(process, access) for access in PRIVILEGES[process].tables}
        for process in WITH_DATABASE
    }


def _takes(cursor: Any, role: str) -> bool:
    try:
        cursor.execute(f"SET ROLE {role}")
    except psycopg2.errors.InsufficientPrivilege:
        return False
    cursor.execute("RESET ROLE")
    return True


def test_without_one_of_its_roles_a_login_sees_no_table(stack: Stack) -> None:
    for process in WITH_DATABASE:
        with logged_in(stack, process) as cursor:
            cursor.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'spatial_ref_sys'"
            )
            for (table,) in cursor.fetchall():
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(f"SELECT 1 FROM {table}")


@pytest.mark.parametrize(("process", "statement"), FORBIDDEN)
def test_no_role_of_a_process_does_the_work_of_another(stack: Stack, process: str, statement: str) -> None:
    for access in PRIVILEGES[process].tables:
        with logged_in(stack, process) as cursor:
            cursor.execute(f"SET ROLE {database_role(process, access)}")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="permission denied"):
                cursor.execute(statement)


def test_no_process_changes_the_schema_or_what_it_was_granted(stack: Stack) -> None:
    for process in WITH_DATABASE:
        for access in PRIVILEGES[process].tables:
            role = database_role(process, access)
            for statement in (
                "CREATE TABLE mine (x int)",
                "DROP TABLE app_user",
                "CREATE ROLE mine",
                f"ALTER ROLE {role} SUPERUSER",
                "ALTER TABLE guard DISABLE ROW LEVEL SECURITY",
                "DROP POLICY vigil_tenant ON guard",
                "COPY guard TO PROGRAM 'true'",
            ):
                with logged_in(stack, process) as cursor:
                    cursor.execute(f"SET ROLE {role}")
                    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                        cursor.execute(statement)


def test_the_roles_of_processes_see_one_tenant_and_none_without_its_name(engine: Engine) -> None:
    with engine.begin() as connection:
        fill(connection)
    seen = 0
    for process in WITH_DATABASE:
        for table, words in PRIVILEGES[process].tables.get("tenant", {}).items():
            if not words.startswith("SELECT"):
                continue
            with engine.connect() as connection:
                connection.exec_driver_sql(f"SET ROLE {database_role(process, 'tenant')}")
                count = text(f"SELECT array_agg(DISTINCT tenant_id) FROM {table}")
                assert connection.execute(count).scalar_one() is None, (process, table)
                connection.execute(text("SELECT set_config('vigil.tenant_id', '1001', true)"))
                tenants = connection.execute(count).scalar_one()
                assert tenants in (None, [OURS]), (process, table)
                seen += tenants == [OURS]
    assert seen > 40


def test_grants_are_mended_by_the_next_migrate_up(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("GRANT SELECT ON app_user TO vigil_telemetry_ingest")
        connection.exec_driver_sql("GRANT UPDATE (status) ON mqtt_device_alert TO vigil_location_ingest")
        connection.exec_driver_sql("REVOKE INSERT ON mqtt_guard_location FROM vigil_location_ingest")
        said = postgres_grants.apply(connection)
        again = postgres_grants.apply(connection)
    assert sorted(said) == [
        "GRANT INSERT ON TABLE mqtt_guard_location TO vigil_location_ingest",
        "REVOKE SELECT ON TABLE app_user FROM vigil_telemetry_ingest",
        "REVOKE UPDATE (status) ON TABLE mqtt_device_alert FROM vigil_location_ingest",
    ]
    assert again == []


def test_nobody_comes_into_postgresql_without_a_password(stack: Stack) -> None:
    host, _, port = stack.addresses()["postgres"].partition(":")
    for login in ("postgres", "vigil", "vigil_service", "vigil_telemetry"):
        for password in ("", "postgres", "vigil"):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(host=host, port=port, user=login, password=password, dbname="vigil")


# --- Redis ---


def test_a_redis_user_reaches_the_keys_and_commands_of_its_process_alone(outside: OutsideClients) -> None:
    client = outside.redis()
    allowed = set()
    for process, key, (command, arguments) in product(WITH_REDIS, KEYS, COMMANDS.items()):
        answer = client.execute_command(
            "ACL", "DRYRUN", process, command, *[a.format(key=key) for a in arguments]
        )
        if answer in (b"OK", "OK", True):
            allowed.add((process, key, command))
    assert allowed == {
        (process, key, command)
        for process, key, command in product(WITH_REDIS, KEYS, COMMANDS)
        if _may(process, key, command)
    }


KEYS = [
    "vigil:feed:1",
    "vigil:feed-id:1",
    "vigil:feed-begun:x",
    "vigil:hot:1:positions",
    "vigil:turn:positions:1",
    "vigil:login:x",
    "vigil:ticket:1:x",
    "vigil:idempotency:1:x",
    "vigil:messages:x",
    "vigil:sockets:x",
    "vigil:gateways",
    "vigil:other",
    "other",
]
READING = {
    "xread": ["STREAMS", "{key}", "0"],
    "xrange": ["{key}", "-", "+"],
    "xrevrange": ["{key}", "+", "-"],
    "get": ["{key}"],
    "hgetall": ["{key}"],
    "hmget": ["{key}", "a"],
}
WRITING = {
    "xadd": ["{key}", "*", "a", "b"],
    "set": ["{key}", "x"],
    "del": ["{key}"],
    "getdel": ["{key}"],
    "hset": ["{key}", "a", "b"],
    "hdel": ["{key}", "a"],
    "incrby": ["{key}", "1"],
    "expire": ["{key}", "1"],
    "xtrim": ["{key}", "MAXLEN", "0"],
    "rename": ["{key}", "{key}"],
}
COMMANDS = READING | WRITING


def _may(process: str, key: str, command: str) -> bool:
    may = PRIVILEGES[process].redis
    assert may is not None
    patterns = may.write if command in WRITING else (*may.read, *may.write)
    matches = any(re.fullmatch(re.escape(f"vigil:{p}").replace(r"\*", ".*"), key) for p in patterns)
    return matches and command in may.commands


@pytest.mark.parametrize("process", WITH_REDIS)
def test_a_redis_user_has_no_hand_on_the_server(stack: Stack, process: str) -> None:
    client = redis.Redis.from_url(stack.process_environment(process)["REDIS_URL"])
    assert client.ping()
    for command in (
        ("CONFIG", "GET", "requirepass"),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("ACL", "LIST"),
        ("EVAL", "return 1", "0"),
        ("SHUTDOWN", "NOSAVE"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("MONITOR",),
        ("CLIENT", "KILL", "TYPE", "normal"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
    client.close()


def test_the_noc_gateway_cannot_write_the_feed(stack: Stack) -> None:
    client = redis.Redis.from_url(stack.process_environment("noc_gateway")["REDIS_URL"])
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.xadd("vigil:feed:1", {"type": "critical_alert", "frame": b"forged"})
    for change in (client.delete, client.getdel):
        with pytest.raises(redis.exceptions.NoPermissionError):
            change("vigil:feed:1")
    client.close()


def test_redis_lets_nobody_in_without_a_name_and_has_a_limit(outside: OutsideClients) -> None:
    host, _, port = outside.stack.addresses()["redis"].partition(":")
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(host=host, port=int(port)).ping()
    found: Any = outside.redis().config_get("maxmemory*")
    assert (int(found["maxmemory"]) > 0, found["maxmemory-policy"]) == (True, "volatile-lru")


# --- RabbitMQ ---


def test_a_rabbitmq_user_reads_and_declares_the_queues_of_its_own_process_alone(stack: Stack) -> None:
    settings = configuration.load(environ=stack.operator_environment())
    names = {queue.name for queue in all_queues(settings)} | {
        f"rpc.{may.service}" for may in PRIVILEGES.values() if may.serves_rpc
    }
    for process in PRIVILEGES:
        rights = rabbitmq_users.rights_of(process, retry_delays_s=settings.amqp.retry_delays_s)
        own = {name for name in names if re.search(rights.read, name)}
        with as_user(stack, process) as refuses:
            for name in sorted(names - own):
                assert refuses(lambda c, n=name: c.basic_get(n)), (process, "reads", name)
                assert refuses(lambda c, n=name: c.basic_consume(n)), (process, "consumes", name)
                assert refuses(lambda c, n=name: c.queue_purge(n)), (process, "purges", name)
                assert refuses(lambda c, n=name: c.queue_delete(n)), (process, "deletes", name)
                assert refuses(lambda c, n=name: c.queue_declare(n, durable=True)), (
                    process,
                    "declares",
                    name,
                )


def test_a_rabbitmq_user_calls_the_rpcs_of_its_own_process_alone(stack: Stack) -> None:
    every = {call for process in PRIVILEGES for call in rabbitmq_users.calls_of(process)}
    every |= {("directory", "verify_password"), ("alerts", "record")}
    for process in PRIVILEGES:
        with as_user(stack, process) as refuses:
            for service, method in sorted(every - rabbitmq_users.calls_of(process)):
                key = f"{service}.{method}"
                assert refuses(lambda c, k=key: _publish(c, "nameko-rpc", k)), (process, "calls", key)


def test_a_rabbitmq_user_publishes_no_event_of_another_service(stack: Stack) -> None:
    events = {(may.service, event) for may in PRIVILEGES.values() for event in may.publishes}
    for process, may in PRIVILEGES.items():
        with as_user(stack, process) as refuses:
            for service, event in sorted(events - {(may.service, event) for event in may.publishes}):
                assert refuses(lambda c, s=service, e=event: _publish(c, f"{s}.events", e)), (
                    process,
                    service,
                    event,
                )


def test_a_rabbitmq_user_sends_no_heartbeat_of_another_process(stack: Stack) -> None:
    """Another process must not send the heartbeat of a process that is offline."""
    for process in PRIVILEGES:
        with as_user(stack, process) as refuses:
            assert not refuses(lambda c, p=process: _publish(c, "vigil.heartbeats", p)), process
            for other in sorted(set(PRIVILEGES) - {process}):
                assert refuses(lambda c, o=other: _publish(c, "vigil.heartbeats", o)), (process, other)


def test_no_process_reaches_a_queue_by_a_way_around(stack: Stack) -> None:
    """A process tries the default exchange, a delay, and a binding.

    It also tries a queue of its own that dead-letters into another.
    """
    passwords, alarms = (
        "directory.open_session",
        "evt-mqtt_gateway-device_alert_received--alerts.process_device_alert",
    )
    for process, may in PRIVILEGES.items():
        with as_user(stack, process) as refuses:
            assert refuses(lambda c: _publish(c, "", "rpc.directory")), process
            assert refuses(lambda c: _publish(c, "", alarms)), process
            assert refuses(lambda c: _publish(c, "vigil.retry.1s", "rpc.directory")), process
            if process not in ("alerts", "directory"):  # the directory sends dead letters again
                assert refuses(lambda c: _publish(c, "vigil.retry.1s", alarms)), process
            assert refuses(lambda c: c.exchange_declare("mine", "fanout")), process
            assert refuses(lambda c: c.exchange_delete("nameko-rpc")), process
            # alerts may delete its own exchange, and the others need it here
            if process != "alerts":
                assert refuses(lambda c: c.exchange_delete("alerts.events")), process
            assert refuses(lambda c: c.queue_declare("mine")), process
            assert refuses(
                lambda c: c.queue_declare(
                    "mine", arguments={"x-dead-letter-exchange": "", "x-message-ttl": 1}
                )
            ), process
            if may.calls:
                name = f"rpc.reply-{may.service}-00000000-0000-0000-0000-000000000000"
                for exchange, key in (
                    ("nameko-rpc", passwords),
                    ("nameko-rpc", "#"),
                    ("nameko-rpc", "alerts.*" if process == "directory" else "directory.*"),
                    ("mqtt_gateway.events", "#"),
                    ("alerts.events", "#"),
                ):
                    assert refuses(lambda c, q=name, e=exchange, k=key: _bind(c, q, e, k)), (
                        process,
                        exchange,
                        key,
                    )


def test_rabbitmq_has_no_guest_and_no_administrator_among_the_processes(stack: Stack) -> None:
    uri = make_url(stack.operator_environment()["AMQP_URI"])
    for user, password in (("guest", "guest"), ("vigil", "vigil"), ("vigil", "guest"), ("telemetry", "")):
        with pytest.raises((amqp.exceptions.AccessRefused, OSError)):
            amqp.Connection(
                f"{uri.host}:{uri.port}",
                userid=user,
                password=password,
                virtual_host="vigil",
                login_method="PLAIN",
            ).connect()


def _publish(channel: Any, exchange: str, key: str) -> None:
    channel.confirm_select()
    channel.basic_publish_confirm(amqp.Message(b"x"), exchange=exchange, routing_key=key)


def _bind(channel: Any, queue: str, exchange: str, key: str) -> None:
    channel.queue_declare(queue, exclusive=True, durable=False)
    channel.queue_bind(queue, exchange, key)


Refuses = Callable[[Callable[[Any], Any]], bool]


@contextmanager
def as_user(stack: Stack, process: str) -> Iterator[Refuses]:
    """Yield a function that returns whether RabbitMQ refuses an act to the user of a process."""
    with connect(stack.process_environment(process)["AMQP_URI"]) as connection:

        def refuses(act: Callable[[Any], Any]) -> bool:
            try:
                with connection.channel() as channel:
                    act(channel)
            except amqp.exceptions.AccessRefused:
                return True
            return False

        yield refuses


@contextmanager
def logged_in(stack: Stack, process: str) -> Iterator[Any]:
    url = stack.process_environment(process)["DATABASE_URL"].replace("+psycopg2", "")
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        yield connection.cursor()


# --- Secrets ---


def test_a_running_process_holds_no_secret_but_its_own(stack: Stack) -> None:
    values = {process: _secret_values(stack.process_environment(process)) for process in PROCESSES}
    operators = _secret_values(stack.operator_environment())
    every = operators.union(*values.values())
    assert len(every) > 25
    pids = {process.name: process.pid for process in stack.supervisor.processes}
    for process in PROCESSES:
        held = Path(f"/proc/{pids[process]}/environ").read_bytes().decode().split("\0")
        environment = dict(line.split("=", 1) for line in held if "=" in line)
        # The feed's keys may have been rotated since the process began.
        begun_with = values[process] - {stack.process_environment(process).get("CHANNELS_ENCRYPTION_KEY")}
        assert begun_with <= set(environment.values())
        foreign = every - values[process]
        assert {
            name for name, value in environment.items() if any(secret in value for secret in foreign)
        } == set()
        assert not OF_OPERATORS & set(environment)


def _secret_values(environment: dict[str, str]) -> set[str]:
    named = SECRETS | {f"{name}_FILE" for name in SECRETS}
    return {value for name, value in environment.items() if name in named and value}


def test_who_has_nothing_to_do_at_a_server_is_given_no_address_of_it(stack: Stack) -> None:
    for variable, server in (("DATABASE_URL", WITH_DATABASE), ("REDIS_URL", WITH_REDIS)):
        with_address = {process for process in PROCESSES if variable in stack.process_environment(process)}
        assert with_address == set(server)
    assert "DATABASE_URL" not in stack.process_environment("mqtt_gateway-alert")
    assert "JWT_SECRET" not in stack.process_environment("telemetry")


def test_no_file_of_the_stack_can_be_read_by_another_user(stack: Stack, outside: OutsideClients) -> None:
    outside.publish("guard/guard-private/gps", {"lat": 1.0, "lon": 1.0})
    readable = [
        str(path.relative_to(stack.home))
        for path in stack.home.rglob("*")
        if str(path.relative_to(stack.home)) not in PUBLIC
        and "unnamed" not in path.name  # numbers of the tests' own process
        and not path.is_symlink()
        and stat.S_IMODE(path.lstat().st_mode) & 0o007
        and stat.S_ISREG(path.lstat().st_mode)
        and _is_reachable(path, stack.home)
    ]
    assert readable == []
    assert stat.S_IMODE(stack.home.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)


def _is_reachable(path: Path, home: Path) -> bool:
    """Return whether every directory on the way may be passed by others."""
    ways = [parent for parent in path.parents if parent.is_relative_to(home)]
    return all(stat.S_IMODE(way.stat().st_mode) & 0o001 for way in ways)
