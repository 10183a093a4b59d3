"""Effects of SMS replies: a reply takes an alert, or goes on the timelines of open alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from services.contracts.errors import Refused
from services.feed.keyring import KeyRing
from services.notifications.channels.provider import SmsReply
from services.notifications.replies import sealed_text, sms_meaning
from services.notifications.replies.sms_meaning import ReplyMeaning
from services.notifications.replies.store import ReplyStore, SentMessage

log = structlog.get_logger(__name__)

REPLY_WITHIN = timedelta(days=1)
KNOWN_WITHIN = timedelta(days=30)
"""Time in which a code that takes nothing any more is still known as that of its alert."""
KEPT = timedelta(days=2)
"""Time in which answers are remembered: longer than a code is good."""
OPEN = ("NEW", "ACKNOWLEDGED", "IN_PROGRESS")
NO_ANSWER = ""


class ReplyIntake:
    """Handler of replies.

    Args:
        clock: gives aware UTC times.
    """

    def __init__(
        self,
        store: ReplyStore,
        keys: KeyRing | None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    def take(self, reply: SmsReply, alerts: Any) -> str:
        """Give a reply its effect, once.

        Args:
            alerts: the RPC proxy of the alerts service.

        Returns:
            The answer to the sender; empty: none.

        Raises:
            Unavailable: the reply had no effect. The provider may bring it again.
        """
        if not self._store.claim(reply.message_id, now=self._clock()):
            log.info("sms_reply_repeated")
            return NO_ANSWER

        try:
            answer = self._take(reply, alerts)
        except Exception:
            self._store.release(reply.message_id)
            raise

        self._store.finish(reply.message_id, now=self._clock())
        return answer

    def forget(self) -> None:
        """Remove the records of old answers."""
        self._store.forget_answers(before=self._clock() - KEPT)

    def _take(self, reply: SmsReply, alerts: Any) -> str:
        said = sms_meaning.read(reply.text)
        since = self._clock() - REPLY_WITHIN
        opened = self._store.sent_to(reply.from_number, statuses=OPEN, since=since)
        named = self._named(reply.from_number, said, since=since)

        if named and not said.refuses:
            return self._by_code(named, reply, alerts)

        late = [] if named else self._named(reply.from_number, said, since=self._clock() - KNOWN_WITHIN)
        if late:
            self._note(late, reply, alerts)
            log.info("sms_reply_expired", alerts=len(late))
            return self._automatic(reply.from_number, "late", late)
        if len(opened) == 1 and said.consents(opened[0].language):
            return self._acknowledge(opened, reply, alerts)

        self._note(opened or named, reply, alerts)
        log.info("sms_reply_noted", alerts=len(opened), refused=said.refuses)

        if not opened and not said.codes:
            return NO_ANSWER

        only_one_without_code = len(opened) == 1 and not opened[0].has_code
        what = "noted_one" if only_one_without_code else "noted"
        return self._automatic(reply.from_number, what, opened or named)

    def _named(self, phone: str, said: ReplyMeaning, *, since: datetime) -> list[SentMessage]:
        """Return the messages with codes that are in the reply, under every key of the ring."""
        masters = self._keys.all() if self._keys is not None else ()
        hashes = [
            sealed_text.hash_code(master, code, phone=phone) for code in said.codes for master in masters
        ]
        return self._store.by_codes(phone, hashes, since=since)

    def _by_code(self, named: Sequence[SentMessage], reply: SmsReply, alerts: Any) -> str:
        """Take the alerts with codes that were not used yet.

        A code is good once for its alert, round and reader. A sender who uses a code twice has the
        alert, or the alert was raised again since. Then the code of the newest message counts.
        """
        fresh = [sent for sent in named if not self._store.was_confirmed(sent)]
        if fresh:
            return self._acknowledge(fresh, reply, alerts)
        self._note(named, reply, alerts)
        return self._automatic(reply.from_number, "used", named)

    def _acknowledge(self, named: Sequence[SentMessage], reply: SmsReply, alerts: Any) -> str:
        """Acknowledge each alert, and return the answer.

        A confirmation goes before a refusal, because one answer has room for one of them.
        """
        confirmed: SentMessage | None = None
        refused: tuple[SentMessage, str] | None = None
        for sent in named:
            try:
                alerts.acknowledge_alert(
                    tenant_id=sent.tenant_id, alert_id=str(sent.alert_id), by=_who(sent), note="by SMS"
                )
            except Refused as error:
                self._note([sent], reply, alerts)
                refused = sent, str(error)
                continue

            if self._store.may_confirm(sent, now=self._clock()):
                confirmed = sent

        if confirmed is not None:
            return sms_meaning.answer("taken", confirmed.language)
        if refused is not None:
            sent, reason = refused
            return self._automatic(reply.from_number, "refused", [sent], reason=reason)

        return NO_ANSWER

    def _note(self, about: Sequence[SentMessage], reply: SmsReply, alerts: Any) -> None:
        for sent in about:
            try:
                alerts.add_note(
                    tenant_id=sent.tenant_id,
                    alert_id=str(sent.alert_id),
                    by=_who(sent),
                    note=sms_meaning.noted(_who(sent), reply.text),
                )
            except Refused as error:
                log.warning("sms_reply_not_noted", alert_id=str(sent.alert_id), error=str(error))

    def _automatic(self, phone: str, what: str, about: Sequence[SentMessage], *, reason: str = "") -> str:
        """Return an automatic answer, at most one for each number and hour.

        The limit keeps two machines from a conversation.
        """
        if not self._store.may_answer(phone, now=self._clock()):
            return NO_ANSWER
        language = about[0].language if about else "en"
        return sms_meaning.answer(what, language, reason=reason)


def _who(sent: SentMessage) -> str:
    return sent.name or sent.recipient
