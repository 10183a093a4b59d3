"""Alembic's entry: it connects as Vigil does and runs each migration in one transaction.

`vigil migrate` is the command; `alembic` works too. Migrations are SQL by hand: autogenerate knows
neither partitions nor PostGIS's own tables.

To change the schema:

1. Write `versions/NNNN_words.py`, with `upgrade` and `downgrade`. Never change a revision that
   exists: databases that have run it would not run it again (docs/adr/0047).
2. Add the line that `sha256sum NNNN_words.py` prints to `frozen.sha256`, in the same commit.
3. Add the state before it to `STATES` in `tests/upgrades/__init__.py`. Run `python -m
   tests.upgrades.make_dump NAME`.
4. Describe the new schema, on an upgraded development stack: `vigil migrate describe
   >services/platform/schema/expected.json`.
5. Give the processes their rights on a new table in `ops/servers/privileges.py`. Retention, erasure
   and row-level security have entries there too.
"""

from alembic import context
from alembic.operations import Operations
from sqlalchemy import create_engine, text

from ops.servers import postgres_grants
from services.platform.config import load
from services.platform.database import database_url

# Two migrations at once would disturb each other. The second waits for this lock.
ADVISORY_LOCK = 0x5649_4749
MENDING = "0016"


def mend() -> None:
    """Complete a database that ran an earlier text of a revision. Later migrations build on it.

    Databases of revision `MENDING` and later are complete. A database with a revision that this
    code does not know is left alone.
    """
    migrations = context.get_context()
    current = migrations.get_current_revision()
    if current is None or current >= MENDING:
        return
    script = context.script.get_revision(MENDING)
    if script is not None:
        with Operations.context(migrations):
            script.module.mend(current)


def run() -> None:
    """Run the migrations.

    They run within the transaction of the caller's connection, when there is one (see
    `ops/data/schema`).
    """
    given = context.config.attributes.get("connection")
    if given is None:
        connect_and_run()
        return
    context.configure(connection=given)
    with context.begin_transaction():
        mend()
        context.run_migrations()


def connect_and_run() -> None:
    database = load().database
    engine = create_engine(
        database_url(database.owner_url or database.url), connect_args={"application_name": "vigil-migrate"}
    )
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
        context.configure(connection=connection, transaction_per_migration=True)
        with connection.begin():
            mend()
        with context.begin_transaction():
            context.run_migrations()
        postgres_grants.apply(connection)
        connection.commit()
    engine.dispose()


run()
