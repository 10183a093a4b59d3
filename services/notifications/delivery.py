"""Delivery: due rows become calls to providers, and each call is recorded before and after it.

Each channel has a loop and a few green threads of its own. A provider that hangs delays the calls
of its own channel only, and those up to a deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TypeVar

import eventlet
import structlog
from eventlet.greenpool import GreenPool
from tenacity import RetryCallState
from tenacity.wait import wait_exponential_jitter

from services.contracts.errors import Unavailable
from services.contracts.events import NotificationFinished, Severity
from services.notifications import retry_policy
from services.notifications.channels import AcceptedMessage, CannotTell, OutgoingMessage, SendFailed
from services.notifications.channels.sms_providers import needed_variables
from services.notifications.circuit_breaker import ProtectedChannel
from services.notifications.destination_shares import DestinationShares, destination_of
from services.notifications.planning import ENDED_BY
from services.notifications.poll_pace import PollPace
from services.notifications.process_lock import ProcessLock
from services.notifications.rendering import NotificationWriter, without_secrets
from services.notifications.retry_policy import AttemptState, NextState, RetryRules
from services.notifications.store import NotificationRow, NotificationStore
from services.outgoing.contact_addresses import masked_address
from services.platform import metrics
from services.platform.config import NotificationsSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")

CHANNELS = ("sms", "email", "push", "url", "digest")
TELL_POLL_S = 5.0
AWAY_PAUSE_S = 1.0
STOP_WAIT_S = 4.0
FULL_PAUSE_S = 1.0
"""Seconds after which a message is tried again when its destination had its share of calls."""
DIGEST_AT_ONCE = 500
MISSING = {
    "sms": f"no SMS provider: set {needed_variables()}",
    "email": "no mail server: set SMTP_URL",
    "digest": "no mail server: set SMTP_URL",
    "push": "no push provider: set FCM_CREDENTIALS_FILE",
    "url": "no provider for URLs",
}


class NotificationDelivery:
    """Delivery of notifications, one per process.

    Args:
        providers: the providers by channel, the preferred first.
    """

    def __init__(
        self,
        store: NotificationStore,
        holder: ProcessLock,
        writer: NotificationWriter,
        providers: Mapping[str, Sequence[ProtectedChannel]],
        config: NotificationsSettings,
    ) -> None:
        self._store = store
        self._holder = holder
        self._writer = writer
        self._providers = providers
        self._config = config
        self._rules = RetryRules(config.attempts, config.failover_after)
        self._wait = wait_exponential_jitter(
            multiplier=config.first_retry_s, max=config.longest_retry_s, jitter=config.first_retry_s
        )
        self._shares = DestinationShares(
            of_tenant=config.url_calls_of_tenant, of_destination=config.url_calls_of_destination
        )
        self._due = {channel: threading.Event() for channel in CHANNELS}
        self._looks = {channel: PollPace(now_s=time.monotonic()) for channel in CHANNELS}
        self._ended = threading.Event()

    def wake(self) -> None:
        """Note that something may be due."""
        for channel, event in self._due.items():
            self._looks[channel].found(now_s=time.monotonic())
            event.set()

    def run(self, channel: str) -> None:
        """Deliver a channel's notifications until stopped.

        A call under way then gets a moment to end. The next process asks the provider for the
        result of a longer call.
        """
        config = self._config
        pool = GreenPool(config.url_calls_at_once if channel == "url" else config.calls_at_once)

        for severity in Severity:  # so that the first one is an increase, and no new series
            metrics.alert_notification_sent.labels(channel, severity)

        try:
            while True:
                self._due[channel].clear()
                if self._round(channel, pool):
                    self._looks[channel].found(now_s=time.monotonic())
                else:
                    self._due[channel].wait(self._looks[channel].pause_s(now_s=time.monotonic()))
        finally:
            with eventlet.Timeout(STOP_WAIT_S, False):
                pool.waitall()

    def wake_teller(self) -> None:
        """Note that a notification has ended."""
        self._ended.set()

    def publish_finished(self, publish: Callable[[list[NotificationFinished]], None]) -> None:
        """Publish notifications that have ended, until stopped.

        Failed publications are repeated later.
        """
        while True:
            self._ended.clear()
            try:
                told = self._store.publish_pending(publish)
            except Unavailable as error:
                log.warning("notifications_not_published", error=str(error))
                eventlet.sleep(AWAY_PAUSE_S)
                continue
            if not told:
                self._ended.wait(TELL_POLL_S)

    def recover(self) -> int:
        """Take over the attempts that a crash left, and return their number."""
        rows = self._store.adopt(holder=self._holder.number(), limit=100)
        for row in rows:
            eventlet.spawn_n(self._guard, self._resolve, [row])
        return len(rows)

    def _round(self, channel: str, pool: GreenPool) -> bool:
        """Take the due rows for which there is room. Return False when there were none."""
        with pool.sem:
            room = pool.free() + 1

        now = datetime.now(UTC)
        limits = self._config.rate_limit

        try:
            rows = self._store.take(
                channel,
                holder=self._holder.number(),
                now=now,
                limit=room if channel != "digest" else DIGEST_AT_ONCE,
                most=limits.count,
                since=now - timedelta(seconds=limits.window_s),
                of_tenant=self._config.url_calls_of_tenant if channel == "url" else None,
                full_tenants=self._shares.full_tenants() if channel == "url" else (),
                full_recipients=self._shares.full_recipients() if channel == "url" else (),
            )
        except Unavailable as error:
            log.warning("notifications_postponed", channel=channel, error=str(error))
            eventlet.sleep(AWAY_PAUSE_S)
            return True

        if channel == "digest":
            self._send_digests(rows, pool)
        elif channel == "url":
            self._send_to_urls(rows, pool)
        else:
            for row in rows:
                pool.spawn_n(self._guard, self._deliver, [row])

        return bool(rows)

    def _send_to_urls(self, rows: Sequence[NotificationRow], pool: GreenPool) -> None:
        """Deliver the rows whose tenant and destination have a share left. The others wait."""
        for row in rows:
            destination = destination_of(row.tenant_id, row.recipient)
            if self._shares.take(destination, row.recipient):
                pool.spawn_n(self._guard, self._deliver_to_url, [row])
                continue
            reason = "other messages to this address are on their way"
            at = datetime.now(UTC) + timedelta(seconds=FULL_PAUSE_S)
            following = NextState("pending", at, reason, row.possible_duplicate)
            self._finish(row, following, "full", made=False)

    def _deliver_to_url(self, rows: list[NotificationRow]) -> None:
        [row] = rows
        try:
            self._deliver(rows)
        finally:
            self._shares.give_back(destination_of(row.tenant_id, row.recipient))
            self._due["url"].set()

    def _guard(self, work: Callable[[list[NotificationRow]], None], rows: list[NotificationRow]) -> None:
        """Run `work`.

        After an error of Vigil itself, decide about the rows: none may stay unattended.
        """
        try:
            work(rows)
        except Exception as error:
            log.exception("notification_failed", notification_ids=[row.notification_id for row in rows])
            for row in rows:
                following = retry_policy.perhaps_sent(
                    self._tried(row),
                    f"internal error: {type(error).__name__}",
                    pause_s=self._pause_s(row),
                    rules=self._rules,
                    now=datetime.now(UTC),
                )
                self._finish(row, following, "failed")

    def _kept(self, write: Callable[[], T]) -> T:
        """Write a record that must not be lost. While the database is away, try again."""
        while True:
            try:
                return write()
            except Unavailable as error:
                log.warning("notification_not_recorded", error=str(error))
                eventlet.sleep(AWAY_PAUSE_S)

    def _deliver(self, rows: list[NotificationRow]) -> None:
        [row] = rows
        provider = self._choose(row)
        if provider is None or not self._begin(row, provider):
            return

        outgoing = self._writer.outgoing(row)
        try:
            accepted = provider.send(outgoing, provider.destination(row.tenant_id, row.recipient))
        except SendFailed as error:
            self._failed(row, provider, outgoing, error)
        else:
            self._accepted(row, provider.name, accepted)

    def _begin(self, row: NotificationRow, provider: ProtectedChannel) -> bool:
        return self._kept(
            lambda: self._store.begin(
                row, provider=provider.name, holder=self._holder.number(), now=datetime.now(UTC)
            )
        )

    def _choose(self, row: NotificationRow) -> ProtectedChannel | None:
        """Return the first provider that may be called.

        Without one, return None, and the row waits or has failed.
        """
        now = datetime.now(UTC)
        channel = "email" if row.channel == "digest" else row.channel
        providers = [p for p in self._providers.get(channel, ()) if p.takes(row.recipient)]
        tried = self._tried(row)

        if not providers:
            self._finish(
                row, retry_policy.refused(tried, MISSING[row.channel], now=now), "no_provider", made=False
            )
            return None

        for provider in providers[(row.attempts - 1) % len(providers) :] + providers:
            if provider.allows(provider.destination(row.tenant_id, row.recipient)):
                return provider

        waits_s = [p.wait_s(p.destination(row.tenant_id, row.recipient)) for p in providers]
        put_off_s = max(self._config.first_retry_s, min(waits_s))
        where = f" at {masked_address(channel, row.recipient)}" if channel == "url" else ""
        reason = f"{providers[0].name} is failing{where}; Vigil tries again soon"
        following = retry_policy.no_provider(tried, reason, put_off_s=put_off_s, now=now)
        self._finish(row, following, "circuit_open", made=False)

        return None

    def _failed(
        self, row: NotificationRow, provider: ProtectedChannel, outgoing: OutgoingMessage, error: SendFailed
    ) -> None:
        metrics.alert_notification_failed.labels(row.channel, error.kind).inc()
        # A provider may repeat the message in its error. The message is for its reader only.
        said = without_secrets(str(error), outgoing)
        log.warning(
            "notification_attempt_failed",
            notification_id=row.notification_id,
            provider=provider.name,
            kind=error.kind,
            error=said,
        )

        now = datetime.now(UTC)
        if error.permanent:
            self._finish(row, retry_policy.refused(self._tried(row), said, now=now), error.kind)
        elif error.maybe_sent:
            self._ask(row, provider, outgoing, said, error.kind)
        else:
            pause_s = max(self._pause_s(row), error.retry_after_s or 0.0)
            following = retry_policy.not_sent(
                self._tried(row), said, pause_s=pause_s, rules=self._rules, now=now
            )
            self._finish(row, following, error.kind)

    def _resolve(self, rows: list[NotificationRow]) -> None:
        """Decide about an attempt whose process died: ask the provider, where one was chosen."""
        [row] = rows
        provider = next(
            (p for providers in self._providers.values() for p in providers if p.name == row.provider), None
        )
        log.warning("notification_recovered", notification_id=row.notification_id, provider=row.provider)

        if provider is None:
            # Without a chosen provider, nothing was sent. A chosen provider may have been removed
            # from the configuration.
            decide = retry_policy.not_sent if row.provider is None else retry_policy.perhaps_sent
            following = decide(
                self._tried(row), "the process ended", pause_s=0, rules=self._rules, now=datetime.now(UTC)
            )
            self._finish(row, following, "crashed")
            return

        self._ask(row, provider, self._writer.outgoing(row), "the process ended during the call", "crashed")

    def _ask(
        self,
        row: NotificationRow,
        provider: ProtectedChannel,
        outgoing: OutgoingMessage,
        reason: str,
        kind: str,
    ) -> None:
        """Ask the provider by Vigil's reference whether it has the message.

        When the provider cannot say, decide without an answer.
        """
        since = row.attempt_started_at or row.created_at
        try:
            accepted = provider.find(outgoing, since=since)
        except CannotTell as error:
            following = retry_policy.perhaps_sent(
                self._tried(row, ask=True),
                f"{reason}; {without_secrets(str(error), outgoing)}",
                pause_s=0 if row.life_safety and row.attempts <= 1 else self._pause_s(row),
                rules=self._rules,
                now=datetime.now(UTC),
            )
            self._finish(row, following, kind)
            return

        if accepted is not None:
            self._accepted(row, provider.name, accepted)
            return

        following = retry_policy.not_sent(
            self._tried(row), reason, pause_s=self._pause_s(row), rules=self._rules, now=datetime.now(UTC)
        )
        self._finish(row, following, kind)

    def _accepted(self, row: NotificationRow, provider: str, accepted: AcceptedMessage) -> None:
        now = datetime.now(UTC)
        following = NextState("accepted", now, "", row.possible_duplicate)
        self._kept(
            lambda: self._store.finish(
                row, following, outcome="accepted", now=now, provider_ref=accepted.provider_ref
            )
        )

        metrics.alert_notification_sent.labels(row.channel, row.severity).inc()
        log.info(
            "notification_accepted",
            notification_id=row.notification_id,
            alert_id=str(row.alert_id),
            channel=row.channel,
            provider=provider,
            attempts=row.attempts,
        )
        self.wake_teller()

    def _finish(self, row: NotificationRow, following: NextState, kind: str, *, made: bool = True) -> None:
        failover = self._writer.failover(row) if following.failover else []
        self._kept(
            lambda: self._store.finish(
                row,
                following,
                outcome=kind,
                now=datetime.now(UTC),
                made=made,
                failover=failover,
                ended=ENDED_BY[row.until],
            )
        )

        if failover:
            self.wake()

        if following.state in retry_policy.FINAL:
            self.wake_teller()
        else:
            in_s = (following.at - datetime.now(UTC)).total_seconds()
            self._looks[row.channel].expect(time.monotonic() + in_s)
            self._due[row.channel].set()  # its loop may rest for longer than that

    def fail_over(self, row: NotificationRow) -> None:
        """Notify by the next channel after a provider reported that a message did not arrive.

        The provider had accepted the message before.
        """
        self._store.record(self._writer.failover(row), ended=ENDED_BY[row.until], now=datetime.now(UTC))
        self.wake()

    def _tried(self, row: NotificationRow, *, ask: bool = False) -> AttemptState:
        heard = ask and self._kept(lambda: self._store.was_accepted(row.alert_id))
        return AttemptState(row.life_safety, row.attempts, row.possible_duplicate, bool(row.failover), heard)

    def _pause_s(self, row: NotificationRow) -> float:
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = row.attempts
        return self._wait(state)

    def _send_digests(self, rows: Sequence[NotificationRow], pool: GreenPool) -> None:
        """Send one e-mail to each recipient of a tenant, about all rows that waited for it."""

        def whose(row: NotificationRow) -> tuple[int, str]:
            return row.tenant_id, row.recipient

        for _, group in groupby(sorted(rows, key=whose), key=whose):
            pool.spawn_n(self._guard, self._deliver_digest, list(group))

    def _deliver_digest(self, rows: list[NotificationRow]) -> None:
        first = rows[0]
        provider = self._choose(first)
        if provider is None:
            for row in rows[1:]:
                self._choose(row)
            return

        for row in rows:
            self._begin(row, provider)

        outgoing = self._writer.digest(rows)
        try:
            accepted = provider.send(outgoing)
        except SendFailed as error:
            for row in rows:
                self._failed(row, provider, outgoing, error)
        else:
            for row in rows:
                self._accepted(row, provider.name, accepted)
