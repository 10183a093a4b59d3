"""Conversion of requests into rows with their texts, and of rows into messages for providers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import structlog

from services.contracts.events import NEVER_HELD_BACK, NotificationRequest
from services.feed.keyring import KeyRing
from services.notifications import planning
from services.notifications.channels import OutgoingMessage
from services.notifications.planning import Notice
from services.notifications.replies import acknowledge_links, sealed_text
from services.notifications.replies.sealed_text import SealedMessage
from services.notifications.store import NewNotification, NotificationRow
from services.notifications.texts.templates import RenderedMessage, Templates
from services.notifications.texts.translations import TextValues, named_words
from services.outgoing.contact_addresses import masked_address

log = structlog.get_logger(__name__)

URGENT = ("CRITICAL", "HIGH")
LINKED = ("email", "push", "url")
"""Channels whose messages carry a link."""
DUPLICATE_WORD = "(possibly a second time)"

FindsTemplates = Callable[[int], Templates]
"""Callback that returns a tenant's templates."""


class NotificationWriter:
    """Writer of notifications.

    Without `public_url` or `keys`, messages carry no links and no codes. Without a public URL, no
    reply could reach Vigil. Without keys, links and codes would be in readable records.
    """

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
        """Return one row for each notice of a request."""
        words = words_of(request)
        return [self._row(request, notice, words, now=now) for notice in planning.notices(request)]

    def failover(self, row: NotificationRow) -> list[NewNotification]:
        """Return the row for the recipient's next channel; none when there is no other channel."""
        if not row.failover:
            return []
        (channel, recipient), *rest = row.failover
        notice = Notice(channel, recipient, row.name, row.language, tuple((c, r) for c, r in rest))
        values = {name: getattr(row, name) for name in _COPIED}
        words = msgspec.convert(row.words, TextValues)
        return [self._write(notice, words, tenant_id=row.tenant_id, now=row.created_at, **values)]

    def private(self, row: NotificationRow) -> SealedMessage:
        """Return the message of a row as its reader gets it.

        When no key opens the seal any more, only the code is lost: the text is written again with
        its link.
        """
        if row.sealed is None:
            return SealedMessage(
                reference=row.reference, subject=row.subject, text=row.body, html=row.html, link=""
            )

        found = None
        if self._keys is not None and row.sealed != sealed_text.UNREADABLE:
            found = sealed_text.unseal(self._keys.all(), row.sealed, reference=row.reference)
            if found is None:
                log.error("notification_not_decrypted", notification_id=row.notification_id)
        if found is not None:
            return found

        words = msgspec.convert(row.words, TextValues)
        link = self._link(row.channel, row.reference, row.created_at)
        written = self._render(row.tenant_id, row.channel, row.language, words, link=link, code="")

        return SealedMessage(
            reference=row.reference, subject=written.subject, text=written.text, html=written.html, link=link
        )

    def outgoing(self, row: NotificationRow) -> OutgoingMessage:
        """Return the message for the provider.

        An attempt after one that may have been sent has a mark.
        """
        private = self.private(row)
        silent = bool(row.words.get("silent"))
        data = {"alert_id": str(row.alert_id), "alert_type": row.alert_type, "severity": row.severity}
        data |= {
            "link": private.link,
            "site": row.words.get("site", ""),
            "drill": str(row.drill).lower(),
            "silent": str(silent).lower(),
        }

        if silent:
            data["instruction"] = named_words(row.language)["silent"]

        again = row.possible_duplicate
        if again:
            data["possible_duplicate"] = "true"

        return OutgoingMessage(
            reference=row.reference.hex,
            recipient=row.recipient,
            subject=_marked(private.subject, again),
            text=private.text,
            html=private.html,
            data=data,
            urgent=row.severity in URGENT,
            silent=silent,
            possible_duplicate=again,
            template_id=row.template_id,
            hidden=hidden_parts(row, private),
        )

    def digest(self, rows: Sequence[NotificationRow]) -> OutgoingMessage:
        """Return one e-mail about several alerts."""
        first = rows[0]
        again = any(row.possible_duplicate for row in rows)
        lines = [row.body for row in sorted(rows, key=lambda row: row.created_at)]
        count = f"{len(rows)} alerts" if len(rows) != 1 else "1 alert"

        return OutgoingMessage(
            reference=first.reference.hex,
            recipient=first.recipient,
            subject=_marked(f"Vigil: {count} of low severity", again),
            text="\n".join([f"{count} of low severity since the last digest:", "", *lines]),
            possible_duplicate=again,
        )

    def _row(
        self, request: NotificationRequest, notice: Notice, words: TextValues, *, now: datetime
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
        self, notice: Notice, words: TextValues, *, tenant_id: int, now: datetime, **values: object
    ) -> NewNotification:
        reference = uuid4()
        link = self._link(notice.channel, reference, now)
        code = (
            acknowledge_links.make_code(secrets.choice)
            if self._takes_codes and notice.channel == "sms"
            else ""
        )

        sent = self._render(tenant_id, notice.channel, notice.language, words, link=link, code=code)
        shown = sent

        if link or code:
            # Written a second time, because a template may cut and change its values.
            shown = self._render(
                tenant_id,
                notice.channel,
                notice.language,
                words,
                link=sealed_text.LINK if link else "",
                code=sealed_text.CODE if code else "",
            )

        for fault in sent.faults:
            log.error("template_failed", tenant_id=tenant_id, problem=fault)

        return NewNotification(
            tenant_id=tenant_id,
            channel=notice.channel,
            recipient=notice.recipient,
            name=notice.name,
            language=notice.language,
            subject=shown.subject,
            body=shown.text,
            html=shown.html,
            words=msgspec.json.encode(words).decode(),
            template_id=sent.template_id if notice.channel == "sms" else "",
            sealed=self._sealed(reference, sent, link=link, code=code) if link or code else None,
            code_hash=self._hash(code, notice.recipient) if code else None,
            failover=msgspec.json.encode(notice.failover).decode(),
            next_attempt_at=planning.next_digest(now, self._digest_at) if notice.channel == "digest" else now,
            reference=reference,
            **values,  # type: ignore[arg-type]
        )

    @property
    def _takes_codes(self) -> bool:
        """Return whether SMS carry codes.

        Codes are kept as keyed hashes only, so they need keys. Without codes, a word of consent
        takes an alert.
        """
        return bool(self._public_url) and self._keys is not None

    def _render(
        self, tenant_id: int, channel: str, language: str, words: TextValues, *, link: str, code: str
    ) -> RenderedMessage:
        # A digest consists of the lines that an SMS would have.
        channel = "sms" if channel == "digest" else channel
        said = msgspec.structs.replace(words, link=link, code=code)
        return self._templates(tenant_id).render(channel, language, said)

    def _sealed(self, reference: UUID, sent: RenderedMessage, *, link: str, code: str) -> bytes:
        assert self._keys is not None
        private = SealedMessage(
            reference=reference,
            subject=sent.subject,
            text=sent.text,
            html=sent.html,
            link=link,
            code=code,
        )

        return sealed_text.seal(self._keys.sealing(), private)

    def _hash(self, code: str, phone: str) -> bytes:
        assert self._keys is not None
        return sealed_text.hash_code(self._keys.sealing(), code, phone=phone)

    def _link(self, channel: str, reference: UUID, now: datetime) -> str:
        if channel not in LINKED or not self._public_url or self._keys is None:
            return ""
        ends_at = now + timedelta(seconds=self._link_lifetime_s)
        token = acknowledge_links.make_token(
            self._keys.sealing(), reference, ends_at_s=int(ends_at.timestamp())
        )
        return f"{self._public_url}/a/{token}"


_COPIED = ("alert_id", "round", "step", "severity", "alert_type", "drill", "life_safety", "until")


def words_of(request: NotificationRequest) -> TextValues:
    """Return the values of an alert for templates. Its time is the local time of the place."""
    alert = request.alert
    place = (
        f"{alert.lat:.5f},{alert.lon:.5f}"
        if alert.lat is not None and alert.lon is not None
        else request.place
    )

    return TextValues(
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


def hidden_parts(row: NotificationRow, private: SealedMessage) -> dict[str, str]:
    """Return the parts of a message for its reader only, with their replacements in records."""
    parts = {
        private.link: sealed_text.LINK,
        private.link.rpartition("/")[2]: sealed_text.LINK,
        private.code: sealed_text.CODE,
    }
    shown = masked_address(row.channel, row.recipient)
    if shown != row.recipient:
        parts[row.recipient] = shown
        parts[row.recipient.partition("://")[2].partition("/")[2]] = "..."

    return {part: shown for part, shown in parts.items() if len(part) >= acknowledge_links.CODE_LENGTH}


def without_secrets(said: str, outgoing: OutgoingMessage) -> str:
    """Return a provider's text without secrets, for logs and records.

    Providers repeat the message in their errors.
    """
    for part in sorted(outgoing.hidden, key=len, reverse=True):
        said = said.replace(part, outgoing.hidden[part])
    return said


def _zone(name: str) -> tzinfo:
    """Return a site's time zone. An unknown name gives UTC, because the alarm must go out."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _marked(subject: str, again: bool) -> str:
    return f"{subject} {DUPLICATE_WORD}" if again else subject
