"""What people are sent: requests as rows with their text, and rows as what a provider takes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import structlog

from services.keyring import KeyRing
from services.messages import NEVER_HELD_BACK, NotificationRequest
from services.notifications import links, plan
from services.notifications.channels import Outgoing
from services.notifications.plan import Notice
from services.notifications.store import NewNotification, Notification
from services.notifications.templates import Templates
from services.notifications.wording import Words

log = structlog.get_logger(__name__)

URGENT = ("CRITICAL", "HIGH")
DUPLICATE_WORD = "(possibly a second time)"

FindsTemplates = Callable[[int], Templates]
"""A tenant's templates."""


class Writer:
    """`public_url` empty: messages carry no links and no codes, because no answer could reach us."""

    def __init__(
        self,
        templates: FindsTemplates,
        keys: KeyRing | None,
        *,
        public_url: str,
        link_lifetime_s: int,
        digest_at: time,
    ) -> None:
        self._templates = templates
        self._keys = keys
        self._public_url = public_url.rstrip("/")
        self._link_lifetime_s = link_lifetime_s
        self._digest_at = digest_at

    def rows(self, request: NotificationRequest, *, now: datetime) -> list[NewNotification]:
        """One row for each notice of a request."""
        words = words_of(request)
        return [self._row(request, notice, words, now=now) for notice in plan.notices(request)]

    def failover(self, row: Notification) -> list[NewNotification]:
        """The row by which its recipient is told by their next channel; none when there is no other."""
        if not row.failover:
            return []
        (channel, recipient), *rest = row.failover
        notice = Notice(channel, recipient, row.name, row.language, tuple((c, r) for c, r in rest))
        values = {name: getattr(row, name) for name in _COPIED}
        words = msgspec.convert(row.words, Words)
        return [self._write(notice, words, tenant_id=row.tenant_id, now=row.created_at, **values)]

    def outgoing(self, row: Notification) -> Outgoing:
        """What the provider is given; an attempt after one that perhaps went out says so."""
        data = {"alert_id": str(row.alert_id), "alert_type": row.alert_type, "severity": row.severity}
        data |= {
            "link": row.words.get("link", ""),
            "site": row.words.get("site", ""),
            "drill": str(row.drill).lower(),
        }
        again = row.possible_duplicate
        if again:
            data["possible_duplicate"] = "true"
        return Outgoing(
            reference=row.reference.hex,
            recipient=row.recipient,
            subject=_marked(row.subject, again),
            text=row.body,
            html=row.html,
            data=data,
            urgent=row.severity in URGENT,
            possible_duplicate=again,
            template_id=row.template_id,
        )

    def digest(self, rows: Sequence[Notification]) -> Outgoing:
        """One e-mail about several alerts."""
        first = rows[0]
        again = any(row.possible_duplicate for row in rows)
        lines = [row.body for row in sorted(rows, key=lambda row: row.created_at)]
        count = f"{len(rows)} alerts" if len(rows) != 1 else "1 alert"
        return Outgoing(
            reference=first.reference.hex,
            recipient=first.recipient,
            subject=_marked(f"Vigil: {count} of low severity", again),
            text="\n".join([f"{count} of low severity since the last digest:", "", *lines]),
            possible_duplicate=again,
        )

    def _row(
        self, request: NotificationRequest, notice: Notice, words: Words, *, now: datetime
    ) -> NewNotification:
        alert = request.alert
        return self._write(
            notice,
            words,
            tenant_id=alert.tenant_id,
            now=now,
            alert_id=UUID(alert.id),
            round=request.round,
            step=request.step,
            severity=alert.severity,
            alert_type=alert.alert_type,
            drill=alert.drill,
            life_safety=alert.alert_type in NEVER_HELD_BACK,
            until=request.until,
        )

    def _write(
        self, notice: Notice, words: Words, *, tenant_id: int, now: datetime, **values: object
    ) -> NewNotification:
        reference = uuid4()
        code = "".join(secrets.choice(links.CODE_LETTERS) for _ in range(links.CODE_LENGTH))
        words = msgspec.structs.replace(
            words,
            link=self._link(reference, now) if notice.channel in ("email", "push", "url") else "",
            code=code if notice.channel == "sms" and self._public_url else "",
        )
        # A digest is made of the lines that an SMS would have been.
        channel = "sms" if notice.channel == "digest" else notice.channel
        written = self._templates(tenant_id).render(channel, notice.language, words)
        for fault in written.faults:
            log.error("template_failed", tenant_id=tenant_id, problem=fault)
        return NewNotification(
            tenant_id=tenant_id,
            channel=notice.channel,
            recipient=notice.recipient,
            name=notice.name,
            language=notice.language,
            subject=written.subject,
            body=written.text,
            html=written.html,
            words=msgspec.json.encode(words).decode(),
            template_id=written.template_id if notice.channel == "sms" else "",
            code=words.code,
            failover=msgspec.json.encode(notice.failover).decode(),
            next_attempt_at=plan.next_digest(now, self._digest_at) if notice.channel == "digest" else now,
            reference=reference,
            **values,  # type: ignore[arg-type]
        )

    def _link(self, reference: UUID, now: datetime) -> str:
        if not self._public_url or self._keys is None:
            return ""
        ends_at = now + timedelta(seconds=self._link_lifetime_s)
        token = links.make_token(self._keys.all()[0], reference, ends_at_s=int(ends_at.timestamp()))
        return f"{self._public_url}/a/{token}"


_COPIED = ("alert_id", "round", "step", "severity", "alert_type", "drill", "life_safety", "until")


def words_of(request: NotificationRequest) -> Words:
    """What templates may say of an alert; its time is that of the place."""
    alert = request.alert
    place = (
        f"{alert.lat:.5f},{alert.lon:.5f}"
        if alert.lat is not None and alert.lon is not None
        else request.place
    )
    return Words(
        severity=alert.severity,
        alert_type=alert.alert_type,
        source=alert.source_id,
        carried_by=alert.carried_by or "",
        site=request.place,
        place=place,
        time=alert.recorded_at.astimezone(_zone(request.time_zone)).strftime("%d %b %H:%M %Z"),
        message=alert.message,
        occurrences=alert.occurrences,
        drill=alert.drill,
        silent=alert.silent,
        flags=alert.flags,
    )


def _zone(name: str) -> tzinfo:
    """A site's time zone; UTC when there is none of that name, because an alarm is told all the same."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _marked(subject: str, again: bool) -> str:
    return f"{subject} {DUPLICATE_WORD}" if again else subject
