"""Who a source is: looked up in memory, true to the database within two seconds.

Every change of the registry raises `registry_version` in its own transaction. At most once a second that one
number is read; when it grew, everything is forgotten. No event can be missed, because there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Literal

import msgspec
import structlog
from sqlalchemy import Connection, text

from services.config import Config
from services.providers import Database

log = structlog.get_logger(__name__)

Kind = Literal["guard", "device"]
KINDS: tuple[Kind, ...] = ("guard", "device")
CHECK_INTERVAL_S = 1.0

SELECT_VERSION = text("SELECT version FROM registry_version")
SELECT = {
    "guard": text(
        "SELECT g.guard_id AS source_id, g.tenant_id, g.site_id, g.enabled, CAST(NULL AS text) AS carried_by,"
        " s.starts, s.ends, ARRAY(SELECT group_id FROM guard_group_member m WHERE m.tenant_id = g.tenant_id"
        " AND m.guard_id = g.guard_id) AS groups, t.settings @> '{\"replay\": true}' AS replayed"
        " FROM guard g JOIN tenant t USING (tenant_id) LEFT JOIN LATERAL ("
        "SELECT coalesce(array_agg(starts_at ORDER BY starts_at), '{}') AS starts,"
        " coalesce(array_agg(ends_at ORDER BY starts_at), '{}') AS ends FROM guard_shift"
        " WHERE tenant_id = g.tenant_id AND guard_id = g.guard_id AND ends_at > now() - interval '10 days'"
        ") s ON t.settings @> '{\"positions_only_on_shift\": true}' WHERE g.guard_id = ANY(:ids)"
    ),
    "device": text(
        "SELECT device_id AS source_id, tenant_id, site_id, enabled, c.guard_id AS carried_by,"
        " NULL AS starts, NULL AS ends, CAST('{}' AS int[]) AS groups, false AS replayed FROM device"
        " LEFT JOIN (SELECT * FROM device_carrier WHERE until IS NULL) c USING (tenant_id, device_id)"
        " WHERE device_id = ANY(:ids)"
    ),
}
REGISTER = {
    "guard": text(
        "INSERT INTO guard (guard_id, tenant_id, name, registered_by)"
        " SELECT id, :tenant_id, id, 'open' FROM unnest(CAST(:ids AS text[])) AS id ORDER BY id"
        " ON CONFLICT DO NOTHING RETURNING guard_id"
    ),
    "device": text(
        "INSERT INTO device (device_id, tenant_id, name, family, registered_by)"
        " SELECT id, :tenant_id, id, :family, 'open' FROM unnest(CAST(:ids AS text[])) AS id ORDER BY id"
        " ON CONFLICT DO NOTHING RETURNING device_id"
    ),
}


class Source(msgspec.Struct, frozen=True):
    """A registered guard or device: whose it is, whether it may speak, and which guard carries it.

    `shifts`: of a guard whose tenant wants positions during shifts only; None: of every other.
    `newcomer`: nobody had registered it, and open registration took it in with this very look-up.
    `groups`: ids of those that a guard is in. `replayed`: its tenant is there for recordings, which are old by nature.
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


class Registry:
    """One a process. Raises `Unavailable` when the database is away."""

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
        self._known: dict[tuple[Kind, str], Source | None] = {}

    @classmethod
    def from_config(cls, config: Config) -> Registry:
        return cls(
            Database(config, name="registry", pool_size=2),
            registration=config.registration,
            default_tenant_id=config.default_tenant_id,
        )

    @property
    def default_tenant_id(self) -> int:
        """The tenant of sources that nobody registered."""
        return self._default_tenant_id

    def check_version(self) -> int:
        """The registry's version, at most a second old; when it grew, the cache is dropped."""
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
        """The sources among `source_ids` that are registered, or are now because registration is open.

        What is found is gathered here and not read back from the cache: while this waits for the database, another
        green thread may see a new version and empty it.
        """
        self.check_version()
        found: dict[str, Source] = {}
        misses: list[str] = []
        for source_id in source_ids:
            if (kind, source_id) in self._known:
                known = self._known[kind, source_id]
                if known is not None:
                    found[source_id] = known
            else:
                misses.append(source_id)
        if misses:
            found |= self._learn(sorted(misses), kind=kind, family=family, register=self._open)
        return found

    def lookup_any(self, source_id: str) -> Source | None:
        """The guard or device of this id; unknown and open: registered as what its name says."""
        self.check_version()
        for kind in KINDS:
            if (kind, source_id) in self._known:
                source = self._known[kind, source_id]
            else:
                source = self._learn([source_id], kind=kind, family="alert", register=False).get(source_id)
            if source is not None:
                return source
        if not self._open:
            return None
        kind = "guard" if source_id.startswith("guard-") else "device"
        found = self._learn([source_id], kind=kind, family="alert", register=True).get(source_id)
        return found and msgspec.structs.replace(found, newcomer=True)

    def _learn(self, ids: list[str], *, kind: Kind, family: str, register: bool) -> dict[str, Source]:
        version = self._version
        with self._database.across() as connection:
            found = self._select(connection, ids, kind)
            missing = [source_id for source_id in ids if source_id not in found]
            if missing and register:
                self._register(connection, missing, kind=kind, family=family)
                found |= self._select(connection, missing, kind)
        if version == self._version:  # else what was read may be older than what the version promises
            for source_id in ids:
                self._known[kind, source_id] = found.get(source_id)
        return found

    def _select(self, connection: Connection, ids: Iterable[str], kind: Kind) -> dict[str, Source]:
        found = connection.execute(SELECT[kind], {"ids": list(ids)})
        return {
            row.source_id: Source(
                row.source_id,
                row.tenant_id,
                row.site_id,
                kind,
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
