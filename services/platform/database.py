"""Connections to PostgreSQL, and their limits.

This is the only file that makes engines. Every limit is set here, so that nothing waits for ever by
a library's default.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from services.contracts.errors import Misconfigured, SchemaBehind, Unavailable
from services.contracts.pagination import check_tenant
from services.platform.config import Config
from services.platform.outages import outage_in, unavailable
from services.platform.server_lists import database_of_many


def database_url(url: str) -> str:
    """Return a database URL with the driver that Vigil is tested with.

    `postgresql://` and several hosts are accepted. Raises `Misconfigured`.
    """
    try:
        parsed = make_url(database_of_many(url))
    except Exception as error:
        raise Misconfigured(f"DATABASE_URL is not a database URL: {error}") from error
    if parsed.get_backend_name() != "postgresql":
        raise Misconfigured(f"DATABASE_URL must be a postgresql:// URL, not {parsed.get_backend_name()}://")
    return parsed.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


Role = Literal["vigil_tenant", "vigil_ingest", "vigil_login"]
DATABASE_ROLES: tuple[Role, ...] = get_args(Role)
"""Roles by the rows they see: one tenant's; field messages of all tenants; logins of users.

A process takes its own role of the same access, `vigil_<process>_<access>`. That role says which
tables it may use (`ops.servers.privileges`).
"""
AS_ONE_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
NO_LONGER_THE_PRIMARY = frozenset({"25006", "57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that stops, starts, or has become a replica.

The primary is elsewhere, or soon will be.
"""
FEATURE_NOT_SUPPORTED = "0A000"
LACKING = frozenset({"42P01", "42703", "42883"})
"""SQLSTATEs of a statement that names a table, column or function that does not exist."""
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
"""The engines of this process that have a pool."""
SET_TENANT = text("SELECT set_config('vigil.tenant_id', :tenant_id, true)")


class Database:
    """PostgreSQL for one process, each transaction in the role that it needs.

    None of the roles owns a table. Row-level security limits the rows that a role sees (migration
    0002). With `as_owner`, for operators' commands, every transaction has the owner's rights.
    Transactions raise as `transaction` does.
    """

    def __init__(
        self, config: Config, *, name: str, pool_size: int | None = None, as_owner: bool = False
    ) -> None:
        if as_owner:
            owner = make_engine(config, name=name, pool_size=pool_size, as_owner=True)
            self._engines = dict.fromkeys(DATABASE_ROLES, owner)
        else:
            self._engines = {
                role: make_engine(
                    config, name=name, pool_size=pool_size, role=role_of(role, config.database.process)
                )
                for role in DATABASE_ROLES
            }

    @contextmanager
    def of(self, tenant_id: int, *, snapshot: bool = False) -> Iterator[Connection]:
        """Open one transaction that sees and changes the rows of this tenant only.

        With `snapshot` it only reads, and sees the state at its beginning throughout.

        Raises:
            Refused: No tenant is named.
        """
        named = check_tenant(tenant_id)
        with transaction(self._engines["vigil_tenant"]) as connection:
            if snapshot:
                connection.execute(AS_ONE_SNAPSHOT)
            connection.execute(SET_TENANT, {"tenant_id": str(named)})
            yield connection

    @contextmanager
    def across(self) -> Iterator[Connection]:
        """Open one transaction of the pipeline: field messages and alerts of all tenants."""
        with transaction(self._engines["vigil_ingest"]) as connection:
            yield connection

    @contextmanager
    def people(self) -> Iterator[Connection]:
        """Open one transaction of the login: users of all tenants and their sessions only."""
        with transaction(self._engines["vigil_login"]) as connection:
            yield connection

    def session(self) -> Connection:
        """Return a connection of the pipeline outside of transactions.

        It is for a lock that must be freed when its holder dies. The caller keeps the connection
        from the pool, and closes it.

        Raises:
            Unavailable: PostgreSQL takes no connection.
        """
        try:
            return self._engines["vigil_ingest"].connect().execution_options(isolation_level="AUTOCOMMIT")
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise unavailable(error, f"PostgreSQL: {reason_of(error)}") from error

    def close(self) -> None:
        for engine in self._engines.values():
            engine.dispose()


def role_of(role: Role, process: str) -> str:
    """Return the role that a process takes in place of one of the three."""
    return role.replace("vigil_", f"vigil_{process}_", 1) if process else role


def make_engine(
    config: Config,
    *,
    name: str,
    pool_size: int | None = None,
    role: str | None = None,
    as_owner: bool = False,
) -> Engine:
    """Return an engine for one process.

    `name` shows in pg_stat_activity and selects the pool's size. Each connection takes `role` at
    its start.
    """
    size = pool_size or config.connections.get(name, 2)
    url = (config.database.owner_url or config.database.url) if as_owner else config.database.url
    limits = (
        f"-c statement_timeout={int(config.database.statement_timeout_s * 1000)} "
        f"-c lock_timeout={int(config.database.lock_timeout_s * 1000)} "
        "-c idle_in_transaction_session_timeout=60000 -c timezone=UTC -c jit=off"
        + (f" -c role={role}" if role else "")
    )

    engine = create_engine(
        database_url(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=config.database.statement_timeout_s,
        pool_pre_ping=False,
        pool_recycle=1800,
        connect_args={
            "application_name": f"vigil-{name}",
            "connect_timeout": config.database.connect_timeout_s,
            "options": limits,
            "keepalives": 1,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # For a host that vanished in the middle of a question; the keepalives above are for
            # idle connections.
            "tcp_user_timeout": 15_000,
        },
    )

    event.listen(engine, "handle_error", _drop_what_cannot_write)
    event.listen(engine, "handle_error", _drop_stale_plans)
    event.listen(engine, "handle_error", _drop_what_is_lost_too)
    _engines.add(engine)

    return engine


def _drop_what_cannot_write(context: ExceptionContext) -> None:
    """Drop a connection to a former primary.

    Such a server answers, and refuses every write. The pool would keep the connection for ever.
    """
    if getattr(context.original_exception, "pgcode", None) in NO_LONGER_THE_PRIMARY:
        context.is_disconnect = True


def _drop_stale_plans(context: ExceptionContext) -> None:
    """Drop a connection whose prepared statements are of a schema before the present one.

    See `services.platform.prepared_statements`.
    """
    error = context.original_exception
    if getattr(error, "pgcode", None) == FEATURE_NOT_SUPPORTED and "cached plan" in str(error):
        context.is_disconnect = True


def _drop_what_is_lost_too(context: ExceptionContext) -> None:
    """Drop idle connections of the process's other pools.

    A server that hung up on one connection has hung up on all. Otherwise each pool would find that
    out by a request that fails, perhaps hours later.
    """
    if not context.is_disconnect:
        return
    for engine in tuple(_engines):
        if engine is not context.engine:
            engine.dispose()


def make_operator_engine(url: str, *, name: str, connect_timeout_s: int = 5) -> Engine:
    """Return an engine for an operator's long work.

    It has no limit on a statement or on an idle transaction, and keeps no connection for later.
    """
    return create_engine(
        database_url(url),
        poolclass=NullPool,
        connect_args={
            "application_name": f"vigil-{name}",
            "connect_timeout": connect_timeout_s,
            "options": "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c timezone=UTC",
            "keepalives": 1,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open one transaction.

    A `DataError` or `IntegrityError` is not caught. It is about the data, and another try would not
    help.

    Raises:
        Outage: The database is away.
        SchemaBehind: A statement names what the schema does not have; the database is of another
            version.
        Unavailable: Another fault of the database that may pass.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise unavailable(error, f"PostgreSQL: {reason_of(error)}") from error
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) in LACKING:
            raise SchemaBehind(
                f"PostgreSQL: {reason_of(error)}; run `vigil migrate up`, see `vigil migrate check`"
            ) from error
        if error.connection_invalidated or outage_in(error) is not None:
            raise unavailable(error, f"PostgreSQL: {reason_of(error)}") from error
        raise


def check_database(config: Config) -> None:
    """Return when PostgreSQL takes a new connection and answers.

    The connection has the login's own rights and is outside of every pool. A pool may be full of
    connections to a server that is gone.

    Raises:
        Unavailable: PostgreSQL does not answer, or is a replica.
    """
    engine = create_engine(
        database_url(config.database.url),
        poolclass=NullPool,
        connect_args={
            "application_name": "vigil-probe",
            "connect_timeout": config.database.connect_timeout_s,
        },
    )
    with transaction(engine) as connection:
        if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
            raise Unavailable("PostgreSQL: a replica answers, which takes no writes")


def reason_of(error: Exception) -> str:
    """Return the first line of a driver's message, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0]
