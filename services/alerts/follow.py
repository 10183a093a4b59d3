"""Following an alert until a named human has it: each timer that runs out is judged, done and put on record once.

The request to tell people leaves before the step is committed: after a crash in between it leaves again, under the
same (alert, round, step), by which the notifications service knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from services.alerts import escalation, people, timing
from services.alerts import rota as rotas
from services.alerts import statements as sql
from services.alerts.escalation import Book, Contact, Ladder, Policy, Step
from services.alerts.people import Person
from services.alerts.store import AlertStore, Change
from services.alerts.timing import Timer, Verdict
from services.config import Config
from services.errors import Refused
from services.messages import Alert, NotificationRequest, Target
from services.recipients import fallback

log = structlog.get_logger(__name__)
T = TypeVar("T")

SEEN_WITHIN = timedelta(days=1)
"""Who had a websocket session open within this time can be assigned, registered here or not."""
ASSIGNED_UNTIL = "closed"
CHANNEL_COLUMNS = {"email": "email", "sms": "phone", "push": "push_token", "url": "url"}


class Events(Protocol):
    def publish(self, event_type: str, body: msgspec.Struct) -> None: ...


class Guidance:
    """What the database and config.yaml say about telling people. Each answer is as the database is now."""

    def __init__(self, default: Policy, fallback_contacts: list[Contact], *, default_tenant_id: int) -> None:
        self._default = default
        self._fallback = fallback_contacts
        self._default_tenant_id = default_tenant_id

    @classmethod
    def from_config(cls, config: Config) -> Guidance:
        recipients, _ = fallback(config.notifications)
        return cls(
            escalation.default_policy(config.alerts.policy),
            escalation.fallback_contacts(recipients),
            default_tenant_id=config.default_tenant_id,
        )

    def ladder(self, connection: Connection, alert: Alert) -> Ladder:
        """How this alert is followed."""
        values = {"tenant_id": alert.tenant_id, "site_id": alert.site_id}
        rows = connection.execute(sql.POLICIES, values)
        own = [
            _readable(escalation.parse, row.policy, what="policy", tenant_id=alert.tenant_id) for row in rows
        ]
        return escalation.ladder_of(
            [*filter(None, own), self._default], alert_type=alert.alert_type, severity=alert.severity
        )

    def book(self, connection: Connection, tenant_id: int) -> Book:
        """Whom the tenant's policies can name; the ALERT_..._RECIPIENTS are the default tenant's."""
        values = {"tenant_id": tenant_id}
        contacts = [
            Contact(
                row.name,
                row.site_id,
                {
                    channel: getattr(row, column)
                    for channel, column in CHANNEL_COLUMNS.items()
                    if getattr(row, column)
                },
                row.language,
            )
            for row in connection.execute(sql.CONTACTS, values)
        ]
        read = {
            row.name: _readable(rotas.parse, row.rota, what=f"rota {row.name!r}", tenant_id=tenant_id)
            for row in connection.execute(sql.ROTAS, values)
        }
        sound = {name: rota for name, rota in read.items() if rota is not None}
        return Book(contacts, sound, self._fallback if tenant_id == self._default_tenant_id else ())

    def targets(
        self, connection: Connection, alert: Alert, step: Step, *, at: datetime, besides: Sequence[str] = ()
    ) -> list[Target]:
        """Who is notified in a step at a time.

        `besides`: logins, guard ids or names of people who are notified too, as far as they have a contact. The source
        of a silent alert, and the guard who carries it, are left out.
        """
        book = self.audible_book(connection, alert)
        found = escalation.targets(step, book, site_id=alert.site_id, at=at)
        for word in besides:
            contact = people.contact_of(self.forms_of(connection, alert.tenant_id, word), book.contacts)
            if contact is not None and contact.name not in {target.name for target in found}:
                found.append(Target(contact.name, contact.addresses, contact.language))
        if not found and alert.silent and book.fallback:
            log.warning("silent_alert_to_fallback", alert_id=alert.id, tenant_id=alert.tenant_id)
            found = [Target(c.name, c.addresses, c.language) for c in book.fallback]
        return found

    def audible_book(self, connection: Connection, alert: Alert) -> Book:
        """Everybody who may hear of an alert: of a silent one neither its source nor who carries that."""
        book = self.book(connection, alert.tenant_id)
        if not alert.silent:
            return book
        return people.without(
            book, self.forms_of(connection, alert.tenant_id, alert.source_id, alert.carried_by or "")
        )

    def forms_of(self, connection: Connection, tenant_id: int, *words: str) -> set[str]:
        """The words, and the registered names of the guards, devices and users that they are ids and logins of."""
        values = {"tenant_id": tenant_id, "words": [word for word in words if word]}
        return {*(word for word in words if word), *connection.execute(sql.NAMES, values).scalars()}

    def people(self, connection: Connection, tenant_id: int, *, now: datetime) -> list[Person]:
        """Everybody whom a tenant can assign."""
        values = {"tenant_id": tenant_id, "since": now - SEEN_WITHIN}
        return [Person(row.kind, row.registered, row.name) for row in connection.execute(sql.PEOPLE, values)]

    def site(self, connection: Connection, alert: Alert) -> tuple[str, str]:
        """(name, time zone) of the alert's site; empty and UTC without one."""
        values = {"tenant_id": alert.tenant_id, "site_id": alert.site_id}
        row = connection.execute(sql.SITE, values).one_or_none()
        return ("", "UTC") if row is None else (row.name, row.time_zone)


def _readable(parse: Callable[[Any], T], document: Any, *, what: str, tenant_id: int) -> T | None:
    """A stored plan, or None for one that cannot be read: it must not keep an alarm from those whom others name."""
    try:
        return parse(document)
    except Refused as error:
        log.warning("plan_unreadable", plan=what, tenant_id=tenant_id, problem=str(error))
        return None


class Follower:
    """Runs timers. Several workers may: each alert is followed by one at a time."""

    def __init__(self, store: AlertStore, guidance: Guidance) -> None:
        self._store = store
        self._guidance = guidance

    def follow_due(self, events: Events, *, now: datetime, tell: Callable[[Change], None]) -> float | None:
        """Every timer that has run out. Raises the first error, after the others were followed.

        Returns for how many seconds none runs out; None when one had.
        """
        failure: Exception | None = None
        due = self._store.due(now=now)
        for alert_id in due:
            try:
                self.follow(alert_id, events, now=now, tell=tell)
            except Exception as error:
                log.warning("alert_not_followed", alert_id=alert_id, error=str(error))
                failure = failure or error
        if failure is not None:
            raise failure
        return None if due else self._store.free_s(now=now)

    def follow(self, alert_id: str, events: Events, *, now: datetime, tell: Callable[[Change], None]) -> None:
        """One alert, when its timer has run out. Raises `Unavailable`; then nothing was done."""

        def decide(connection: Connection, alert: Alert, timer: Timer) -> Verdict:
            if timer.kind == "unshelve":
                return timing.off_the_shelf(timer, now=now)
            if timer.kind == "progress":
                return timing.expired(alert, timer, now=now)
            return self._tell_people(connection, alert, timer, events, now=now)

        change = self._store.follow(alert_id, decide, now=now)
        if change is not None:
            tell(change)

    def _tell_people(
        self, connection: Connection, alert: Alert, timer: Timer, events: Events, *, now: datetime
    ) -> Verdict:
        ladder = self._guidance.ladder(connection, alert)
        if ladder.ended_by(alert.status):
            return Verdict(None)
        step = escalation.step_at(ladder, timer.step)
        targets = self._guidance.targets(connection, alert, step, at=now, besides=_who_had_it(alert, timer))
        if targets:
            place, time_zone = self._guidance.site(connection, alert)
            request = NotificationRequest(
                alert, timer.round, timer.step, list(step.channels), targets, place, time_zone, ladder.until
            )
            events.publish("notification_requested", request)
        else:
            log.error("nobody_to_tell", alert_id=alert.id, tenant_id=alert.tenant_id, step=timer.step)
        note = escalation.told_note(timer.step, targets, step.channels)
        return timing.told(timer, ladder, note=note, now=now)

    def assign(self, connection: Connection, alert: Alert, events: Events, *, by: str, rounds: int) -> str:
        """Notify the person whom an alert was just assigned to; returns how, as a part of the timeline's note.

        The request leaves before the assignment is committed, under a step of its own: those of rounds count from 0.
        """
        assert alert.assigned_to is not None
        forms = self._guidance.forms_of(connection, alert.tenant_id, alert.assigned_to)
        book = self._guidance.audible_book(connection, alert)
        contact = people.contact_of(forms, book.contacts)
        if contact is None:
            return f"nobody could be notified: there is no contact of {alert.assigned_to}"
        channels = [channel for channel in ASSIGNED_BY if channel in contact.addresses]
        if not channels:
            return (
                f"nobody could be notified: {contact.name} has no phone number, e-mail address or push token"
            )

        values = {"tenant_id": alert.tenant_id, "alert_id": alert.id}
        earlier = connection.execute(sql.ASSIGNMENTS, values).scalar_one()
        message = people.assigned_message(alert.message, by=by, language=contact.language)
        place, time_zone = self._guidance.site(connection, alert)
        request = NotificationRequest(
            msgspec.structs.replace(alert, message=message),
            rounds,
            -1 - earlier,
            channels,
            [Target(contact.name, contact.addresses, contact.language)],
            place,
            time_zone,
            ASSIGNED_UNTIL,
        )
        events.publish("notification_requested", request)
        return f"notified by {', '.join(channels)}"


ASSIGNED_BY = ("sms", "email", "push")


def _who_had_it(alert: Alert, timer: Timer) -> list[str]:
    """Who held an alert before it was raised again, and who was to go: they are notified as a round begins."""
    if timer.round == 1 or timer.step > 0:
        return []
    return [word for word in (alert.previous_holder, alert.assigned_to) if word]
