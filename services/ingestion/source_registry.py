"""Registered sources, looked up in memory, at most two seconds behind the database.

Every change of the registry raises `registry_version` in its own transaction. That number is read
at most once a second. When it grew, the whole cache is dropped. No event can be missed, because
there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Literal

import msgspec
import structlog
from sqlalchemy import Connection, text

from services.platform.config import Config
from services.platform.database import Database
from services.platform.prepared_statements import PreparedStatement

log = structlog.get_logger(__name__)

Kind = Literal["guard", "device"]
CHECK_INTERVAL_S = 1.0

SELECT_VERSION = text("SELECT version FROM registry_version")
# One name space: `source_id` holds each id once, over all kinds and tenants (migration 0012).
SELECT = PreparedStatement(
    """
    SELECT asked.id AS asked, coalesce(i.guard_id, i.device_id) AS source_id, i.tenant_id,
           i.guard_id IS NOT NULL AS is_guard, coalesce(g.site_id, d.site_id) AS site_id,
           coalesce(g.enabled, d.enabled) AS enabled, c.guard_id AS carried_by, s.starts, s.ends,
           ARRAY(SELECT group_id FROM guard_group_member m
                 WHERE m.tenant_id = i.tenant_id AND m.guard_id = i.guard_id) AS groups,
           i.guard_id IS NOT NULL AND t.settings @> '{"replay": true}' AS replayed
    FROM unnest(CAST(:ids AS text[])) AS asked (id)
    JOIN source_id i ON i.source_key = vigil_source_key(asked.id)
    JOIN tenant t USING (tenant_id)
    LEFT JOIN guard g ON g.tenant_id = i.tenant_id AND g.guard_id = i.guard_id
    LEFT JOIN device d ON d.tenant_id = i.tenant_id AND d.device_id = i.device_id
    LEFT JOIN device_carrier c
        ON c.tenant_id = i.tenant_id AND c.device_id = i.device_id AND c.until IS NULL
    LEFT JOIN LATERAL (
        SELECT coalesce(array_agg(starts_at ORDER BY starts_at), '{}') AS starts,
               coalesce(array_agg(ends_at ORDER BY starts_at), '{}') AS ends
        FROM guard_shift h WHERE h.tenant_id = i.tenant_id AND h.guard_id = i.guard_id
        AND h.ends_at > now() - interval '10 days'
    ) s ON i.guard_id IS NOT NULL AND t.settings @> '{"positions_only_on_shift": true}'
    """
)
# The claim comes first, and only free ids are added. An id that another source holds costs only its
# own message.
CLAIM = (
    "WITH claimed AS (INSERT INTO source_id (source_key, tenant_id, {column})"
    " SELECT DISTINCT ON (vigil_source_key(id)) vigil_source_key(id), CAST(:tenant_id AS integer), id"
    " FROM unnest(CAST(:ids AS text[])) AS id ORDER BY vigil_source_key(id), id"
    " ON CONFLICT DO NOTHING RETURNING {column} AS id) "
)
REGISTER = {
    "guard": text(
        CLAIM.format(column="guard_id") + "INSERT INTO guard (guard_id, tenant_id, name, registered_by)"
        " SELECT id, :tenant_id, id, 'open' FROM claimed RETURNING guard_id"
    ),
    "device": text(
        CLAIM.format(column="device_id")
        + "INSERT INTO device (device_id, tenant_id, name, family, registered_by)"
        " SELECT id, :tenant_id, id, :family, 'open' FROM claimed RETURNING device_id"
    ),
}


class Source(msgspec.Struct, frozen=True):
    """A registered guard or device: its tenant, whether it may send, and the guard that carries it.

    `shifts`: the shifts of a guard whose tenant wants positions during shifts only; None: of every
    other source. `newcomer`: open registration registered it with this look-up. `groups`: ids of
    the groups that a guard is in. `replayed`: its tenant is for recordings, which are old by
    nature.
    """

    source_id: str
    tenant_id: int
    site_id: int | None
    kind: Kind
    enabled: bool
    carried_by: str | None = None
    shifts: tuple[tuple[datetime, datetime], ...] | None = None
    newcomer: bool = False
    groups: frozenset[int] = frozenset()
    replayed: bool = False


class SourceRegistry:
    """The registry of sources; one for each process.

    Raises `Unavailable` when the database is away.
    """

    def __init__(
        self,
        database: Database,
        *,
        registration: Literal["open", "closed"],
        default_tenant_id: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._open = registration == "open"
        self._default_tenant_id = default_tenant_id
        self._clock = clock
        self._version = 0
        self._checked_s = float("-inf")
        self._known: dict[str, Source | None] = {}

    @classmethod
    def from_config(cls, config: Config) -> SourceRegistry:
        return cls(
            Database(config, name="registry", pool_size=2),
            registration=config.registration,
            default_tenant_id=config.default_tenant_id,
        )

    @property
    def default_tenant_id(self) -> int:
        """Return the tenant of sources that nobody registered."""
        return self._default_tenant_id

    def check_version(self) -> int:
        """Return the registry's version, at most a second old. When it grew, drop the cache."""
        now_s = self._clock()
        if now_s - self._checked_s >= CHECK_INTERVAL_S:
            with self._database.across() as connection:
                version = int(connection.execute(SELECT_VERSION).scalar_one())
            if version != self._version:
                self._known.clear()
                self._version = version
            self._checked_s = now_s
        return self._version

    def lookup(self, source_ids: Collection[str], *, kind: Kind, family: str) -> dict[str, Source]:
        """Return the registered sources among `source_ids`.

        Open registration registers the others first, and they are returned too.

        Positions belong to guards: with `kind` guard, a device with such an id is not returned.
        Readings belong to ids: with `kind` device, a guard's phone that sends them is returned as
        the guard.

        The result is gathered here and not read back from the cache. While this waits for the
        database, another green thread may see a new version and empty the cache.
        """
        self.check_version()
        found: dict[str, Source] = {}
        misses: list[str] = []
        for source_id in source_ids:
            known = self._known.get(source_id)
            if known is not None:
                found[source_id] = known
            # An unknown id is remembered only while registration is closed.
            elif self._open or source_id not in self._known:
                misses.append(source_id)

        if misses:
            found |= self._learn(sorted(misses), kind=kind, family=family, register=self._open)
        if kind == "guard":
            return {source_id: source for source_id, source in found.items() if source.kind == "guard"}

        return found

    def lookup_any(self, source_id: str) -> Source | None:
        """Return the guard or device that has this id.

        When there is none and registration is open, register it as the kind that its name says.
        """
        self.check_version()
        known = self._known.get(source_id)
        if known is None and (self._open or source_id not in self._known):
            known = self._learn([source_id], kind="device", family="alert", register=False).get(source_id)
        if known is not None or not self._open:
            return known
        kind: Kind = "guard" if source_id.startswith("guard-") else "device"
        found = self._learn([source_id], kind=kind, family="alert", register=True).get(source_id)
        return found and msgspec.structs.replace(found, newcomer=True)

    def tenants_of(self, source_ids: Collection[str]) -> list[int]:
        """Return the tenant of each source; the default tenant for ids that no source has.

        Nothing is registered.
        """
        self.check_version()
        found = {source_id: self._known.get(source_id) for source_id in source_ids}

        misses = sorted(
            source_id
            for source_id, source in found.items()
            if source is None and (self._open or source_id not in self._known)
        )
        if misses:
            found |= self._learn(misses, kind="device", family="alert", register=False)

        sources = [found[source_id] for source_id in source_ids]
        return [self._default_tenant_id if source is None else source.tenant_id for source in sources]

    def _learn(self, ids: list[str], *, kind: Kind, family: str, register: bool) -> dict[str, Source]:
        version = self._version
        with self._database.across() as connection:
            found = self._select(connection, ids)
            missing = [source_id for source_id in ids if source_id not in found]
            if missing and register:
                self._register(connection, missing, kind=kind, family=family)
                found |= self._select(connection, missing)

        if version == self._version:  # else the rows read may be older than the version promises
            for source_id in ids:
                self._known[source_id] = found.get(source_id)

        return found

    def _select(self, connection: Connection, ids: Iterable[str]) -> dict[str, Source]:
        """Return the sources by the id that was asked for."""
        found = SELECT.run(connection, {"ids": list(ids)})
        return {
            row.asked: Source(
                row.source_id,
                row.tenant_id,
                row.site_id,
                "guard" if row.is_guard else "device",
                row.enabled,
                row.carried_by,
                None if row.starts is None else tuple(zip(row.starts, row.ends, strict=True)),
                groups=frozenset(row.groups),
                replayed=row.replayed,
            )
            for row in found
        }

    def _register(self, connection: Connection, ids: list[str], *, kind: Kind, family: str) -> None:
        values: dict[str, object] = {"ids": ids, "tenant_id": self._default_tenant_id, "family": family}
        if kind == "guard":
            del values["family"]
        for row in connection.execute(REGISTER[kind], values):
            log.info("source_registered", source_id=row[0], kind=kind, tenant_id=self._default_tenant_id)
