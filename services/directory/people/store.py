"""SQL of profiles: reading, changing with a record of each change, and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, text

from services.contracts.errors import Conflict, NotFound
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.contracts.people import (
    DeviceProfile,
    GuardProfile,
    Profile,
    SiteProfile,
    WrongNumber,
    entries,
)
from services.directory.people import profile_checks
from services.platform.database import Database

Kind = Literal["guard", "site", "device"]
Key = str | int
MAX_LISTED = 1000
CHANGES_ORDER = ListOrder((("change_id", "bigint"),), descending=True)


class ProfileTable(NamedTuple):
    """Table of a kind of profile, the column of its key, its type and its picture's column."""

    table: str
    key: str
    of: type[Profile]
    picture: str = ""


SHAPES: Mapping[Kind, ProfileTable] = {
    "guard": ProfileTable("guard_profile", "guard_id", GuardProfile, "photo"),
    "site": ProfileTable("site_profile", "site_id", SiteProfile),
    "device": ProfileTable("device_profile", "device_id", DeviceProfile, "picture"),
}


class StoredPicture(NamedTuple):
    content: bytes
    media_type: str
    sha256: str


class StoredProfile(NamedTuple):
    profile: Profile
    version: int
    changed_at: datetime | None
    changed_by: str | None
    picture_sha256: str | None
    is_changed: bool = False


NOTE = text(
    "INSERT INTO profile_change (tenant_id, kind, subject, by, before, after)"
    " VALUES (:tenant_id, :kind, :subject, :by, CAST(:before AS jsonb), CAST(:after AS jsonb))"
)


MARKED = "jsonb_path_exists(profile, '$.**.wrong_on ? (@ != null)')"
WITH_WRONG_NUMBERS = text(
    f"""
    SELECT 'guard' AS kind, guard_id AS subject, profile FROM guard_profile
    WHERE tenant_id = :tenant_id AND {MARKED}
    UNION ALL
    SELECT 'site', site_id::text, profile FROM site_profile WHERE tenant_id = :tenant_id AND {MARKED}
    ORDER BY 1, 2 LIMIT :limit
    """
)


class ProfileStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, kind: Kind, key: Key, *, tenant_id: int) -> StoredProfile:
        """Return a profile; an empty one for a guard, site or device without one.

        Raises:
            NotFound: the tenant has no such guard, site or device.
        """
        with self._database.of(tenant_id) as connection:
            return self._read(connection, kind, key, tenant_id, lock=False)

    def change(
        self,
        kind: Kind,
        key: Key,
        changes: Mapping[str, Any],
        *,
        tenant_id: int,
        by: str,
        version: int | None = None,
        dry_run: bool = False,
    ) -> StoredProfile:
        """Set fields of a profile, note the change, and return the new profile.

        A change that changes nothing makes no new version.

        Args:
            version: the version that the caller saw. None: whatever it is.
            dry_run: check only.

        Raises:
            NotFound: the tenant has no such guard, site or device.
            Refused: a value is wrong.
            Conflict: somebody else has changed the profile since `version`.
        """
        return self._replace(
            kind,
            key,
            lambda before, today: profile_checks.changed(before, changes, by=by, today=today),
            tenant_id=tenant_id,
            by=by,
            version=version,
            dry_run=dry_run,
        )

    def mark_wrong(self, kind: Kind, key: Key, place: str, *, tenant_id: int, by: str) -> StoredProfile:
        """Mark an entry of a profile as a wrong number. Raises `NotFound`, `Refused`."""
        return self._replace(
            kind,
            key,
            lambda before, today: profile_checks.marked_wrong(before, place, by=by, today=today),
            tenant_id=tenant_id,
            by=by,
        )

    def changes(
        self, kind: Kind, key: Key, *, tenant_id: int, limit: int, after: Sequence[Any] | None
    ) -> list[dict[str, Any]]:
        """Return the changes of a profile, newest first. Raises `Refused`."""
        further, place = beyond(CHANGES_ORDER, after)
        query = text(
            "SELECT change_id, at, by, before, after FROM profile_change"
            " WHERE tenant_id = :tenant_id AND kind = :kind AND subject = :subject"
            f" AND {further} {CHANGES_ORDER.clause} LIMIT :limit"
        )

        values = {"tenant_id": tenant_id, "kind": kind, "subject": str(key), **place}
        with self._database.of(tenant_id) as connection:
            found = connection.execute(query, {**values, "limit": check_limit(limit, most=MAX_LISTED)})
            return [dict(row._mapping) for row in found]

    def picture(self, kind: Kind, key: Key, *, tenant_id: int) -> StoredPicture:
        """Return the picture of a guard or device. Raises `NotFound`."""
        shape = SHAPES[kind]
        word = shape.picture
        query = text(
            f"SELECT {word} AS content, {word}_type AS media_type, {word}_sha256 AS sha256 FROM {shape.table}"
            f" WHERE tenant_id = :tenant_id AND {shape.key} = :key AND {word} IS NOT NULL"
        )

        with self._database.of(tenant_id) as connection:
            row = connection.execute(query, {"tenant_id": tenant_id, "key": key}).one_or_none()

        if row is None:
            raise NotFound(f"there is no {word} of {kind} {key!r}")

        return StoredPicture(bytes(row.content), row.media_type, row.sha256)

    def set_picture(
        self, kind: Kind, key: Key, picture: StoredPicture | None, *, tenant_id: int, by: str
    ) -> None:
        """Set or remove the picture of a guard or device, and note the change. Raises `NotFound`."""
        shape = SHAPES[kind]
        word = shape.picture
        query = text(
            f"UPDATE {shape.table} SET {word} = :content, {word}_type = :media_type, {word}_sha256 = :sha256,"
            " version = version + 1, changed_at = now(), changed_by = :by"
            f" WHERE tenant_id = :tenant_id AND {shape.key} = :key"
        )

        content = StoredPicture(*picture)._asdict() if picture else dict.fromkeys(StoredPicture._fields)
        with self._database.of(tenant_id) as connection:
            former = self._read(connection, kind, key, tenant_id, lock=True)
            if former.picture_sha256 == content["sha256"]:
                return
            if former.version == 0:
                self._write(connection, kind, key, former.profile, tenant_id=tenant_id, by=by)
            connection.execute(query, {**content, "tenant_id": tenant_id, "key": key, "by": by})
            digests = ({f"{word}_sha256": d} for d in (former.picture_sha256, content["sha256"]))
            self._note(connection, kind, key, *digests, tenant_id=tenant_id, by=by)

    def wrong_numbers(self, *, tenant_id: int, limit: int) -> list[WrongNumber]:
        """Return the entries that somebody marked as a wrong number, of so many profiles."""
        values = {"tenant_id": tenant_id, "limit": check_limit(limit, most=MAX_LISTED)}
        with self._database.of(tenant_id) as connection:
            rows = connection.execute(WITH_WRONG_NUMBERS, values).all()

        return [
            WrongNumber(
                kind=row.kind,
                subject=row.subject,
                place=place,
                number=entry.number,
                wrong_on=entry.wrong_on,
                wrong_by=entry.wrong_by or "",
            )
            for row in rows
            for place, entry in entries(msgspec.convert(row.profile, SHAPES[row.kind].of))
            if entry.wrong_on is not None
        ]

    def site_keys(self, *, tenant_id: int) -> dict[str, int]:
        """Return the keys of the tenant's sites, by number and by name."""
        query = text("SELECT site_id, name FROM site WHERE tenant_id = :tenant_id")
        with self._database.of(tenant_id) as connection:
            sites = connection.execute(query, {"tenant_id": tenant_id}).all()
        # A name that is a number stands for the site with this number.
        return {site.name: site.site_id for site in sites} | {str(s.site_id): s.site_id for s in sites}

    def _replace(
        self,
        kind: Kind,
        key: Key,
        replacement: Any,
        *,
        tenant_id: int,
        by: str,
        version: int | None = None,
        dry_run: bool = False,
    ) -> StoredProfile:
        with self._database.of(tenant_id) as connection:
            former = self._read(connection, kind, key, tenant_id, lock=True)
            if version is not None and version != former.version:
                raise Conflict(
                    f"the profile is at version {former.version}, changed by {former.changed_by};"
                    " read it again, then repeat the change"
                )

            profile = replacement(former.profile, datetime.now(UTC).date())
            before, after = profile_checks.differences(former.profile, profile)
            if not after or dry_run:
                return former._replace(profile=profile, is_changed=bool(after))

            self._write(connection, kind, key, profile, tenant_id=tenant_id, by=by)
            self._note(connection, kind, key, before, after, tenant_id=tenant_id, by=by)
            return self._read(connection, kind, key, tenant_id, lock=False)._replace(is_changed=True)

    def _read(
        self, connection: Connection, kind: Kind, key: Key, tenant_id: int, *, lock: bool
    ) -> StoredProfile:
        """Return a profile. `lock` holds its guard, site or device until the transaction ends.

        A profile that nobody has written yet has no row to hold.
        """
        shape = SHAPES[kind]
        values = {"tenant_id": tenant_id, "key": key}
        holding = " FOR NO KEY UPDATE" if lock else ""

        subject = text(f"SELECT 1 FROM {kind} WHERE tenant_id = :tenant_id AND {shape.key} = :key{holding}")
        if connection.execute(subject, values).one_or_none() is None:
            raise NotFound(f"no {kind} {key!r} in tenant {tenant_id}")

        digest = f"{shape.picture}_sha256" if shape.picture else "NULL"
        row = connection.execute(
            text(
                f"SELECT profile, version, changed_at, changed_by, {digest} AS digest FROM {shape.table}"
                f" WHERE tenant_id = :tenant_id AND {shape.key} = :key"
            ),
            values,
        ).one_or_none()
        if row is None:
            return StoredProfile(shape.of(), 0, None, None, None)

        profile = msgspec.convert(row.profile, shape.of)
        return StoredProfile(profile, row.version, row.changed_at, row.changed_by, row.digest)

    def _write(
        self, connection: Connection, kind: Kind, key: Key, profile: Profile, *, tenant_id: int, by: str
    ) -> None:
        shape = SHAPES[kind]
        query = text(
            f"INSERT INTO {shape.table} AS p (tenant_id, {shape.key}, profile, changed_by)"
            " VALUES (:tenant_id, :key, CAST(:profile AS jsonb), :by)"
            f" ON CONFLICT (tenant_id, {shape.key}) DO UPDATE SET profile = excluded.profile,"
            " version = p.version + 1, changed_at = now(), changed_by = excluded.changed_by"
        )
        content = msgspec.json.encode(profile).decode()
        connection.execute(query, {"tenant_id": tenant_id, "key": key, "profile": content, "by": by})

    def _note(
        self,
        connection: Connection,
        kind: Kind,
        key: Key,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        *,
        tenant_id: int,
        by: str,
    ) -> None:
        values = {"tenant_id": tenant_id, "kind": kind, "subject": str(key), "by": by}
        given = {"before": json.dumps(before), "after": json.dumps(after)}
        connection.execute(NOTE, {**values, **given})


def today() -> date:
    """Return the day in UTC."""
    return datetime.now(UTC).date()
