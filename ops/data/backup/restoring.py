"""Restoring a backup.

An empty database is filled at once. A database that is in use is replaced by a swap that can be
undone.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from ops.data.backup import checking, installation, postgres
from ops.data.backup.manifest import DUMP, MANIFEST, Manifest, read_keys
from ops.data.backup.postgres import Say
from ops.data.backup.store import digest, write
from ops.data.schema import revisions
from ops.environment import read_env, write_env
from ops.servers.database import ALL_ROLES
from services.contracts.errors import Conflict, Misconfigured, NotFound, Refused
from services.platform.database import make_operator_engine, reason_of, transaction

DATABASES = text("SELECT 1 FROM pg_database WHERE datname = :name")
MISSING_ROLES = text(
    "SELECT role FROM unnest(CAST(:roles AS text[])) role WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)"
)
NOT_MEMBER_OF = text(
    "SELECT role FROM unnest(CAST(:roles AS text[])) role"
    " WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = :login) AND NOT pg_has_role(:login, role, 'MEMBER')"
)
SESSIONS = text(
    "SELECT coalesce(nullif(application_name, ''), usename::text) AS name, count(*) AS number FROM pg_stat_activity"
    " WHERE datname = :name AND application_name NOT IN ('vigil-backup', 'vigil-restore', 'vigil-migrate')"
    " GROUP BY 1 ORDER BY 1"
)
LONGEST_NAME = 63


class RestoreTarget(msgspec.Struct, frozen=True):
    """Target of a restore.

    Attributes:
        url: the database to restore into, with the owner's login.
        service_login: the login that will use the database.
        replace: whether existing data may be put aside.
    """

    url: URL
    service_login: str
    replace: bool = False


class RestoreResult(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    database: str
    rows: int
    revision: str
    put_aside: str
    notes: list[str]


def restore(directory: Path, target: RestoreTarget, *, say: Say) -> RestoreResult:
    """Restore a backup, verify it, and bring it up to this version.

    Every error says why the backup cannot be restored, and then nothing is changed.
    """
    manifest = checking.check_files(directory)
    if not any(manifest.facts.revision == known for known, _ in revisions.pending(None)):
        raise Refused(
            f"{manifest.name} has the schema {manifest.facts.revision}, which this version of Vigil does not know; "
            f"restore it with version {manifest.vigil_version} or a newer one"
        )

    notes = _check_roles(target)
    name = str(target.url.database)
    put_aside = ""
    if not _exists(target.url, name):
        _restore_new(directory, manifest, target.url, name, say=say)
    elif not _holds_something(target.url):
        _check_nobody_there(target.url, name)
        _fill(directory, manifest, target.url, options=["--single-transaction"], say=say)
    else:
        put_aside = _replace(directory, manifest, target, say=say)

    return RestoreResult(
        name=manifest.name,
        database=name,
        rows=sum(manifest.facts.tables.values()),
        revision=_revision(target.url),
        put_aside=put_aside,
        notes=notes,
    )


def _restore_new(directory: Path, manifest: Manifest, url: URL, name: str, *, say: Say) -> None:
    """Restore into a new database. It gets its name when it is whole, and is dropped on failure."""
    working = _beside(name, "restoring")
    postgres.create_database(url, working)
    try:
        _fill(directory, manifest, url.set(database=working), options=[f"--jobs={checking.JOBS}"], say=say)
        with postgres.aside(url) as connection:
            connection.exec_driver_sql(f'ALTER DATABASE "{working}" RENAME TO "{name}"')
    except BaseException:
        postgres.drop_database(url, working)
        raise


def _replace(directory: Path, manifest: Manifest, target: RestoreTarget, *, say: Say) -> str:
    """Restore beside the existing database, then swap the names.

    Returns:
        The name under which the old database was put aside.
    """
    name = str(target.url.database)
    if not target.replace:
        raise Conflict(
            f"database {name} is not empty; restore into another by --database NAME, or use --replace: then it is put "
            "aside under another name, and not dropped"
        )

    _check_nobody_there(target.url, name)
    fresh, old = _beside(name, "restored"), _beside(name, "before")
    _restore_new(directory, manifest, target.url, fresh, say=say)

    try:
        _check_nobody_there(target.url, name)
        with postgres.aside(target.url) as connection:
            swap = f'ALTER DATABASE "{name}" RENAME TO "{old}"; ALTER DATABASE "{fresh}" RENAME TO "{name}"'
            connection.exec_driver_sql(swap)  # two statements that are sent as one are one transaction
    except BaseException as error:
        postgres.drop_database(target.url, fresh)
        if isinstance(error, DBAPIError):
            raise Refused(f"{name} could not be put aside: {reason_of(error)}") from error
        raise

    return old


def _fill(directory: Path, manifest: Manifest, url: URL, *, options: list[str], say: Say) -> None:
    """Restore, compare, bring up to this version, and invalidate the caches."""
    program = checking.program_for(url, "pg_restore")
    postgres.restore(program, directory / DUMP, url, options=options, say=say)
    checking.check_database(url, manifest, say=say)
    owner = revisions.engine(url.render_as_string(hide_password=False))

    if manifest.facts.revision != revisions.newest():
        say(f"migrations, from {manifest.facts.revision} to {revisions.newest()}")
        revisions.up(owner)

    with transaction(owner) as connection:
        connection.exec_driver_sql("UPDATE registry_version SET version = version + 1")
        # A dump has no statistics. Without them, the planner can only guess.
        connection.exec_driver_sql("ANALYZE")


def _check_roles(target: RestoreTarget) -> list[str]:
    """Check that the roles which the backup grants rights to are there.

    Returns:
        Notes for the operator.
    """
    with postgres.aside(target.url) as connection:
        missing = [row[0] for row in connection.execute(MISSING_ROLES, {"roles": list(ALL_ROLES)})]
        made = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in missing)
        grant = f"GRANT {', '.join(ALL_ROLES)} TO {target.url.username}"

        if missing:
            raise Misconfigured(
                f"the server has no role {', '.join(missing)}, which the backup grants rights to; as a superuser: "
                f"{made}; {grant}{f', {target.service_login}' if target.service_login else ''}"
            )

        values = {"roles": list(ALL_ROLES), "login": target.service_login}
        lacking = [row[0] for row in connection.execute(NOT_MEMBER_OF, values)]

    if not lacking:
        return []

    return [
        f"{target.service_login} of DATABASE_URL is not a member of {', '.join(lacking)}; as a superuser: "
        f"GRANT {', '.join(lacking)} TO {target.service_login}"
    ]


def _check_nobody_there(url: URL, name: str) -> None:
    with postgres.aside(url) as connection:
        there = [f"{row.name} ({row.number})" for row in connection.execute(SESSIONS, {"name": name})]
    if there:
        raise Conflict(
            f"database {name} is in use by {', '.join(there)}; stop Vigil's services first (`vigil down`, then "
            "`vigil up --only-servers`; or systemctl stop), and close what else is connected"
        )


def _exists(url: URL, name: str) -> bool:
    with postgres.aside(url) as connection:
        return connection.execute(DATABASES, {"name": name}).first() is not None


def _holds_something(url: URL) -> bool:
    with transaction(
        make_operator_engine(url.render_as_string(hide_password=False), name="backup")
    ) as connection:
        return connection.execute(postgres.TABLES).first() is not None


def _revision(url: URL) -> str:
    with transaction(
        make_operator_engine(url.render_as_string(hide_password=False), name="backup")
    ) as connection:
        return str(revisions.revision_of(connection))


def _beside(name: str, what: str) -> str:
    stamp = f"_{what}_{datetime.now(UTC):%Y%m%d%H%M%S}"
    return name[: LONGEST_NAME - len(stamp)] + stamp


def restore_broker(directory: Path, to: Path) -> list[str]:
    """Copy the broker's files of a backup into its directory, and keep the old files beside them.

    Returns:
        A line for each file that was written.
    """
    source = directory / "broker"
    if not source.is_dir():
        raise NotFound(f"{directory} holds no broker's definitions; its manifest says why")
    names = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    return [_put(source / name, to / name) for name in names]


def restore_keys(keys: Path, home: Path) -> list[str]:
    """Copy the part of a key set that belongs to the data into the home.

    Returns:
        Lines on what was done, and what is left to do by hand.
    """
    listed = keys / MANIFEST
    if not listed.exists():
        raise NotFound(f"{keys} is not a key set: it has no {MANIFEST}")

    done = []
    for file in read_keys(listed.read_bytes(), where=str(listed)).files:
        path = keys / file.name
        if not path.exists() or digest(path) != file.sha256:
            raise Refused(f"{path} is missing or not what was written; use another key set")
        if file.home_name == "secrets.env":
            done.append(_merge_secrets(path, home / file.home_name))
        elif file.home_name:
            done.append(_put(path, home / file.home_name))
        else:
            done.append(f"left where it is: {path} (was {file.was_at})")

    return done


def _merge_secrets(path: Path, to: Path) -> str:
    """Merge only the secrets of the data. The passwords of this machine's servers stay."""
    kept = {name: value for name, value in read_env(path).items() if name in installation.OF_DATA}
    write_env(to, read_env(to) | kept)
    return f"wrote {', '.join(kept)} into {to}"


def _put(path: Path, to: Path) -> str:
    data = path.read_bytes()
    if to.exists() and to.read_bytes() != data:
        aside = to.with_name(f"{to.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        to.rename(aside)
        write(to, data)
        return f"wrote {to}; what was there is {aside.name}"
    write(to, data)
    return f"wrote {to}"


def answers(host: str, port: int) -> bool:
    """Return whether a broker listens at this address."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False
