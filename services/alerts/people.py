"""People and place of an alert: a snapshot when it is raised, and the present state.

The snapshot is written by the statement that raises the alert (`services.alerts.sql.MERGE`), so
that it costs no round trip. It shows what was on record at that moment, whatever changes later.
"""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, text

from services.contracts.errors import Refused
from services.contracts.people import (
    AlertPeople,
    Callee,
    Entry,
    People,
    entries,
    missing,
    overdue,
    people_seen_by,
    wrong,
)

CALL_RESULTS = {
    "answered": "answered",
    "no_answer": "no answer",
    "voicemail": "voicemail, which is no answer",
    "wrong_number": "wrong number",
}
"""Words of the timeline by the result of a call."""


def content_of(alert: str, *, at: str) -> str:
    """Return SQL for the people and place of an alert's row as JSON, at a time.

    The form is that of `contracts.people.People`. A device that a guard carries brings the guard.
    An alert without a site has the site of its guard or device.

    Args:
        alert: the name of the row, with tenant_id, source_id, carried_by and site_id.
        at: the time of the shift.
    """
    return f"""
    SELECT jsonb_build_object(
        'guard', CASE WHEN g.guard_id IS NOT NULL THEN jsonb_build_object(
            'guard_id', g.guard_id, 'name', g.name, 'enabled', g.enabled, 'site_id', g.site_id,
            'erased', g.registered_by = 'erasure',
            'profile', coalesce(gp.profile, '{{}}'), 'photo_sha256', gp.photo_sha256,
            'shift', (SELECT jsonb_build_object('starts_at', f.starts_at, 'ends_at', f.ends_at) FROM guard_shift f
                      WHERE f.tenant_id = g.tenant_id AND f.guard_id = g.guard_id
                        AND f.starts_at <= {at} AND f.ends_at > {at} LIMIT 1)) END,
        'device', CASE WHEN d.device_id IS NOT NULL THEN jsonb_build_object(
            'device_id', d.device_id, 'name', d.name, 'family', d.family,
            'profile', coalesce(dp.profile, '{{}}'), 'picture_sha256', dp.picture_sha256) END,
        'site', CASE WHEN s.site_id IS NOT NULL THEN jsonb_build_object(
            'site_id', s.site_id, 'name', s.name, 'time_zone', s.time_zone,
            'lat', ST_Y(s.location::geometry), 'lon', ST_X(s.location::geometry),
            'profile', coalesce(sp.profile, '{{}}')) END)
    FROM (SELECT) one
    LEFT JOIN guard g ON g.tenant_id = {alert}.tenant_id
        AND g.guard_id = coalesce({alert}.carried_by, {alert}.source_id)
    LEFT JOIN guard_profile gp ON gp.tenant_id = g.tenant_id AND gp.guard_id = g.guard_id
    LEFT JOIN device d ON d.tenant_id = {alert}.tenant_id AND d.device_id = {alert}.source_id
    LEFT JOIN device_profile dp ON dp.tenant_id = d.tenant_id AND dp.device_id = d.device_id
    LEFT JOIN site s ON s.tenant_id = {alert}.tenant_id
        AND s.site_id = coalesce({alert}.site_id, d.site_id, g.site_id)
    LEFT JOIN site_profile sp ON sp.tenant_id = s.tenant_id AND sp.site_id = s.site_id
    """


OF_ALERT = text(
    f"""
    SELECT p.taken_at, p.content AS at_raise, ({content_of("a", at="now()")}) AS present
    FROM mqtt_device_alert a LEFT JOIN alert_people p USING (tenant_id, alert_id)
    WHERE a.tenant_id = :tenant_id AND a.alert_id = :alert_id
    """
)


def people_of(
    connection: Connection, *, tenant_id: int, alert_id: UUID, role: str, today: date
) -> AlertPeople | None:
    """Return the people and place of an alert, as a role sees them; None without such an alert."""
    row = connection.execute(OF_ALERT, {"tenant_id": tenant_id, "alert_id": alert_id}).one_or_none()
    if row is None:
        return None

    present = msgspec.convert(row.present, People)
    shown, hidden = people_seen_by(present, role=role)
    former = None if row.at_raise is None else msgspec.convert(row.at_raise, People)
    if former is not None:
        former, more = people_seen_by(former, role=role)
        hidden = list(dict.fromkeys([*hidden, *more]))
    return AlertPeople(
        taken_at=row.taken_at,
        at_raise=former,
        now=shown,
        missing=missing(present),
        hidden=hidden,
        overdue=_places(present, overdue, today=today),
        wrong=_places(present, wrong),
    )


def _places(people: People, of: Any, **given: Any) -> list[str]:
    """Return the places of entries of the guard's and the site's profile."""
    parts = {"guard": people.guard, "site": people.site}
    return [f"{name}.{place}" for name, part in parts.items() if part for place in of(part.profile, **given)]


def call_note(people: People, *, about: str, place: str, result: str, note: str) -> str:
    """Return the timeline's text for a call. It names the person and never the number.

    Raises:
        Refused: nobody is on record at this place, or there is no such result.
    """
    if result not in CALL_RESULTS:
        raise Refused(f"result is {result[:40]!r}; it must be one of {', '.join(CALL_RESULTS)}")
    part = {"guard": people.guard, "site": people.site}.get(about)
    found = dict(entries(part.profile)).get(place) if part is not None else None
    if part is None or found is None:
        raise Refused(f"{about}.{place[:60]}: there is no such entry; GET /alerts/ID lists them")
    said = f"{_callee(part.name, place, found)}: {CALL_RESULTS[result]}"
    return f"{said}; {note}" if note else said


def _callee(owner: str, place: str, entry: Entry) -> str:
    """Return the words for an entry: the person called, or the owner and the entry's kind."""
    if isinstance(entry, Callee):
        return entry.name
    name, _, index = place.partition(".")
    words = name.replace("_", " ").removesuffix("s" if index else "")
    return f"{owner}, {words} {int(index) + 1}" if index else f"{owner}, {words}"
