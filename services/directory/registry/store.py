"""SQL of the registry: adding, listing, enabling and disabling of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from services.contracts.errors import Conflict, NotFound, Refused
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.directory.registry import offline_limit
from services.directory.registry.source_ids import NOT_FREE
from services.outgoing.contact_addresses import check_contact, masked_contact
from services.platform.database import Database

MAX_LISTED = 100_000
LISTS = {
    "tenant": "SELECT tenant_id, name, settings, created_at FROM tenant",
    "site": "SELECT site_id, tenant_id, name, time_zone, ST_Y(location::geometry) AS lat,"
    " ST_X(location::geometry) AS lon FROM site WHERE tenant_id = :tenant_id",
    "guard": "SELECT guard_id, tenant_id, site_id, name, enabled, registered_by, credential, credential_at FROM guard"
    " WHERE tenant_id = :tenant_id",
    "device": "SELECT device_id, tenant_id, site_id, name, family, enabled, registered_by, credential, credential_at,"
    " silence_limit_s,"
    " (SELECT guard_id FROM device_carrier c WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id"
    " AND until IS NULL) AS carried_by"
    " FROM device d WHERE tenant_id = :tenant_id",
    "user": "SELECT user_id, tenant_id, login, name, role, enabled FROM app_user"
    " WHERE tenant_id = :tenant_id",
    "group": "SELECT group_id, tenant_id, name, (SELECT array_agg(guard_id ORDER BY guard_id) FROM guard_group_member m"
    " WHERE m.tenant_id = g.tenant_id AND m.group_id = g.group_id) AS guards"
    " FROM guard_group g WHERE tenant_id = :tenant_id",
    "shift": "SELECT shift_id, tenant_id, guard_id, starts_at, ends_at FROM guard_shift WHERE tenant_id = :tenant_id",
    "contact": "SELECT contact_id, tenant_id, site_id, name, email, phone, push_token, url, language, note FROM contact"
    " WHERE tenant_id = :tenant_id",
}
ORDERS = {
    "tenant": ListOrder((("tenant_id", "bigint"),)),
    "site": ListOrder((("site_id", "bigint"),)),
    "guard": ListOrder((("guard_id", "text"),)),
    "device": ListOrder((("device_id", "text"),)),
    "user": ListOrder((("user_id", "bigint"),)),
    "group": ListOrder((("group_id", "bigint"),)),
    "shift": ListOrder((("starts_at", "timestamptz"), ("shift_id", "bigint")), descending=True),
    "contact": ListOrder((("contact_id", "bigint"),)),
}
SHOWN: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"contact": masked_contact}
"""Functions that mask the secrets of a row. Secrets are written and never read back."""
INSERTS = {
    "tenant": "INSERT INTO tenant (tenant_id, name) VALUES (:tenant_id, :name) RETURNING tenant_id",
    "site": "INSERT INTO site (tenant_id, name, time_zone, location) VALUES (:tenant_id, :name, :time_zone,"
    " ST_SetSRID(ST_MakePoint(CAST(:lon AS float8), CAST(:lat AS float8)), 4326)::geography) RETURNING site_id",
    "guard": "INSERT INTO guard (guard_id, tenant_id, site_id, name) VALUES (:guard_id, :tenant_id, :site_id, :name)"
    " RETURNING guard_id",
    "device": "INSERT INTO device (device_id, tenant_id, site_id, name, family)"
    " VALUES (:device_id, :tenant_id, :site_id, :name, :family) RETURNING device_id",
    "user": "INSERT INTO app_user (tenant_id, login, name, role, password_hash)"
    " VALUES (:tenant_id, :login, :name, :role, :password_hash) RETURNING user_id",
    "group": "INSERT INTO guard_group (tenant_id, name) VALUES (:tenant_id, :name) RETURNING group_id",
    "shift": "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
    " VALUES (:tenant_id, :guard_id, :starts_at, :ends_at) RETURNING shift_id",
    "contact": "INSERT INTO contact (tenant_id, site_id, name, email, phone, push_token, url, language, note)"
    " VALUES (:tenant_id, :site_id, :name, :email, :phone, :push_token, :url, :language, :note) RETURNING contact_id",
}
# (table, key column, further changes of a switch besides `enabled`)
KEYS = {
    "guard": ("guard", "guard_id", ""),
    "device": ("device", "device_id", ""),
    "user": ("app_user", "login", ", changed_at = now()"),
}
SOURCES = ("guard", "device")
OF_THE_PLATFORM = ("tenant", "user")
"""Kinds that only the owner's rights can change. No service may change them."""
CONTACT_FIELDS = ("email", "phone", "push_token", "url", "language", "note", "site_id")
"""Fields of a contact that can be changed."""
CONTACT = text(
    f"SELECT {', '.join(CONTACT_FIELDS)} FROM contact WHERE tenant_id = :tenant_id AND name = :name FOR UPDATE"
)
CHANGE_CONTACT = text(
    f"UPDATE contact SET {', '.join(f'{field} = :{field}' for field in CONTACT_FIELDS)}"
    " WHERE tenant_id = :tenant_id AND name = :name"
)
CARRIERS = text(
    "SELECT device_id, guard_id, since, until FROM device_carrier"
    " WHERE tenant_id = :tenant_id AND device_id = :device_id ORDER BY since DESC LIMIT :limit"
)
RELEASE = text(
    "UPDATE device_carrier SET until = greatest(since, :at)"
    " WHERE tenant_id = :tenant_id AND device_id = :device_id AND until IS NULL"
)
SET_SILENCE_LIMIT = text(
    "UPDATE device SET silence_limit_s = :limit_s WHERE tenant_id = :tenant_id AND device_id = :device_id"
)
ASSIGN = text(
    "INSERT INTO device_carrier (tenant_id, device_id, guard_id, since) VALUES (:tenant_id, :device_id, :guard_id, :at)"
)


class DirectoryStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, what: str, /, **values: Any) -> Any:
        """Add a row of `INSERTS`, and return its id. Raises `Conflict`, `NotFound`."""
        with self._telling(what), self._transaction(what, values["tenant_id"]) as connection:
            return connection.execute(text(INSERTS[what]), values).scalar_one()

    def list_rows(
        self, kind: str, *, tenant_id: int | None, limit: int = 1000, after: Sequence[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return rows in the order of `ORDERS`, from the place `after` on. Raises `Refused`."""
        check_limit(limit, most=MAX_LISTED)
        order = ORDERS[kind]
        further, place = beyond(order, after)
        query = text(f"SELECT * FROM ({LISTS[kind]}) listed WHERE {further} {order.clause} LIMIT :limit")
        with self._transaction(kind, tenant_id) as connection:
            found = connection.execute(query, {"tenant_id": tenant_id, "limit": limit, **place})
            shown = SHOWN.get(kind, dict[str, Any])
            return [shown(dict(row._mapping)) for row in found]

    def get_row(self, kind: str, key: str, *, tenant_id: int) -> dict[str, Any]:
        """Return one of the rows that `list_rows` returns. Raises `NotFound`."""
        _, column, _ = KEYS[kind]
        query = text(f"SELECT * FROM ({LISTS[kind]}) listed WHERE {column} = :key")
        with self._transaction(kind, tenant_id) as connection:
            row = connection.execute(query, {"tenant_id": tenant_id, "key": key}).one_or_none()
        if row is None:
            raise NotFound(f"no {kind} {key!r} in tenant {tenant_id}")
        return dict(row._mapping)

    def set_enabled(self, kind: str, key: str, *, tenant_id: int, enabled: bool) -> None:
        """Enable or disable a row. Raises `NotFound`."""
        table, column, further = KEYS[kind]
        query = text(
            f"UPDATE {table} SET enabled = :enabled{further} WHERE {column} = :key AND tenant_id = :tenant_id"
        )
        with self._transaction(kind, tenant_id) as connection:
            values = {"enabled": enabled, "key": key, "tenant_id": tenant_id}
            if connection.execute(query, values).rowcount == 0:
                raise NotFound(f"no {kind} {key!r} in tenant {tenant_id}")

    def list_users(
        self, *, tenant_id: int, limit: int = 1000, after: Sequence[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return users who log in, without anything about their passwords."""
        check_limit(limit, most=MAX_LISTED)
        further, place = beyond(ORDERS["user"], after)
        query = text(
            f"SELECT * FROM ({LISTS['user']}) listed WHERE {further} {ORDERS['user'].clause} LIMIT :limit"
        )
        with self._database.of(tenant_id) as connection:
            found = connection.execute(query, {"tenant_id": tenant_id, "limit": limit, **place})
            return [dict(row._mapping) for row in found]

    def source(self, kind: str, key: str, *, tenant_id: int) -> dict[str, Any]:
        """Return a guard or device of the tenant. Raises `NotFound`."""
        table, column, _ = KEYS[kind]
        family = "'guard' AS family" if kind == "guard" else "family"
        query = text(
            f"SELECT {column} AS source_id, {family}, enabled, credential, name, site_id FROM {table}"
            f" WHERE {column} = :key AND tenant_id = :tenant_id"
        )

        with self._database.of(tenant_id) as connection:
            row = connection.execute(query, {"key": key, "tenant_id": tenant_id}).one_or_none()

        if row is None:
            raise NotFound(f"no {kind} {key!r} in tenant {tenant_id}")

        return dict(row._mapping)

    def describe(
        self, kind: str, key: str, *, tenant_id: int, name: str | None = None, site_id: int | None = None
    ) -> None:
        """Set the name or site of a guard or device. None leaves the value. Raises `NotFound`."""
        table, column, _ = KEYS[kind]
        query = text(
            f"UPDATE {table} SET name = coalesce(:name, name), site_id = coalesce(:site_id, site_id)"
            f" WHERE {column} = :key AND tenant_id = :tenant_id"
        )
        values = {"key": key, "tenant_id": tenant_id, "name": name, "site_id": site_id}
        with self._telling(f"site {site_id}"), self._database.of(tenant_id) as connection:
            if connection.execute(query, values).rowcount == 0:
                raise NotFound(f"no {kind} {key!r} in tenant {tenant_id}")

    def set_credential(self, kind: str, key: str, *, tenant_id: int, credential: str) -> None:
        """Record the kind of the credential that the broker holds for a source from now on."""
        table, column, _ = KEYS[kind]
        query = text(
            f"UPDATE {table} SET credential = :credential, credential_at = now()"
            f" WHERE {column} = :key AND tenant_id = :tenant_id"
        )
        with self._database.of(tenant_id) as connection:
            connection.execute(query, {"credential": credential, "key": key, "tenant_id": tenant_id})

    def set_silence_limit(self, device_id: str, silence_limit_s: float | None, *, tenant_id: int) -> None:
        """Set the seconds without a message after which a device is OFFLINE.

        They count from now on. Raises `NotFound`, `Refused`.

        Args:
            device_id: The device.
            silence_limit_s: None for the limit of the device's family, 0 for never.
            tenant_id: The tenant.
        """
        offline_limit.check(silence_limit_s)
        values = {"tenant_id": tenant_id, "device_id": device_id, "limit_s": silence_limit_s}
        with self._database.of(tenant_id) as connection:
            if connection.execute(SET_SILENCE_LIMIT, values).rowcount == 0:
                raise NotFound(f"no device {device_id!r} in tenant {tenant_id}")

    def assign(self, device_id: str, guard_id: str, *, tenant_id: int, at: datetime) -> None:
        """Assign a device to a guard, who alone carries it from `at` on. Raises `NotFound`."""
        values = {"tenant_id": tenant_id, "device_id": device_id, "guard_id": guard_id, "at": at}
        with (
            self._telling(f"device {device_id!r} or guard {guard_id!r}"),
            self._database.of(tenant_id) as connection,
        ):
            connection.execute(RELEASE, values)
            connection.execute(ASSIGN, values)

    def release(self, device_id: str, *, tenant_id: int, at: datetime) -> None:
        """End the assignment of a device. Raises `NotFound` when nobody carries it."""
        values = {"tenant_id": tenant_id, "device_id": device_id, "at": at}
        with self._database.of(tenant_id) as connection:
            if connection.execute(RELEASE, values).rowcount == 0:
                raise NotFound(f"no guard carries device {device_id!r} of tenant {tenant_id}")

    def carriers(self, device_id: str, *, tenant_id: int, limit: int = 100) -> list[dict[str, Any]]:
        """Return the guards who carried a device, with their times, newest first."""
        values = {
            "tenant_id": tenant_id,
            "device_id": device_id,
            "limit": check_limit(limit, most=MAX_LISTED),
        }
        with self._database.of(tenant_id) as connection:
            return [dict(row._mapping) for row in connection.execute(CARRIERS, values)]

    def set_member(self, group: str, guard_id: str, *, tenant_id: int, member: bool) -> None:
        """Put a guard into a group, or take the guard out. Raises `NotFound`."""
        values = {"tenant_id": tenant_id, "name": group, "guard_id": guard_id}
        with self._telling(f"guard {guard_id!r}"), self._database.of(tenant_id) as connection:
            query = text("SELECT group_id FROM guard_group WHERE tenant_id = :tenant_id AND name = :name")
            group_id = connection.execute(query, values).scalar_one_or_none()
            if group_id is None:
                raise NotFound(f"no group {group!r} in tenant {tenant_id}")

            statement = (
                "INSERT INTO guard_group_member (tenant_id, group_id, guard_id)"
                " VALUES (:tenant_id, :group_id, :guard_id) ON CONFLICT DO NOTHING"
                if member
                else "DELETE FROM guard_group_member"
                " WHERE tenant_id = :tenant_id AND group_id = :group_id AND guard_id = :guard_id"
            )
            connection.execute(text(statement), values | {"group_id": group_id})

    def change_contact(self, name: str, changes: Mapping[str, Any], *, tenant_id: int) -> None:
        """Set fields of a contact.

        Raises `NotFound`, and `Refused` naming the address that is wrong. A secret in the form in
        which lists show it stays as it was.
        """
        values = {"tenant_id": tenant_id, "name": name}
        with self._telling("contact"), self._database.of(tenant_id) as connection:
            row = connection.execute(CONTACT, values).mappings().one_or_none()
            if row is None:
                raise NotFound(f"no contact {name!r} in tenant {tenant_id}")

            before = dict(row)
            shown = masked_contact(before)
            given = {f: v for f, v in changes.items() if f not in ("push_token", "url") or v != shown[f]}
            after = before | given
            addresses = {field: after[field] for field in ("email", "phone", "push_token", "url")}
            check_contact(**addresses, only=given)
            connection.execute(CHANGE_CONTACT, values | after)

    def remove_contact(self, name: str, *, tenant_id: int) -> None:
        """Remove a contact. Raises `NotFound`."""
        query = text("DELETE FROM contact WHERE tenant_id = :tenant_id AND name = :name")
        with self._database.of(tenant_id) as connection:
            if connection.execute(query, {"tenant_id": tenant_id, "name": name}).rowcount == 0:
                raise NotFound(f"no contact {name!r} in tenant {tenant_id}")

    def remove_shift(self, shift_id: int, *, tenant_id: int) -> None:
        """Remove a shift. Raises `NotFound`."""
        query = text("DELETE FROM guard_shift WHERE tenant_id = :tenant_id AND shift_id = :shift_id")
        with self._database.of(tenant_id) as connection:
            if connection.execute(query, {"tenant_id": tenant_id, "shift_id": shift_id}).rowcount == 0:
                raise NotFound(f"no shift {shift_id} in tenant {tenant_id}")

    def set_tenant(self, setting: str, value: bool, *, tenant_id: int) -> None:
        """Change a setting of a tenant. It needs the owner's rights. Raises `NotFound`."""
        query = text(
            "UPDATE tenant SET settings = settings || jsonb_build_object(CAST(:setting AS text), CAST(:value AS bool))"
            " WHERE tenant_id = :tenant_id"
        )
        with self._database.across() as connection:
            values = {"tenant_id": tenant_id, "setting": setting, "value": value}
            if connection.execute(query, values).rowcount == 0:
                raise NotFound(f"no tenant {tenant_id}")

    def has_shift(self, *, tenant_id: int) -> bool:
        """Return whether a guard of the tenant has a shift that is not over."""
        query = text(
            "SELECT EXISTS (SELECT FROM guard_shift WHERE tenant_id = :tenant_id AND ends_at > now())"
        )
        with self._database.of(tenant_id) as connection:
            return bool(connection.execute(query, {"tenant_id": tenant_id}).scalar_one())

    def check(self) -> None:
        """Check that the database answers. Raises `Unavailable`."""
        with self._database.people() as connection:
            connection.execute(text("SELECT 1"))

    def _transaction(self, kind: str, tenant_id: int | None) -> AbstractContextManager[Connection]:
        if tenant_id is None or kind in OF_THE_PLATFORM:
            return self._database.across()
        return self._database.of(tenant_id)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Convert errors of the database into errors for the caller."""
        try:
            yield
        except IntegrityError as error:
            name = type(error.orig).__name__
            if name == "ForeignKeyViolation":
                raise NotFound(f"{what}: its tenant has no such thing, or there is no such tenant") from error
            if name == "ExclusionViolation":
                raise Conflict(f"a {what} of that guard overlaps it") from error
            if name == "CheckViolation" and what == "shift":
                raise Refused("a shift ends after it starts, and within 48 hours") from error
            if name == "UniqueViolation" and what in SOURCES:
                raise Conflict(NOT_FREE) from error
            if name == "UniqueViolation":
                raise Conflict(f"a {what} of that name or id exists already") from error

            raise
