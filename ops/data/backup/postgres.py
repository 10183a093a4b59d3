"""PostgreSQL's own programs for dumps, the facts of a snapshot, and temporary databases."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from ops.data.backup.manifest import SnapshotFacts, TimelineHead
from ops.data.schema import revisions
from ops.data.schema.rollback.keep_rows import KEPT
from services.contracts.errors import Misconfigured, Refused, Unavailable
from services.platform.database import database_url, make_operator_engine, reason_of, transaction

Say = Callable[[str], None]
EXTENSIONS = ("postgis", "btree_gist")
"""Extensions that the tables need. A dump of Vigil's schemas does not hold them."""
DIRECTORIES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
PROGRESS_S = 1.0
STOP_S = 10.0
SCRATCH = "vigil_scratch"
FORGOTTEN_AFTER_S = 86_400
NOT_OURS = re.compile(r"^\d+; \d+ \d+ (SCHEMA - public|COMMENT - SCHEMA public|ACL - SCHEMA \w+ postgres)\b")
TABLES = text(
    f"""
    SELECT n.nspname || '.' || c.relname AS name, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS quoted
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN (current_schema(), '{KEPT}') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e') ORDER BY 1
    """
)
SERVER = text(
    "SELECT current_schema() AS schema, current_setting('server_version') AS postgresql, coalesce((SELECT extversion"
    " FROM pg_extension WHERE extname = 'postgis'), '') AS postgis, to_regclass('timeline_head') IS NOT NULL AS chained"
)
HEADS = text("SELECT tenant_id, seq, encode(hash, 'hex') AS hash FROM timeline_head ORDER BY tenant_id")
OWNS = text(
    "SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = to_regclass('alembic_version')"
)
FORGOTTEN = text(
    f"SELECT datname FROM pg_database d WHERE datname LIKE '{SCRATCH}\\_%' AND pg_has_role(datdba, 'USAGE')"
    " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)"
)


def owner_url(url: str) -> URL:
    """Return the owner's address.

    Raises:
        Misconfigured: it is not set.
    """
    if not url:
        raise Misconfigured(
            "VIGIL_OWNER_DATABASE_URL is not set: a backup is taken, and put back, by the owner of the tables; "
            "set it to that login's address, or run `vigil up` first"
        )
    return make_url(database_url(url))


def check_owner(connection: Connection) -> None:
    """Check that there is a schema and that this login owns it.

    Raises:
        Refused: there is no schema.
        Misconfigured: the login does not own the tables.
    """
    owns = connection.execute(OWNS).scalar_one_or_none()
    where = connection.engine.url.database
    if owns is None:
        raise Refused(f"database {where} has no schema of Vigil's; `vigil migrate up` makes it")
    if not owns:
        raise Misconfigured(
            f"{connection.engine.url.username} does not own the tables of {where}, and sees only a part of them; "
            "set VIGIL_OWNER_DATABASE_URL to the owner's address"
        )


def facts(connection: Connection, *, say: Say = lambda _: None) -> SnapshotFacts:
    """Count the rows in the transaction of the connection: the rows of its snapshot."""
    server = connection.execute(SERVER).one()
    tables = {}
    for row in connection.execute(TABLES).all():
        say(f"counting {row.name}")
        tables[row.name] = int(connection.exec_driver_sql(f"SELECT count(*) FROM {row.quoted}").scalar_one())

    heads = connection.execute(HEADS).all() if server.chained else []
    return SnapshotFacts(
        schema=server.schema,
        revision=revisions.revision_of(connection) or "base",
        postgresql=server.postgresql,
        postgis=server.postgis,
        tables=tables,
        heads=[TimelineHead(row.tenant_id, row.seq, row.hash) for row in heads],
    )


def program(name: str, connection: Connection) -> Path:
    """Return pg_dump or pg_restore of the server's version, else the oldest newer one.

    Raises:
        Misconfigured: no fitting program is installed.
    """
    wanted = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    found = dict(sorted(_installed(name)))
    fitting = [version for version in found if version >= wanted]
    if fitting:
        return found[fitting[0]]
    have = f"{name} {max(found)} is older than the server" if found else f"{name} is not installed"
    raise Misconfigured(
        f"{have} (PostgreSQL {wanted}); install its client programs: apt-get install postgresql-client-{wanted}"
    )


def _installed(name: str) -> Iterator[tuple[int, Path]]:
    in_path = [Path(part) / name for part in os.environ.get("PATH", "").split(":") if part]
    listed = [path / name for pattern in DIRECTORIES for path in Path("/").glob(pattern[1:])]

    # The program in the path may be a distribution's wrapper. Prefer a version's own directory.
    for path in [*in_path, *listed]:
        if path.exists():
            said = subprocess.run(
                [path, "--version"], check=False, capture_output=True, text=True, timeout=30
            )
            if match := VERSION.search(said.stdout):
                yield int(match[1]), path


def dump(program: Path, url: URL, to: Path, *, within: str, options: Sequence[str], say: Say) -> None:
    """Dump all data of Vigil in this database into one file, which `restore` reads.

    `within` is the schema of its tables.
    """
    schemas = [f"--schema={name}" for name in (within, KEPT)]
    command = [str(program), "--format=custom", "--verbose", *schemas, "--exclude-table-data=spatial_ref_sys"]
    address, environment = _libpq(url)
    _run(
        [*command, *options, f"--file={to}", f"--dbname={address}"],
        environment,
        progress=lambda done: say(f"dumping: {done} tables, {_size(to):,} bytes"),
        counted="dumping contents of table",
    )


def restore(program: Path, file: Path, url: URL, *, options: Sequence[str] = (), say: Say) -> None:
    """Restore a dump into an empty database; everything then belongs to the database's owner.

    `say` is called with the progress.
    """
    with transaction(
        make_operator_engine(url.render_as_string(hide_password=False), name="restore")
    ) as connection:
        for extension in EXTENSIONS:
            _ensure(connection, extension)

    with tempfile.TemporaryDirectory(prefix="vigil-restore-") as directory:
        listed = Path(directory) / "contents"
        listed.write_text(_contents(program, file), encoding="utf-8")
        command = [str(program), "--no-owner", "--exit-on-error", "--verbose", f"--use-list={listed}"]
        address, environment = _libpq(url)
        _run(
            [*command, *options, f"--dbname={address}", str(file)],
            environment,
            progress=lambda done: say(f"restoring: {done} tables"),
            counted="processing data for table",
        )


def _contents(program: Path, file: Path) -> str:
    """Return the dump's contents, except objects that a new database has already.

    The owner of the database may not make those objects again.
    """
    done = subprocess.run([program, "--list", file], check=False, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Refused(f"{file} cannot be read as a dump: {done.stderr.strip()}")
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if not NOT_OURS.match(line))


def _ensure(connection: Connection, extension: str) -> None:
    try:
        connection.exec_driver_sql(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    except DBAPIError as error:
        raise Misconfigured(
            f"database {connection.engine.url.database} has no {extension}, and its owner may not add it "
            f"({reason_of(error)}); as a superuser: CREATE EXTENSION {extension}, there or in template1"
        ) from error


@contextmanager
def scratch_database(url: URL) -> Iterator[URL]:
    """Keep a scratch database on that server while the block lasts.

    A database that is left after a kill is dropped a day later.
    """
    name = f"{SCRATCH}_{int(time.time())}_{secrets.token_hex(3)}"
    _drop_forgotten(url)
    create_database(url, name)
    try:
        yield url.set(database=name)
    finally:
        drop_database(url, name)


def create_database(url: URL, name: str) -> None:
    """Create a database.

    Raises:
        Refused: this login may not create it.
    """
    try:
        _execute_aside(url, f'CREATE DATABASE "{name}"')
    except DBAPIError as error:
        raise Refused(
            f"database {name} cannot be made on {url.host}: {reason_of(error)}; as a superuser: ALTER ROLE "
            f"{url.username} CREATEDB, or name another server by --verify-url"
        ) from error


def drop_database(url: URL, name: str) -> None:
    _execute_aside(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _drop_forgotten(url: URL) -> None:
    with aside(url) as connection:
        for (name,) in connection.execute(FORGOTTEN).all():
            made_s = name.removeprefix(f"{SCRATCH}_").split("_")[0]
            if made_s.isdecimal() and time.time() - int(made_s) > FORGOTTEN_AFTER_S:
                connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}"')


def _execute_aside(url: URL, statement: str) -> None:
    with aside(url) as connection:
        connection.exec_driver_sql(statement)


@contextmanager
def aside(url: URL) -> Iterator[Connection]:
    """Yield a connection to the server's own database, outside of transactions.

    Statements about databases need such a connection.
    """
    address = url.set(database="postgres").render_as_string(hide_password=False)
    engine = make_operator_engine(address, name="backup")

    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except DBAPIError as error:
        raise Unavailable(f"PostgreSQL on {url.host}:{url.port}: {reason_of(error)}") from error

    try:
        yield connection
    finally:
        connection.close()


def _libpq(url: URL) -> tuple[str, dict[str, str]]:
    """Return the address without its password, and the environment that holds the password.

    Other users of the machine could see a password in the address.
    """
    password = {"PGPASSWORD": str(url.password)} if url.password else {}
    # URL.set() keeps the password when None is given, so the URL is built again without it.
    address = URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, url.query
    ).render_as_string(hide_password=False)
    return address, {**os.environ, **password, "PGAPPNAME": "vigil-backup", "LC_ALL": "C.UTF-8"}


def _run(
    command: Sequence[str], environment: Mapping[str, str], *, progress: Callable[[int], None], counted: str
) -> None:
    """Run a program to its end, without a time limit, as a large database may take long.

    End the program when this process is interrupted.
    """
    said: list[str] = []
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    assert process.stderr is not None
    reader = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
    reader.start()

    try:
        while True:
            try:
                process.wait(timeout=PROGRESS_S)
                break
            except subprocess.TimeoutExpired:
                progress(sum(counted in line for line in list(said)))
    finally:
        _end(process)
        reader.join(timeout=STOP_S)

    progress(sum(counted in line for line in said))
    if process.returncode != 0:
        raise _failure(Path(command[0]).name, process.returncode, said)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failure(name: str, code: int, said: Sequence[str]) -> Refused:
    errors = [line.strip() for line in said if "error:" in line] or [line.strip() for line in said[-1:]]
    reason = "; ".join(errors[:3]) or f"signal {-code}"
    if "No space left" in reason:
        reason += "; free some space there, or use --to with another directory"
    if code == -25:  # SIGXFSZ
        reason = "the file grew larger than this user's limit (ulimit -f)"
    return Refused(f"{name} failed: {reason}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
