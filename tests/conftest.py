"""Fixtures: one stack of real servers per session, and a database and prefixes per test.

Each test has a database, a key prefix and a topic prefix of its own.
"""

# Nameko runs on eventlet. A module that is imported before this line would keep the blocking calls.
import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import secrets  # noqa: E402
import signal  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import AbstractContextManager, contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import psycopg2  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings as hypothesis_settings  # noqa: E402
from sqlalchemy import Engine, text  # noqa: E402

from ops.local.stack import EVIDENCE_KEY, GIVEN, PORT_VARIABLES, Stack  # noqa: E402
from services.platform import config as configuration  # noqa: E402
from services.platform import database as providers  # noqa: E402
from services.platform.config import Config  # noqa: E402
from services.platform.database import Database  # noqa: E402
from tests.providers import Provider, settings_for  # noqa: E402
from tests.support.alerts_domain import AlertsDomain  # noqa: E402
from tests.support.commands import run_vigil  # noqa: E402
from tests.support.notifications_domain import NotificationsDomain  # noqa: E402
from tests.support.outside_clients import OutsideClients  # noqa: E402

hypothesis_settings.register_profile("vigil", deadline=None, database=None)
hypothesis_settings.load_profile("vigil")
# A shell that starts the tests in its background ignores SIGINT. Everything that the tests start
# would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)
for variable in (*GIVEN.values(), *PORT_VARIABLES.values(), "CHANNELS_ENCRYPTION_KEY", "JWT_SECRET"):
    # tests run on servers of their own, wherever the shell's variables point
    os.environ.pop(variable, None)

ROOMY = {
    "VIGIL_CONNECTIONS_PER_ADDRESS": "3000",
    "VIGIL_USER_REQUESTS": "100000",
    "VIGIL_ADDRESS_REQUESTS": "1000000",
    "VIGIL_OPEN_REQUESTS": "100000",
}
"""Limits so high that tests do not reach them.

All clients of the tests share one address and few users. Tests of these limits run gateways with
the usual limits.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--probes",
        type=int,
        default=21_000,
        help="How many random probes try to cross from one tenant to another.",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=20,
        help="How often a process is killed at a random point of its work.",
    )
    parser.addoption(
        "--stops",
        type=int,
        default=20,
        help="How often each process is asked to stop, without a load and under one.",
    )
    parser.addoption(
        "--tracks",
        type=int,
        default=20_000,
        help="How many random tracks the zones' judge and its oracle have to agree about.",
    )
    parser.addoption(
        "--figures",
        help="A file for the figures of attacks (tests/torture/attacks), as a Markdown table.",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests that look at the traces of all other tests to the end."""
    last = ("test_no_right_is_missing", "test_no_secret_in_a_log")
    items.sort(key=lambda item: any(name in item.nodeid for name in last))


@pytest.fixture(scope="session")
def providers_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Provider]]:
    """Yield a mail server, and stand-ins for SMS providers, FCM and a webhook."""
    directory = tmp_path_factory.mktemp("providers")
    started = {
        kind: Provider(kind, directory=directory)
        for kind in ("smtp", "twilio", "plivo", "fcm", "webhook", "ntfy")
    }
    yield started
    for provider in started.values():
        provider.stop()


@pytest.fixture(scope="session")
def servers(providers_of_tests: dict[str, Provider], request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Yield the four real servers, on free ports, and nothing of Vigil yet.

    Vigil will send by the tests' providers. The directory is not pytest's own: that one is closed
    to PostgreSQL's user, and each further session closes it again.
    """
    with tempfile.TemporaryDirectory(prefix="vigil-test-") as directory:
        given = {**os.environ, **settings_for(providers_of_tests), **ROOMY, "VIGIL_OWNTRACKS": "true"}
        stack = Stack(Path(directory), say=print, prefer_usual_ports=False, given=given)
        try:
            stack.start_servers()
            if not request.config.getoption("--figures"):
                wait_for_no_disk(stack)
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def outer(providers_of_tests: dict[str, Provider]) -> dict[str, Provider]:
    """Return the providers by kind. Each accepts messages, and has taken none yet."""
    for provider in providers_of_tests.values():
        provider.behave("accept")
        provider.forget()
    return providers_of_tests


@pytest.fixture(scope="session")
def stack(servers: Stack) -> Stack:
    """Return the stack with all of Vigil, as `vigil up` runs it."""
    servers.start_services()
    return servers


@pytest.fixture
def outside(stack: Stack) -> Iterator[OutsideClients]:
    """Yield the clients that are outside of Vigil: devices and control rooms."""
    with OutsideClients(stack) as found:
        yield found


@pytest.fixture(scope="session")
def migrated(servers: Stack) -> str:
    """Return the name of a database that was migrated once, to copy from."""
    name = "migrated"
    with admin_cursor(servers) as cursor:
        cursor.execute(f"CREATE DATABASE {name} OWNER vigil")
    run_vigil({**servers.operator_environment(), **databases(servers, name)}, "migrate", "up")
    return name


@pytest.fixture
def environment(servers: Stack, migrated: str) -> Iterator[dict[str, str]]:
    """Yield the environment of an installation of its own.

    It has a freshly migrated database and prefixes of its own.
    """
    name = f"t{secrets.token_hex(6)}"
    with admin_cursor(servers) as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {migrated} STRATEGY FILE_COPY OWNER vigil")
    yield {
        **servers.operator_environment(),
        **databases(servers, name),
        "VIGIL_REDIS_PREFIX": name,
        "VIGIL_TOPIC_PREFIX": f"{name}/",
        "VIGIL_HOME": str(servers.home / name),
        "VIGIL_EVIDENCE_KEY_FILE": str(servers.home / name / EVIDENCE_KEY),
    }
    with admin_cursor(servers) as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def databases(servers: Stack, name: str) -> dict[str, str]:
    """Return the addresses of a database of these servers.

    There is one for the services' login, and one for the owner.
    """
    given = servers.operator_environment()
    return {
        variable: f"{providers.database_url(given[variable]).rpartition('/')[0]}/{name}"
        for variable in ("DATABASE_URL", "VIGIL_OWNER_DATABASE_URL")
    }


def wait_for_no_disk(servers: Stack) -> None:
    """Let PostgreSQL write without waiting for the disk.

    A test's database is then made in a tenth of the time. Only a crash of the machine's kernel
    could show the difference. Runs for figures (`--figures`) wait for the disk.
    """
    with admin_cursor(servers) as cursor:
        cursor.execute("ALTER SYSTEM SET fsync = off")
        cursor.execute("SELECT pg_reload_conf()")


@contextmanager
def admin_cursor(servers: Stack) -> Iterator[Any]:
    """Yield a superuser's cursor.

    Only the superuser may disconnect the sessions that still hold a database that is to be dropped.
    """
    connection = psycopg2.connect(servers.superuser_url().replace("+psycopg2", ""))
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()


@pytest.fixture
def config(environment: dict[str, str]) -> Config:
    """Return that installation's configuration."""
    return configuration.load(environ=environment)


@pytest.fixture
def engine(config: Config) -> Iterator[Engine]:
    """Yield the owner's engine on that installation's database, which has tenant 1."""
    made = providers.make_engine(config, name="test", pool_size=8, as_owner=True)
    with made.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tenant (tenant_id, name) VALUES (1, 'Test')")
    yield made
    made.dispose()


@pytest.fixture
def database(config: Config, engine: Engine) -> Iterator[Database]:  # noqa: ARG001 - tenant 1 must be there
    """Yield that installation's database as the services see it."""
    made = Database(config, name="test", pool_size=8)
    yield made
    made.close()


@pytest.fixture
def desk(database: Database, config: Config, engine: Engine) -> AlertsDomain:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO contact (tenant_id, name, phone, email) VALUES (1, 'Asha', '+919876543210', 'a@x.org')"
            )
        )
        connection.execute(
            text("INSERT INTO site (tenant_id, name, time_zone) VALUES (1, 'Dock', 'Asia/Kolkata')")
        )
    return AlertsDomain(database, config)


@pytest.fixture
def open_office(
    desk: AlertsDomain,
    engine: Engine,
    environment: dict[str, str],
    outer: dict[str, Provider],  # noqa: ARG001 - they take what the office sends
) -> Callable[..., AbstractContextManager[NotificationsDomain]]:
    """Return a function that opens the notifications service without its shell.

    The function's `changes` are changes of the service's settings.
    """

    @contextmanager
    def opened(**changes: Any) -> Iterator[NotificationsDomain]:
        made = NotificationsDomain(desk, engine, environment, **changes)
        try:
            yield made
        finally:
            made.close()

    return opened
