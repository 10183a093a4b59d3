"""Escalation of alerts: each timer that runs out is judged, carried out and recorded once.

An alert is followed until its ladder ends, by default when somebody acknowledges it. The request to
notify leaves before the step is committed. After a crash in between, it leaves again under the same
(alert, round, step), and the notifications service recognises it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from services.alerts import assignee as people
from services.alerts import sql
from services.alerts.assignee import Assignee
from services.alerts.escalation import on_call as rotas
from services.alerts.escalation import policy, timers
from services.alerts.escalation.policy import ContactBook, Ladder, LadderStep, Policy, PolicyContact
from services.alerts.escalation.timers import AlertTimer, TimerResult
from services.alerts.store import AlertChange, AlertStore
from services.contracts.enum_words import inside
from services.contracts.errors import Refused
from services.contracts.events import Alert, NotificationRequest, Target
from services.outgoing.contact_addresses import fallback
from services.platform.config import Config

log = structlog.get_logger(__name__)
T = TypeVar("T")

SEEN_WITHIN = timedelta(days=1)
"""Time since the last websocket session in which a user can be assigned, registered here or not."""
ASSIGNED_UNTIL = "closed"
CHANNEL_COLUMNS = {"email": "email", "sms": "phone", "push": "push_token", "url": "url"}


class EscalationEvents(Protocol):
    def publish(self, event_type: str, body: msgspec.Struct) -> None: ...


class EscalationPolicies:
    """Policies, rotas and contacts from the database and config.yaml.

    Each answer is as the database is now.
    """

    def __init__(
        self, default: Policy, fallback_contacts: list[PolicyContact], *, default_tenant_id: int
    ) -> None:
        self._default = default
        self._fallback = fallback_contacts
        self._default_tenant_id = default_tenant_id

    @classmethod
    def from_config(cls, config: Config) -> EscalationPolicies:
        recipients, _ = fallback(config.notifications)
        return cls(
            policy.default_policy(config.alerts.policy),
            policy.fallback_contacts(recipients),
            default_tenant_id=config.default_tenant_id,
        )

    def ladder(self, connection: Connection, alert: Alert) -> Ladder:
        """Return the ladder of an alert."""
        values = {"tenant_id": alert.tenant_id, "site_id": alert.site_id}
        rows = connection.execute(sql.POLICIES, values)
        own = [_readable(policy.parse, row.policy, what="policy", tenant_id=alert.tenant_id) for row in rows]
        return policy.ladder_of(
            [*filter(None, own), self._default], alert_type=alert.alert_type, severity=alert.severity
        )

    def book(self, connection: Connection, tenant_id: int) -> ContactBook:
        """Return the contacts and rotas that the tenant's policies can name.

        The ALERT_..._RECIPIENTS belong to the default tenant.
        """
        values = {"tenant_id": tenant_id}
        contacts = [
            PolicyContact(
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

        return ContactBook(contacts, sound, self._fallback if tenant_id == self._default_tenant_id else ())

    def targets(
        self,
        connection: Connection,
        alert: Alert,
        step: LadderStep,
        *,
        at: datetime,
        besides: Sequence[str] = (),
    ) -> list[Target]:
        """Return the recipients of a step at a time.

        The source of a silent alert, and the guard who carries it, are left out.

        Args:
            besides: logins, guard ids or names of further recipients, as far as they have a
                contact.
        """
        book = self.audible_book(connection, alert)
        found = policy.targets(step, book, site_id=alert.site_id, at=at)

        for word in besides:
            contact = people.contact_of(self.forms_of(connection, alert.tenant_id, word), book.contacts)
            if contact is not None and contact.name not in {target.name for target in found}:
                found.append(Target(contact.name, contact.addresses, contact.language))

        if not found and alert.silent and book.fallback:
            log.warning("silent_alert_redirected", alert_id=alert.id, tenant_id=alert.tenant_id)
            found = [Target(c.name, c.addresses, c.language) for c in book.fallback]

        return found

    def audible_book(self, connection: Connection, alert: Alert) -> ContactBook:
        """Return the contacts and rotas that may be notified of an alert.

        For a silent alert, its source and the guard who carries the source are left out.
        """
        book = self.book(connection, alert.tenant_id)
        if not alert.silent:
            return book
        return people.without(
            book, self.forms_of(connection, alert.tenant_id, alert.source_id, alert.carried_by or "")
        )

    def forms_of(self, connection: Connection, tenant_id: int, *words: str) -> set[str]:
        """Return the words, and the names of the guards, devices and users that they identify.

        Words are guard ids, device ids and logins.
        """
        values = {"tenant_id": tenant_id, "words": [word for word in words if word]}
        return {*(word for word in words if word), *connection.execute(sql.NAMES, values).scalars()}

    def people(self, connection: Connection, tenant_id: int, *, now: datetime) -> list[Assignee]:
        """Return everybody whom a tenant can assign."""
        values = {"tenant_id": tenant_id, "since": now - SEEN_WITHIN}
        return [
            Assignee(row.kind, row.registered, row.name) for row in connection.execute(sql.PEOPLE, values)
        ]

    def site(self, connection: Connection, alert: Alert) -> tuple[str, str]:
        """Return (name, time zone) of the alert's site; an empty name and UTC without a site."""
        values = {"tenant_id": alert.tenant_id, "site_id": alert.site_id}
        row = connection.execute(sql.SITE, values).one_or_none()
        return ("", "UTC") if row is None else (row.name, row.time_zone)


def _readable(parse: Callable[[Any], T], document: Any, *, what: str, tenant_id: int) -> T | None:
    """Return a stored plan, or None for one that cannot be read.

    An unreadable plan must not keep an alarm from the recipients of other plans.
    """
    try:
        return parse(document)
    except Refused as error:
        log.warning("policy_not_read", plan=what, tenant_id=tenant_id, problem=str(error))
        return None


class EscalationWorker:
    """Runner of timers. Several workers may run it: each alert is followed by one at a time."""

    def __init__(self, store: AlertStore, guidance: EscalationPolicies) -> None:
        self._store = store
        self._guidance = guidance

    def follow_due(
        self, events: EscalationEvents, *, now: datetime, tell: Callable[[AlertChange], None]
    ) -> float | None:
        """Follow every alert with a timer that has run out.

        Returns:
            The seconds during which no timer runs out; None when one had run out.

        Raises:
            Exception: the first error, after the other alerts were followed.
        """
        failure: Exception | None = None
        due = self._store.due(now=now)
        for alert_id in due:
            try:
                self.follow(alert_id, events, now=now, tell=tell)
            except Exception as error:
                log.warning("escalation_not_advanced", alert_id=alert_id, error=str(error))
                failure = failure or error

        if failure is not None:
            raise failure

        return None if due else self._store.free_s(now=now)

    def follow(
        self, alert_id: str, events: EscalationEvents, *, now: datetime, tell: Callable[[AlertChange], None]
    ) -> None:
        """Follow one alert, when its timer has run out.

        Raises `Unavailable`; then nothing was done.
        """

        def decide(connection: Connection, alert: Alert, timer: AlertTimer) -> TimerResult:
            if timer.kind == "unshelve":
                return timers.unshelved(timer, now=now)
            if timer.kind == "progress":
                return timers.expired(alert, timer, now=now)
            return self._tell_people(connection, alert, timer, events, now=now)

        change = self._store.follow(alert_id, decide, now=now)
        if change is not None:
            tell(change)

    def _tell_people(
        self,
        connection: Connection,
        alert: Alert,
        timer: AlertTimer,
        events: EscalationEvents,
        *,
        now: datetime,
    ) -> TimerResult:
        ladder = self._guidance.ladder(connection, alert)
        if ladder.ended_by(alert.status):
            return TimerResult(None)

        step = policy.step_at(ladder, timer.step)
        targets = self._guidance.targets(connection, alert, step, at=now, besides=_who_had_it(alert, timer))
        if targets:
            place, time_zone = self._guidance.site(connection, alert)
            request = NotificationRequest(
                alert, timer.round, timer.step, list(step.channels), targets, place, time_zone, ladder.until
            )
            events.publish("notification_requested", request)
        else:
            log.error("recipient_not_found", alert_id=alert.id, tenant_id=alert.tenant_id, step=timer.step)

        note = policy.notified_note(timer.step, targets, step.channels)
        return timers.after_step(timer, ladder, note=note, now=now)

    def assign(
        self, connection: Connection, alert: Alert, events: EscalationEvents, *, by: str, rounds: int
    ) -> str:
        """Notify the new assignee of an alert.

        The request leaves before the assignment is committed. Its step number is negative: steps of
        rounds count from 0.

        Returns:
            The channels, or the reason why nobody could be notified, as a part of the timeline's
            note.
        """
        assert alert.assigned_to is not None
        forms = self._guidance.forms_of(connection, alert.tenant_id, alert.assigned_to)
        book = self._guidance.audible_book(connection, alert)

        contact = people.contact_of(forms, book.contacts)
        if contact is None:
            return f"no notification was sent: there is no contact of {alert.assigned_to}"

        channels = [channel for channel in ASSIGNED_BY if channel in contact.addresses]
        if not channels:
            return (
                f"no notification was sent: {contact.name} has no phone number, e-mail address or push token"
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
        return f"notified by {', '.join(map(inside, channels))}"


ASSIGNED_BY = ("sms", "email", "push")


def _who_had_it(alert: Alert, timer: AlertTimer) -> list[str]:
    """Return the last holder of an alert that was raised again, and its assignee.

    They are notified with the first step of a round.
    """
    if timer.round == 1 or timer.step > 0:
        return []
    return [word for word in (alert.previous_holder, alert.assigned_to) if word]
