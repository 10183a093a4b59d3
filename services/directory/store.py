"""SQL of the registry: what operators add, list, enable and disable."""

from __future__ import annotations

from typing import Any

from shapely import to_wkb
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from services.errors import Conflict, NotFound
from services.providers import transaction

LISTS = {
    "tenant": "SELECT tenant_id, name, created_at FROM tenant ORDER BY tenant_id LIMIT :limit",
    "site": "SELECT site_id, tenant_id, name, time_zone, ST_Y(location::geometry) AS lat,"
    " ST_X(location::geometry) AS lon FROM site WHERE tenant_id = :tenant_id ORDER BY site_id LIMIT :limit",
    "zone": "SELECT zone_id, tenant_id, site_id, name, kind, version, enabled, radius_m,"
    " ST_AsGeoJSON(area)::jsonb AS area FROM zone WHERE tenant_id = :tenant_id ORDER BY zone_id LIMIT :limit",
    "guard": "SELECT guard_id, tenant_id, site_id, name, enabled, registered_by FROM guard"
    " WHERE tenant_id = :tenant_id ORDER BY guard_id LIMIT :limit",
    "device": "SELECT device_id, tenant_id, site_id, name, family, enabled, registered_by FROM device"
    " WHERE tenant_id = :tenant_id ORDER BY device_id LIMIT :limit",
    "user": "SELECT user_id, tenant_id, login, name, role, enabled FROM app_user"
    " WHERE tenant_id = :tenant_id ORDER BY user_id LIMIT :limit",
}
INSERTS = {
    "tenant": "INSERT INTO tenant (tenant_id, name) VALUES (:tenant_id, :name) RETURNING tenant_id",
    "site": "INSERT INTO site (tenant_id, name, time_zone, location) VALUES (:tenant_id, :name, :time_zone,"
    " ST_SetSRID(ST_MakePoint(CAST(:lon AS float8), CAST(:lat AS float8)), 4326)::geography) RETURNING site_id",
    "zone": "INSERT INTO zone (tenant_id, site_id, name, kind, area, radius_m) VALUES (:tenant_id, :site_id, :name,"
    " :kind, ST_GeomFromWKB(:area, 4326)::geography, :radius_m) RETURNING zone_id",
    "guard": "INSERT INTO guard (guard_id, tenant_id, site_id, name) VALUES (:guard_id, :tenant_id, :site_id, :name)"
    " RETURNING guard_id",
    "device": "INSERT INTO device (device_id, tenant_id, site_id, name, family)"
    " VALUES (:device_id, :tenant_id, :site_id, :name, :family) RETURNING device_id",
    "user": "INSERT INTO app_user (tenant_id, login, name, role, password_hash)"
    " VALUES (:tenant_id, :login, :name, :role, :password_hash) RETURNING user_id",
}
KEYS = {
    "zone": ("zone", "name"),
    "guard": ("guard", "guard_id"),
    "device": ("device", "device_id"),
    "user": ("app_user", "login"),
}


class DirectoryStore:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, what: str, /, **values: Any) -> Any:
        """Add a tenant, site, zone, guard, device or user; returns its id. Raises `Conflict`, `NotFound`."""
        area = values.get("area")
        if isinstance(area, BaseGeometry):
            values["area"] = to_wkb(area)
        try:
            with transaction(self._engine) as connection:
                return connection.execute(text(INSERTS[what]), values).scalar_one()
        except IntegrityError as error:
            name = type(error.orig).__name__
            if name == "ForeignKeyViolation":
                raise NotFound(f"the tenant or site of this {what} does not exist") from error
            if name == "UniqueViolation":
                raise Conflict(f"a {what} of that name or id exists already") from error
            raise

    def list_rows(self, kind: str, *, tenant_id: int | None, limit: int) -> list[dict[str, Any]]:
        with transaction(self._engine) as connection:
            found = connection.execute(text(LISTS[kind]), {"tenant_id": tenant_id, "limit": limit})
            return [dict(row._mapping) for row in found]

    def set_enabled(self, kind: str, key: str, *, tenant_id: int, enabled: bool) -> None:
        """Raises `NotFound`."""
        table, column = KEYS[kind]
        query = text(
            f"UPDATE {table} SET enabled = :enabled WHERE {column} = :key AND tenant_id = :tenant_id"
        )
        with transaction(self._engine) as connection:
            values = {"enabled": enabled, "key": key, "tenant_id": tenant_id}
            if connection.execute(query, values).rowcount == 0:
                raise NotFound(f"no {kind} {key!r} in tenant {tenant_id}")

    def user(self, login: str) -> dict[str, Any] | None:
        """An enabled user with the password's hash, or None."""
        query = text(
            "SELECT user_id, tenant_id, login, name, role, password_hash FROM app_user"
            " WHERE login = :login AND enabled"
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query, {"login": login}).one_or_none()
            return None if row is None else dict(row._mapping)

    def check(self) -> None:
        """Raises `Unavailable` when the database does not answer."""
        with transaction(self._engine) as connection:
            connection.execute(text("SELECT 1"))
