"""SQL of zones: added, changed, listed. Triggers write their versions (migration 0008)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

import shapely
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from services.contracts.errors import Conflict, NotFound
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.geofencing.files import geojson
from services.geofencing.validation import FIELDS, ZoneDraft, changed, draft_of, plain_text, row_id
from services.platform.database import Database

MAX_LISTED = 100_000
PAGE = 500
COLUMNS = (
    "zone_id, tenant_id, site_id, name, kind, version, enabled, group_id, guard_id, speed_limit_mps, schedule,"
    " confirmation, changed_by, in_force_from, ST_AsBinary(area) AS area, radius_m"
)
BY_ID = ListOrder((("zone_id", "bigint"),))
LIST = f"SELECT {COLUMNS} FROM zone WHERE tenant_id = :tenant_id AND {{beyond}} {BY_ID.clause} LIMIT :limit"
GET = text(f"SELECT {COLUMNS} FROM zone WHERE tenant_id = :tenant_id AND name = :name")
GET_BY_ID = text(f"SELECT {COLUMNS} FROM zone WHERE tenant_id = :tenant_id AND zone_id = :zone_id")
LOCK = text(f"{GET.text} FOR UPDATE")
LOCK_BY_ID = text(f"{GET_BY_ID.text} FOR UPDATE")
VERSIONS = text(
    "SELECT version, in_force_from, in_force_to, changed_by, name, kind, enabled, site_id, time_zone, group_id,"
    " guard_id, speed_limit_mps, schedule, confirmation, ST_AsBinary(area) AS area, radius_m FROM zone_version"
    " WHERE tenant_id = :tenant_id AND zone_id = :zone_id ORDER BY version DESC LIMIT :limit"
)
EXPORT = text(
    "SELECT z.zone_id, z.name, kind, s.name AS site, g.name AS group, guard_id AS guard, enabled, speed_limit_mps,"
    " schedule, confirmation, radius_m, ST_AsBinary(area) AS area FROM zone z"
    " LEFT JOIN site s USING (tenant_id, site_id) LEFT JOIN guard_group g USING (tenant_id, group_id)"
    " WHERE tenant_id = :tenant_id AND zone_id > :after ORDER BY zone_id LIMIT :limit"
)
NAMES = {
    "site": text("SELECT name, site_id FROM site WHERE tenant_id = :tenant_id"),
    "group": text("SELECT name, group_id FROM guard_group WHERE tenant_id = :tenant_id"),
}
VALUES = {name: f":{name}" for name in FIELDS} | {
    "area": "ST_GeomFromWKB(:area, 4326)::geography",
    "schedule": "CAST(:schedule AS jsonb)",
    "confirmation": "CAST(:confirmation AS jsonb)",
}
INSERT = text(
    f"INSERT INTO zone (tenant_id, changed_by, {', '.join(VALUES)})"
    f" VALUES (:tenant_id, :by, {', '.join(VALUES.values())}) RETURNING zone_id, version, in_force_from"
)
UPDATE = text(
    f"UPDATE zone SET changed_by = :by, {', '.join(f'{name} = {value}' for name, value in VALUES.items())}"
    " WHERE tenant_id = :tenant_id AND zone_id = :zone_id RETURNING zone_id, version, in_force_from"
)
CONSTRAINTS = {
    "zone_site_id_fkey": "site_id is not a site of this tenant; `vigil site list` shows them",
    "zone_group_id_fkey": "group_id is not a group of this tenant; `vigil group list` shows them",
    "zone_guard_id_fkey": "guard_id is not a guard of this tenant; `vigil guard list` shows them",
    "zone_tenant_id_fkey": "there is no such tenant; `vigil tenant list` shows them",
}


P = ParamSpec("P")
R = TypeVar("R")


class FunctionRunner(Protocol):
    """Runner of a pure function that may compute for long; `GeometryThread` where others wait."""

    def __call__(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...


def at_once(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run the function here, for commands that have nothing else to do."""
    return work(*args, **kwargs)


class ZoneStore:
    """Zones in the database.

    Args:
        judge_of: returns the runner that checks the shapes of a tenant.
        beside: runs functions that only write shapes.
    """

    def __init__(
        self,
        database: Database,
        *,
        judge_of: Callable[[int], FunctionRunner] = lambda _: at_once,
        beside: FunctionRunner = at_once,
    ) -> None:
        self._database = database
        self.judge_of = judge_of
        self.beside = beside

    @contextmanager
    def transaction(self, tenant_id: int) -> Iterator[Connection]:
        with self._database.of(tenant_id) as connection:
            yield connection

    def add(self, fields: Mapping[str, object], *, tenant_id: int, by: str) -> dict[str, Any]:
        """Add a zone, and return its id, its version and the time from which it is in force.

        Raises:
            Refused: a field is wrong.
            Conflict: the name is taken.
        """
        draft = self.judge_of(tenant_id)(draft_of, fields)
        with self._database.of(tenant_id) as connection:
            return self.insert(connection, draft, tenant_id=tenant_id, by=by)

    def insert(self, connection: Connection, draft: ZoneDraft, *, tenant_id: int, by: str) -> dict[str, Any]:
        with _telling(draft):
            values = {**draft.columns(), "tenant_id": tenant_id, "by": plain_text(by, "by")}
            row = connection.execute(INSERT, values).one()
        return dict(row._mapping)

    def change(
        self,
        which: str | int | None,
        changes: Mapping[str, object],
        *,
        tenant_id: int,
        by: str,
        version: int | None = None,
    ) -> dict[str, Any]:
        """Change the zone of a name or id.

        A change without effect makes no version.

        Returns:
            The id, the version, the time from which it is in force, and `changed`.

        Raises:
            NotFound: there is no such zone.
            Refused: a field is wrong.
            Conflict: the zone is not at `version` any more.
        """
        with self._database.of(tenant_id) as connection:
            row = self.find(connection, which, tenant_id=tenant_id)
            if row is None:
                raise NotFound(f"no zone {which!r} in tenant {tenant_id}; `vigil zone list` shows them")

            if version is not None and version != row.version:
                raise Conflict(
                    f"zone {row.name!r} is at version {row.version}, not {version}: another person"
                    " changed it; read at it"
                    " (`vigil zone show`), then repeat the change"
                )

            return self.update(connection, row, changes, by=by)

    def update(
        self, connection: Connection, row: Any, changes: Mapping[str, object], *, by: str
    ) -> dict[str, Any]:
        """Change a zone whose row `find` locked. The result is that of `change`."""
        old = drafted(row)
        new = self.judge_of(row.tenant_id)(changed, old, changes)
        if not new.differs_from(old):
            kept = {name: getattr(row, name) for name in ("zone_id", "version", "in_force_from")}
            return kept | {"changed": False}

        with _telling(new):
            values = {**new.columns(), "tenant_id": row.tenant_id, "zone_id": row.zone_id}
            values["by"] = plain_text(by, "by")
            found = connection.execute(UPDATE, values).one()

        return {**found._mapping, "changed": True}

    def find(self, connection: Connection, which: str | int | None, *, tenant_id: int) -> Any:
        """Return the row of a name or id, locked; None when there is none."""
        if isinstance(which, int):
            by_id = {"tenant_id": tenant_id, "zone_id": row_id(which, "zone_id")}
            return connection.execute(LOCK_BY_ID, by_id).one_or_none()
        by_name = {"tenant_id": tenant_id, "name": plain_text(which, "name")}
        return connection.execute(LOCK, by_name).one_or_none()

    def list_zones(self, *, tenant_id: int, limit: int = 1000, after: object = None) -> list[dict[str, Any]]:
        """Return zones by id, from the place `after` on. Raises `Refused`."""
        condition, place = beyond(BY_ID, after)
        values = {"tenant_id": tenant_id, "limit": check_limit(limit, most=MAX_LISTED), **place}
        with self._database.of(tenant_id) as connection:
            rows = connection.execute(text(LIST.format(beyond=condition)), values).all()
        return self.beside(_all_shown, rows)

    def get(self, *, tenant_id: int, name: str | None = None, zone_id: int | None = None) -> dict[str, Any]:
        """Return a zone by name or id. Raises `NotFound`."""
        values = {
            "tenant_id": tenant_id,
            "name": plain_text(name, "name") if zone_id is None else None,
            "zone_id": None if zone_id is None else row_id(zone_id, "zone_id"),
        }

        with self._database.of(tenant_id) as connection:
            row = connection.execute(GET if zone_id is None else GET_BY_ID, values).one_or_none()

        if row is None:
            raise NotFound(f"no zone {name or zone_id!r} in tenant {tenant_id}; `vigil zone list` shows them")

        [shown] = self.beside(_all_shown, [row])
        return shown

    def versions(self, zone_id: int, *, tenant_id: int, limit: int = 100) -> list[dict[str, Any]]:
        """Return the versions of a zone, newest first.

        `in_force_to` is null for the present one.
        """
        values = {
            "tenant_id": tenant_id,
            "zone_id": row_id(zone_id, "zone_id"),
            "limit": check_limit(limit, most=MAX_LISTED),
        }
        with self._database.of(tenant_id) as connection:
            rows = connection.execute(VERSIONS, values).all()
        return self.beside(_all_shown, rows)

    def names(self, *, tenant_id: int) -> dict[str, dict[str, int]]:
        """Return the ids of the tenant's sites and groups by name."""
        with self._database.of(tenant_id) as connection:
            return {
                kind: {row[0]: row[1] for row in connection.execute(query, {"tenant_id": tenant_id})}
                for kind, query in NAMES.items()
            }

    def export(self, *, tenant_id: int, say: Callable[[int], None] = lambda _: None) -> list[dict[str, Any]]:
        """Return all zones in the form of files, with the names of sites and groups.

        `say` is called with the number so far.
        """
        found: list[dict[str, Any]] = []
        with self._database.of(tenant_id, snapshot=True) as connection:
            while True:
                after = found[-1]["zone_id"] if found else 0
                values = {"tenant_id": tenant_id, "after": after, "limit": PAGE}
                page = [_with_area(row) for row in connection.execute(EXPORT, values)]
                found += page
                say(len(found))
                if len(page) < PAGE:
                    return found


def drafted(row: Any) -> ZoneDraft:
    """Return a row of `find` as a draft."""
    values = {name: getattr(row, name) for name in FIELDS}
    return ZoneDraft(**values | {"area": shapely.from_wkb(bytes(row.area))})


def _with_area(row: Any) -> dict[str, Any]:
    return {**row._mapping, "area": shapely.from_wkb(bytes(row.area))}


def _all_shown(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [_shown(row) for row in rows]


def _shown(row: Any) -> dict[str, Any]:
    found = _with_area(row)
    return found | {"area": geojson.geometry_of(found["area"])}


@contextmanager
def _telling(draft: ZoneDraft) -> Iterator[None]:
    """Convert errors of the database into errors for the caller."""
    try:
        yield
    except IntegrityError as error:
        constraint = str(getattr(getattr(error.orig, "diag", None), "constraint_name", ""))
        if constraint in CONSTRAINTS:
            raise NotFound(f"zone {draft.name!r}: {CONSTRAINTS[constraint]}") from error
        if type(error.orig).__name__ == "UniqueViolation":
            raise Conflict(
                f"a zone {draft.name!r} exists already; `vigil zone change` changes it, or choose another name"
            ) from error
        raise
