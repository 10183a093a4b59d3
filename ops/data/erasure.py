"""Erasure of a person: deletes rows of a guard, contact or user, or replaces names by a pseudonym.

It is one transaction with the owner's rights, so all of it happens or nothing. A dry run is the
same transaction, rolled back. `docs/privacy.md` says for each table what happens to its rows.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, text

from services.contracts.errors import NotFound, Refused
from services.contracts.events import LIFE_SAFETY
from services.platform.database import Database

Kind = Literal["guard", "contact", "user"]
OPEN = "('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS')"

FIND = {
    "guard": "SELECT guard_id AS key, guard_id, name, credential, ARRAY(SELECT t ->> 'number' FROM guard_profile p,"
    " jsonb_array_elements(CASE jsonb_typeof(p.profile -> 'telephones') WHEN 'array' THEN p.profile -> 'telephones'"
    " ELSE '[]' END) t WHERE p.tenant_id = g.tenant_id AND p.guard_id = g.guard_id) AS telephones FROM guard g"
    " WHERE tenant_id = :tenant AND (guard_id = :name OR name = :name)",
    "contact": "SELECT contact_id::text AS key, name, email, phone, push_token, url FROM contact"
    " WHERE tenant_id = :tenant AND name = :name",
    "user": "SELECT user_id::text AS key, login, name FROM app_user"
    " WHERE tenant_id = :tenant AND (login = :name OR name = :name)",
}
# Names of places and of the company are not names of a person. Templates are not written by one
# person.
NOT_SWEPT = (
    "tenant",
    "site",
    "zone",
    "zone_version",
    "guard_group",
    "message_template",
    "alert_timeline",
    "timeline_erased",
    "timeline_head",
    "retention_policy",
    "erasure",
)
OF_A_GUARD = (
    "mqtt_guard_location",
    "guard_state",
    "guard_shift",
    "guard_group_member",
    "zone_transition",
    "track_checkpoint",
    "implausible_fix",
    "guard_silence",
    "guard_profile",
)
# Ids of other sources: keys that other rows refer to.
NOT_REPLACED = ("device_id", "sensor_id", "system_id", "guard_id", "source_key")
COLUMNS = text(
    """
    SELECT c.table_name, c.column_name,
           CASE WHEN c.data_type = 'ARRAY' THEN ltrim(c.udt_name, '_') || '[]' ELSE c.udt_name END AS type
    FROM information_schema.columns c JOIN pg_class p ON p.relname = c.table_name
    WHERE c.table_schema = current_schema() AND p.relnamespace = current_schema()::regnamespace
      AND p.relkind IN ('r', 'p') AND NOT p.relispartition AND c.udt_name IN ('text', '_text', 'json', 'jsonb')
      AND EXISTS (SELECT FROM information_schema.columns t WHERE t.table_schema = c.table_schema
                  AND t.table_name = c.table_name AND t.column_name = 'tenant_id')
      AND NOT c.table_name = ANY(:tables) AND NOT c.column_name = ANY(:columns)
    ORDER BY 1, 2
    """
)


class ErasureCount(NamedTuple):
    """Number of rows of a table that were deleted, replaced by the pseudonym, blanked or kept."""

    table: str
    what: str
    rows: int


class ErasedPerson(NamedTuple):
    kind: Kind
    tenant_id: int
    key: str
    words: tuple[str, ...]
    """Words that identify the person: id, name, addresses."""
    credential: bool = False


class Erasure:
    """Erases one person within a connection's transaction; `say` is called at each step."""

    def __init__(
        self, connection: Connection, person: ErasedPerson, pseudonym: str, say: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._person = person
        self._say = say
        self._values = {
            "tenant": person.tenant_id,
            "key": person.key,
            "p": pseudonym,
            "words": list(person.words),
            "pattern": pattern_of(person.words),
        }
        self.counts: list[ErasureCount] = []

    def run(self, *, force: bool, with_alerts: bool) -> None:
        """Erase the person.

        Raises:
            Refused: something about the person is still in progress, or on hold.
        """
        self._check_nothing_held()
        self._check_no_emergency()
        if not force:
            self._check_nothing_open()
        with self._zones_as_they_are():
            self._erase(with_alerts=with_alerts)
        self._note()

    def _erase(self, *, with_alerts: bool) -> None:
        getattr(self, f"_{self._person.kind}")()
        self._timeline(with_alerts=with_alerts)
        self._refused_messages()
        self._sealed_texts()

        for table, column, kind in self._run_query(
            COLUMNS, tables=list(NOT_SWEPT), columns=list(NOT_REPLACED)
        ):
            self._sweep(table, column, kind)

        for table in ("zone", "zone_version"):
            self._sweep(table, "changed_by", "text")

    @contextmanager
    def _zones_as_they_are(self) -> Iterator[None]:
        """Stop the trigger that numbers versions of zones: a pseudonym makes no new version.

        Other sessions can change zones again when this transaction ends. The block comes before all
        other changes, because they take the locks that it needs.
        """
        concerned = (
            "SELECT count(*) FROM zone WHERE tenant_id = :tenant"
            " AND (guard_id = :key OR changed_by ~* :pattern)"
        )
        if not self._connection.execute(text(concerned), self._values).scalar_one():
            yield
            return

        self._execute("ALTER TABLE zone DISABLE TRIGGER zone_numbered")
        yield
        self._execute("ALTER TABLE zone ENABLE TRIGGER zone_numbered")

    def _check_nothing_held(self) -> None:
        """Check that no alert of the person is on hold as evidence.

        Nobody may erase evidence, so the hold must be released first.
        """
        query = (
            "SELECT count(*) FROM alert_hold h JOIN mqtt_device_alert a USING (tenant_id, alert_id)"
            " WHERE h.tenant_id = :tenant AND (a.source_id = :key OR a.carried_by = :key)"
        )
        count = self._connection.execute(text(query), self._values).scalar_one()
        if self._person.kind == "guard" and count:
            raise Refused(
                f"{count} alerts of this person are on hold as evidence; `vigil alert release ID` lets go of one"
            )

    def _check_no_emergency(self) -> None:
        """Check that no life-safety alert is open.

        The person may be in danger, so --force does not skip this check.
        """
        query = (
            "SELECT count(*) FROM mqtt_device_alert WHERE tenant_id = :tenant"
            f" AND (source_id = :key OR carried_by = :key) AND status IN {OPEN} AND alert_type = ANY(:grave)"
        )
        values = {**self._values, "grave": sorted(LIFE_SAFETY)}

        count = self._connection.execute(text(query), values).scalar_one()
        if self._person.kind == "guard" and count:
            raise Refused(
                f"this person has {count} open life-safety alerts; resolve them first, --force does not"
            )

    def _check_nothing_open(self) -> None:
        if self._person.kind == "guard":
            query = (
                "SELECT count(*) FROM mqtt_device_alert WHERE tenant_id = :tenant"
                f" AND (source_id = :key OR carried_by = :key) AND status IN {OPEN}"
            )
            what = "open alerts"
        else:
            query = (
                "SELECT count(*) FROM notification WHERE tenant_id = :tenant AND state IN ('pending', 'attempting')"
                " AND (recipient = ANY(:words) OR name = ANY(:words))"
            )
            what = "notifications on their way"

        count = self._connection.execute(text(query), self._values).scalar_one()
        if count:
            raise Refused(f"there are {count} {what} of this person; end them first, or use --force")

        on_shift = (
            "SELECT count(*) FROM guard_shift WHERE tenant_id = :tenant AND guard_id = :key"
            " AND now() >= starts_at AND now() < ends_at"
        )
        if (
            self._person.kind == "guard"
            and self._connection.execute(text(on_shift), self._values).scalar_one()
        ):
            raise Refused(f"{self._person.key} is on shift; wait for its end, or use --force")

        query = "SELECT count(*) FROM owed_event WHERE tenant_id = :tenant AND :key = ANY(sources)"
        if self._connection.execute(text(query), self._values).scalar_one():
            raise Refused("events about this person are being published; try again in a few seconds")

    def _guard(self) -> None:
        self._do("mqtt_device_alert", "deleted", "(source_id = :key OR carried_by = :key)")
        for table in OF_A_GUARD:
            self._do(table, "deleted", "guard_id = :key")

        self._do("profile_change", "deleted", "kind = 'guard' AND subject = :key")
        # The row goes on under the pseudonym, so the carriers of a device can still be counted.
        self._execute(
            "INSERT INTO guard (guard_id, tenant_id, name, enabled, registered_by)"
            " VALUES (:p, :tenant, :p, false, 'erasure')"
        )

        self._do(
            "device_carrier", "replaced", "guard_id = :key", "guard_id = :p, until = coalesce(until, now())"
        )

        # A zone for this guard only must not become a zone for everybody.
        for table in ("zone", "zone_version"):
            self._do(table, "replaced", "guard_id = :key", "guard_id = :p")

        self._execute("DELETE FROM guard WHERE tenant_id = :tenant AND guard_id = :key")
        self.counts.append(ErasureCount("guard", "replaced", 1))

    def _contact(self) -> None:
        self._do("contact", "deleted", "contact_id = CAST(:key AS integer)")
        self._count(
            "sms_answer", "deleted", self._execute("DELETE FROM sms_answer WHERE phone = ANY(:words)")
        )
        self._blank_notifications()

    def _user(self) -> None:
        self._do("user_session", "deleted", "user_id = CAST(:key AS integer)")
        self._do("operator_presence", "deleted", "name = ANY(:words)")
        self._do(
            "app_user",
            "replaced",
            "user_id = CAST(:key AS integer)",
            "login = :p, name = :p, password_hash = '', enabled = false, changed_at = now()",
        )
        self._blank_notifications()

    def _blank_notifications(self) -> None:
        self._do(
            "notification",
            "blanked",
            "(recipient = ANY(:words) OR name = ANY(:words))",
            "recipient = :p, name = :p, subject = '', body = '', html = '', words = '{}', failover = '[]', error = '',"
            " provider_ref = NULL, sealed = NULL, code_hash = NULL,"
            " state = CASE WHEN state IN ('pending', 'attempting') THEN 'withdrawn' ELSE state END",
        )

    def _sealed_texts(self) -> None:
        """Mark sealed texts that name the person.

        They are written again from the row, which will name the pseudonym.
        """
        self._do(
            "notification",
            "replaced",
            "sealed IS NOT NULL AND concat_ws(' ', subject, body, html, words::text) ~* :pattern",
            "sealed = ''",
        )

    def _timeline(self, *, with_alerts: bool) -> None:
        """Keep timeline rows as they are, because they are sealed, or delete their alerts whole.

        Deleted alerts leave digests of their rows.
        """
        named = "(t.by ~* :pattern OR t.note ~* :pattern)"
        if with_alerts:
            self._do(
                "mqtt_device_alert",
                "deleted",
                f"status NOT IN {OPEN} AND alert_id NOT IN (SELECT alert_id FROM alert_hold) AND alert_id IN"
                f" (SELECT t.alert_id FROM alert_timeline t WHERE t.tenant_id = :tenant AND {named})",
            )

        query = f"SELECT count(*) FROM alert_timeline t WHERE t.tenant_id = :tenant AND {named}"
        kept = self._connection.execute(text(query), self._values).scalar_one()
        if kept:
            self.counts.append(ErasureCount("alert_timeline", "kept", kept))

    def _refused_messages(self) -> None:
        """Delete refused messages that name the person.

        Bytes that cannot be read cannot be changed.
        """
        self._say("rejected_message")
        found = self._execute(
            "DELETE FROM rejected_message WHERE (tenant_id = :tenant OR tenant_id IS NULL) AND ("
            " source_id = ANY(:words) OR topic ~* :pattern OR detail ~* :pattern OR EXISTS ("
            " SELECT FROM unnest(:words) w WHERE position(convert_to(w, 'UTF8') IN payload) > 0))"
        )

        self._count("rejected_message", "deleted", found)
        found = self._execute(
            "UPDATE alert_occurrence SET unreadable = NULL WHERE tenant_id = :tenant AND EXISTS ("
            " SELECT FROM unnest(:words) w WHERE position(convert_to(w, 'UTF8') IN unreadable) > 0)"
        )
        self._count("alert_occurrence", "blanked", found)

    def _sweep(self, table: str, column: str, kind: str) -> None:
        """Replace the person by the pseudonym in a text column of the tenant."""
        self._say(f"{table}.{column}")
        name = f'"{column}"'
        found = self._execute(
            f"UPDATE {table} SET {name} = CAST(regexp_replace(CAST({name} AS text), :pattern, :p, 'gi') AS {kind})"
            f" WHERE tenant_id = :tenant AND CAST({name} AS text) ~* :pattern"
        )
        self._count(table, "replaced", found)

    def _note(self) -> None:
        told = [count._asdict() for count in self.counts]
        query = (
            "INSERT INTO erasure (erasure_id, tenant_id, kind, pseudonym, counts)"
            " VALUES (:id, :tenant, :kind, :p, CAST(:counts AS jsonb))"
        )
        further = {"id": uuid4(), "kind": self._person.kind, "counts": json.dumps(told)}
        self._connection.execute(text(query), {**self._values, **further})

    def _do(self, table: str, what: str, where: str, change: str = "") -> None:
        self._say(table)
        verb = f"UPDATE {table} SET {change}" if change else f"DELETE FROM {table}"
        self._count(table, what, self._execute(f"{verb} WHERE tenant_id = :tenant AND {where}"))

    def _execute(self, statement: str) -> int:
        return self._connection.execute(text(statement), self._values).rowcount

    def _run_query(self, query: Any, **values: object) -> list[Any]:
        return list(self._connection.execute(query, values))

    def _count(self, table: str, what: str, rows: int) -> None:
        if rows:
            self.counts.append(ErasureCount(table, what, rows))


def find(database: Database, kind: Kind, name: str, *, tenant_id: int) -> ErasedPerson:
    """Find a person by name or id.

    Raises:
        NotFound: nobody has the name.
        Refused: several have the name.
    """
    with database.across() as connection:
        rows = [
            dict(row)
            for row in connection.execute(text(FIND[kind]), {"tenant": tenant_id, "name": name}).mappings()
        ]

    if not rows:
        raise NotFound(f"no {kind} {name!r} in tenant {tenant_id}")
    if len(rows) > 1:
        raise Refused(f"{len(rows)} bear the name {name!r}; give the id: {', '.join(r['key'] for r in rows)}")

    [row] = rows
    key, credential = row.pop("key"), bool(row.pop("credential", None))
    telephones = row.pop("telephones", [])
    words = tuple(
        sorted(
            {str(value) for value in (*row.values(), *telephones) if value},
            key=lambda word: (-len(word), word),
        )
    )

    return ErasedPerson(kind, tenant_id, key, words, credential)


def erase(
    database: Database,
    person: ErasedPerson,
    *,
    dry_run: bool = False,
    force: bool = False,
    with_alerts: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[ErasureCount]:
    """Erase the person, and return what happened to the rows of each table.

    Raises:
        Refused: something about the person is still in progress, or on hold.
        Unavailable: the database does not answer.
    """
    with database.across() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        with connection.begin_nested() as all_of_it:
            erasure = Erasure(connection, person, f"erased-{secrets.token_hex(4)}", say)
            erasure.run(force=force, with_alerts=with_alerts)
            if dry_run:
                all_of_it.rollback()
    return _added_up(erasure.counts)


def pattern_of(words: tuple[str, ...]) -> str:
    """Return a regular expression of PostgreSQL for the words, plain or as JSON writes them.

    A word does not match as a part of another word: guard-12 is not in guard-123.
    """
    forms = {
        form
        for word in words
        for form in (word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1])
    }
    escaped = [
        re.sub(r"([^\w])", r"\\\1", form) for form in sorted(forms, key=lambda form: (-len(form), form))
    ]
    return f"(?<![[:alnum:]_-])({'|'.join(escaped)})(?![[:alnum:]_-])"


def _added_up(counts: list[ErasureCount]) -> list[ErasureCount]:
    sums: dict[tuple[str, str], int] = {}
    for count in counts:
        sums[count.table, count.what] = sums.get((count.table, count.what), 0) + count.rows
    return [ErasureCount(table, what, rows) for (table, what), rows in sums.items()]
