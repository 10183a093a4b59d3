"""SQL of evidence packs: all records of an alert, in one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, TextClause, text

from services.alerts.evidence import pack
from services.alerts.evidence.hash_chain import ChainContent, ChainHead, ChainLink
from services.alerts.evidence.pack import MAX_FIXES, MAX_LINKS, Pack, PackRows, TrackWindow
from services.contracts.errors import NotFound
from services.contracts.ids import as_alert_id
from services.outgoing.contact_addresses import masked_address
from services.platform.database import Database

TENANT = text("SELECT tenant_id, name FROM tenant WHERE tenant_id = :tenant_id")
ALERT = text(
    """
    SELECT a.*, a.raw_data::text AS raw_text, ST_Y(a.location::geometry) AS lat, ST_X(a.location::geometry) AS lon,
           d.name AS source_name
    FROM mqtt_device_alert a
    LEFT JOIN device d ON d.tenant_id = a.tenant_id AND d.device_id = a.source_id
    WHERE a.tenant_id = :tenant_id AND a.alert_id = :alert_id
    """
)
OCCURRENCES = text(
    """
    SELECT o.*, o.raw_data::text AS raw_text FROM alert_occurrence o
    WHERE o.tenant_id = :tenant_id AND o.alert_id = :alert_id ORDER BY o.received_at, o.message_key
    """
)
TIMELINE = text(
    """
    SELECT * FROM alert_timeline WHERE tenant_id = :tenant_id AND alert_id = :alert_id
    ORDER BY seq NULLS LAST, entry_id
    """
)
DIGEST = "sha256(vigil_timeline_canonical(seq, tenant_id, alert_id, at, action, status, by, note))"
OTHER_LINKS = text(
    f"""
    SELECT seq, prev_hash, hash, {DIGEST} AS digest, false AS erased FROM alert_timeline
    WHERE tenant_id = :tenant_id AND seq > :first_seq AND alert_id <> :alert_id
    UNION ALL
    SELECT seq, prev_hash, hash, digest, true FROM timeline_erased WHERE tenant_id = :tenant_id AND seq > :first_seq
    ORDER BY seq LIMIT :limit
    """
)
HEAD = text("SELECT seq, hash FROM timeline_head WHERE tenant_id = :tenant_id")
# The columns are chosen one by one. A pack leaves the installation, and a new column must not leave
# with it unseen.
NOTIFICATIONS = text(
    """
    SELECT notification_id, tenant_id, alert_id, round, step, channel, recipient, name, language, severity, alert_type,
           drill, life_safety, subject, body, html, template_id, reference, state, provider, provider_ref, attempts,
           possible_duplicate, error, until, created_at, next_attempt_at, attempt_started_at, accepted_at, finished_at,
           link_used_at
    FROM notification n WHERE n.tenant_id = :tenant_id AND n.alert_id = :alert_id
    ORDER BY n.created_at, n.notification_id
    """
)
PEOPLE = text(
    "SELECT taken_at, content FROM alert_people WHERE tenant_id = :tenant_id AND alert_id = :alert_id"
)
GUARD = text(
    "SELECT guard_id, name, site_id FROM guard WHERE tenant_id = :tenant_id AND guard_id = ANY(:guard_ids)"
    " ORDER BY array_position(CAST(:guard_ids AS text[]), guard_id) LIMIT 1"
)
SITE = text(
    """
    SELECT site_id, name, time_zone, ST_Y(location::geometry) AS lat, ST_X(location::geometry) AS lon
    FROM site WHERE tenant_id = :tenant_id AND site_id = :site_id
    """
)
ZONES = text(
    """
    SELECT zone_id, site_id, name, kind, version, enabled, radius_m, ST_AsGeoJSON(area::geometry, 7) AS area
    FROM zone WHERE tenant_id = :tenant_id AND enabled AND (site_id IS NULL OR site_id = :site_id)
    ORDER BY zone_id LIMIT 200
    """
)
# The first fix, the last one, and every n-th between: the fixes that are left out are spread
# evenly.
FIXES = text(
    """
    SELECT * FROM (
        SELECT recorded_at, received_at, clock_suspect, lat, lon, accuracy, speed, heading, source, mock, in_geofence,
               geofence_violation, message_key, row_number() OVER (ORDER BY recorded_at, message_key) AS place,
               count(*) OVER () AS total
        FROM (
            SELECT recorded_at, received_at, clock_suspect, lat, lon, accuracy, speed, heading, source, mock,
                   in_geofence, geofence_violation, message_key
            FROM mqtt_guard_location
            WHERE tenant_id = :tenant_id AND guard_id = :guard_id AND recorded_at BETWEEN :since AND :until
            UNION
            -- What retention takes out of there, it puts by for the alert; for a while a fix may be in both.
            SELECT recorded_at, received_at, clock_suspect, lat, lon, accuracy, speed, heading, source, mock,
                   in_geofence, geofence_violation, message_key
            FROM alert_track
            WHERE tenant_id = :tenant_id AND alert_id = :alert_id AND guard_id = :guard_id
                  AND recorded_at BETWEEN :since AND :until
        ) both_of_them
    ) f
    WHERE total <= :most OR place = total OR (place - 1) % ceil(total::numeric / (:most - 1))::bigint = 0
    ORDER BY place
    """
)
CHAIN = text(
    """
    SELECT * FROM (
        SELECT seq, prev_hash, hash, tenant_id, alert_id, at, action, status, by, note, NULL::bytea AS digest
        FROM alert_timeline WHERE tenant_id = :tenant_id AND seq > :after ORDER BY seq LIMIT :limit
    ) kept
    UNION ALL
    SELECT * FROM (
        SELECT seq, prev_hash, hash, tenant_id, NULL::uuid, NULL::timestamptz, NULL, NULL, NULL, NULL, digest
        FROM timeline_erased WHERE tenant_id = :tenant_id AND seq > :after ORDER BY seq LIMIT :limit
    ) erased
    ORDER BY seq LIMIT :limit
    """
)
UNCHAINED = text("SELECT count(*) FROM alert_timeline WHERE tenant_id = :tenant_id AND seq IS NULL")
HOLD = text(
    """
    INSERT INTO alert_hold (tenant_id, alert_id, reason, placed_by)
    SELECT tenant_id, alert_id, :reason, :by FROM mqtt_device_alert
    WHERE tenant_id = :tenant_id AND alert_id = :alert_id
    ON CONFLICT (alert_id) DO UPDATE SET reason = excluded.reason
    """
)
RELEASE = text("DELETE FROM alert_hold WHERE tenant_id = :tenant_id AND alert_id = :alert_id")
BATCH = 5_000


def export(
    database: Database,
    *,
    tenant_id: int,
    alert_id: str,
    made_by: str,
    now: datetime,
    key: Ed25519PrivateKey,
    say: Callable[[str], None] = lambda _: None,
) -> Pack:
    """Return the signed evidence pack of an alert. `say` is called with each step.

    Raises:
        NotFound: there is no such alert.
    """
    with database.of(tenant_id, snapshot=True) as connection:
        gathered = gather(connection, tenant_id=tenant_id, alert_id=alert_id, now=now, say=say)
    return pack.sign(pack.build(gathered, made_by=made_by, now=now), key)


def gather(
    connection: Connection, *, tenant_id: int, alert_id: str, now: datetime, say: Callable[[str], None]
) -> PackRows:
    """Return the rows of a pack. Raises `NotFound`."""
    ids = {"tenant_id": tenant_id, "alert_id": as_alert_id(alert_id)}
    found = _rows(connection, ALERT, ids)
    if not found:
        raise NotFound(f"no alert {alert_id} of tenant {tenant_id}")

    alert = _plain(found[0])
    occurrences = [_plain(row) for row in _rows(connection, OCCURRENCES, ids)]
    timeline = _rows(connection, TIMELINE, ids)
    say(f"alert: {len(occurrences)} occurrences, {len(timeline)} timeline rows")
    first_seq = min((row["seq"] for row in timeline if row["seq"] is not None), default=None)
    links, cut = _other_links(connection, ids, timeline, first_seq)
    say(f"chain: {len(links)} links of other alerts")
    notifications = [_addressed(row) for row in _rows(connection, NOTIFICATIONS, ids)]
    say(f"notifications: {len(notifications)}")
    guard_ids = [name for name in (alert["carried_by"], alert["source_id"]) if name]
    guard = next(iter(_rows(connection, GUARD, {**ids, "guard_ids": guard_ids})), None)
    site_id = alert["site_id"] or (guard["site_id"] if guard else None)
    window = pack.window_of(alert, now=now)
    fixes = _fixes(connection, ids, guard, window)
    in_window = fixes[0].get("total", 0) if fixes else 0
    say(f"track: {len(fixes)} of {in_window} positions")

    return PackRows(
        tenant=_rows(connection, TENANT, ids)[0],
        alert=alert,
        site=next(iter(_rows(connection, SITE, {**ids, "site_id": site_id})), None),
        zones=_rows(connection, ZONES, {**ids, "site_id": site_id}),
        people=next(iter(_rows(connection, PEOPLE, ids)), None),
        occurrences=occurrences,
        timeline=timeline,
        links=links,
        links_cut=cut,
        head=head_of(connection, tenant_id),
        notifications=notifications,
        guard=guard,
        window=window,
        fixes=[{k: v for k, v in fix.items() if k not in ("place", "total")} for fix in fixes],
        fixes_in_window=in_window,
    )


def head_of(connection: Connection, tenant_id: int) -> ChainHead | None:
    row = connection.execute(HEAD, {"tenant_id": tenant_id}).one_or_none()
    return None if row is None else ChainHead(row.seq, bytes(row.hash))


def links_of(connection: Connection, tenant_id: int, *, batch: int = BATCH) -> Iterator[list[ChainLink]]:
    """Yield the tenant's whole chain, batch by batch."""
    after = -(2**63)
    while True:
        rows = connection.execute(CHAIN, {"tenant_id": tenant_id, "after": after, "limit": batch}).all()
        if not rows:
            return
        yield [_link(row) for row in rows]
        after = rows[-1].seq


def unchained(connection: Connection, tenant_id: int) -> int:
    """Return the number of rows without a place, written while the triggers were off."""
    return int(connection.execute(UNCHAINED, {"tenant_id": tenant_id}).scalar_one())


def _link(row: Any) -> ChainLink:
    erased = row.digest is not None
    content = (
        None
        if erased
        else ChainContent(
            tenant_id=row.tenant_id,
            alert_id=str(row.alert_id),
            at=row.at,
            action=row.action,
            status=row.status,
            by=row.by,
            note=row.note,
        )
    )

    return ChainLink(
        seq=row.seq,
        prev_hash=bytes(row.prev_hash),
        hash=bytes(row.hash),
        content=content,
        digest=bytes(row.digest) if erased else None,
        erased=erased,
    )


def _rows(connection: Connection, query: TextClause, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query, values).mappings()]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its JSON as the text of the database, and its point as lat and lon.

    As text, no number changes on its way.
    """
    row["raw_data"] = row.pop("raw_text")
    row.pop("location", None)
    return row


def _addressed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a notification with its recipient as lists show it.

    Push tokens and URLs are secrets of the recipient.
    """
    shown = masked_address(row["channel"], row["recipient"])
    return {**row, "recipient": shown, "name": shown if row["name"] == row["recipient"] else row["name"]}


def _other_links(
    connection: Connection, ids: dict[str, Any], timeline: list[dict[str, Any]], first_seq: int | None
) -> tuple[list[dict[str, Any]], bool]:
    """Return the links of other alerts after this one's first row, up to the head.

    The second value says that the limit of a pack cut the links short of the head. The limit never
    cuts off a row of this alert.
    """
    if first_seq is None:
        return [], False
    last_own = max(row["seq"] for row in timeline if row["seq"] is not None)
    limit = max(MAX_LINKS, last_own - first_seq)
    links = _rows(connection, OTHER_LINKS, {**ids, "first_seq": first_seq, "limit": limit + 1})
    return links[:limit], len(links) > limit


def _fixes(
    connection: Connection, ids: dict[str, Any], guard: dict[str, Any] | None, window: TrackWindow
) -> list[dict[str, Any]]:
    if guard is None:
        return []
    values = {"guard_id": guard["guard_id"], "since": window.since, "until": window.until, "most": MAX_FIXES}
    return _rows(connection, FIXES, {**ids, **values})


def hold(database: Database, *, tenant_id: int, alert_id: str, reason: str, by: str) -> None:
    """Keep an alert beyond its retention. For the owner. Raises `NotFound`."""
    values = {"tenant_id": tenant_id, "alert_id": as_alert_id(alert_id), "reason": reason, "by": by}
    with database.of(tenant_id) as connection:
        if connection.execute(HOLD, values).rowcount == 0:
            raise NotFound(f"no alert {alert_id} of tenant {tenant_id}")


def release(database: Database, *, tenant_id: int, alert_id: str) -> None:
    """End the hold of an alert: retention removes it when its time has come.

    For the owner. Raises `NotFound`.
    """
    values = {"tenant_id": tenant_id, "alert_id": as_alert_id(alert_id)}
    with database.of(tenant_id) as connection:
        if connection.execute(RELEASE, values).rowcount == 0:
            raise NotFound(f"alert {alert_id} of tenant {tenant_id} is not on hold")
