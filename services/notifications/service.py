"""Notifications service: sends messages about alerts by real channels, and records the results."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog

from services.contracts.enum_words import inside
from services.contracts.errors import Forbidden, NotFound, Refused
from services.contracts.events import AlertEvent, NotificationFinished, NotificationRequest
from services.feed.keyring import KeyRing
from services.messaging import (
    NOTHING_DUE,
    Publisher,
    Resource,
    RpcProxy,
    event_handler,
    loop,
    rpc,
    rpc_of,
    timer,
)
from services.notifications import settings
from services.notifications.channels.provider import Callback, Provider
from services.notifications.delivery import NotificationDelivery
from services.notifications.planning import ENDED_BY
from services.notifications.process_lock import ProcessLock
from services.notifications.providers import make_providers, sms_accounts
from services.notifications.rendering import NotificationWriter
from services.notifications.replies import acknowledge_links
from services.notifications.replies.intake import ReplyIntake
from services.notifications.replies.store import ReplyStore
from services.notifications.store import NotificationStore
from services.notifications.texts.template_store import TemplateStore
from services.notifications.texts.templates import Templates
from services.outgoing.contact_addresses import masked_address
from services.platform import metrics
from services.platform.config import Config
from services.platform.database import Database

log = structlog.get_logger(__name__)

TEMPLATES_AGE_S = 5.0
FORGET_S = 600.0
RECOVERY_REST_S = 3.0
"""Seconds between checks for attempts of dead processes, while there are none."""


class NotificationsParts:
    """Stores and collaborators of the service, made once per process."""

    def __init__(self, config: Config) -> None:
        for problem in settings.problems(config.notifications):
            log.error("notification_setting_rejected", problem=problem)

        database = Database(config, name="notifications")
        self.store = NotificationStore(database)
        self.templates = TemplateStore(database)
        self.holder = ProcessLock(database)
        self.keys = KeyRing.from_config(config) if config.feed.encryption == "fernet" else None
        self.public_url = config.notifications.public_url.rstrip("/")
        self.sms_accounts = sms_accounts(config.notifications, environment=config.environment)
        self.providers = make_providers(config.notifications, environment=config.environment)
        self.writer = NotificationWriter(
            self._templates,
            self.keys,
            public_url=self.public_url,
            link_lifetime_s=config.notifications.link_lifetime_s,
            digest_at=settings.digest_time(config.notifications),
        )

        self.answering = ReplyIntake(ReplyStore(database), self.keys)
        self.delivery = NotificationDelivery(
            self.store, self.holder, self.writer, self.providers, config.notifications
        )
        self._known: dict[int, tuple[float, Templates]] = {}

    def _templates(self, tenant_id: int) -> Templates:
        """Return the tenant's templates, at most a few seconds old."""
        read_at_s, templates = self._known.get(tenant_id, (float("-inf"), Templates({})))
        if time.monotonic() - read_at_s > TEMPLATES_AGE_S:
            templates = compiled(tuple(sorted(self.templates.of_tenant(tenant_id).items())))
            self._known[tenant_id] = time.monotonic(), templates
        return templates

    def close(self) -> None:
        self.holder.close()


@lru_cache(maxsize=1000)
def compiled(overrides: tuple[tuple[tuple[str, str, str], str], ...]) -> Templates:
    return Templates(dict(overrides))


class NotificationsService:
    name = "notifications"

    events = Publisher()
    alerts = RpcProxy("alerts")
    parts = Resource(NotificationsParts)

    list_notifications = rpc_of("store", NotificationStore.list_notifications)
    list_templates = rpc_of("templates", TemplateStore.list_templates)
    set_template = rpc_of("templates", TemplateStore.set_template)
    remove_template = rpc_of("templates", TemplateStore.remove_template)

    @event_handler("alerts", "notification_requested", NotificationRequest, vital=True)
    def write_notifications(self, event: NotificationRequest) -> None:
        now = datetime.now(UTC)
        rows = self.parts.writer.rows(event, now=now)
        new = self.parts.store.record(rows, ended=ENDED_BY[event.until], now=now)
        log.info(
            "notifications_written", alert_id=event.alert.id, step=event.step, round=event.round, new=new
        )
        self.parts.delivery.wake()

    @event_handler("alerts", "alert_updated", AlertEvent, vital=True)
    def withdraw_notifications(self, event: AlertEvent) -> None:
        """Withdraw the pending notifications of an alert that somebody has."""
        alert = event.alert
        over = [until for until, statuses in ENDED_BY.items() if alert.status in statuses]
        if over:
            by = f" by {alert.acknowledged_by}" if alert.acknowledged_by else ""
            error = f"the alert is {inside(alert.status)}{by}"
            self.parts.store.withdraw(alert.id, until=over, error=error, now=datetime.now(UTC))

    @loop
    def deliver_sms(self) -> None:
        self.parts.delivery.run("sms")

    @loop
    def deliver_email(self) -> None:
        self.parts.delivery.run("email")

    @loop
    def deliver_push(self) -> None:
        self.parts.delivery.run("push")

    @loop
    def deliver_to_urls(self) -> None:
        self.parts.delivery.run("url")

    @loop
    def deliver_digests(self) -> None:
        self.parts.delivery.run("digest")

    @loop
    def tell_finished(self) -> None:
        """Publish every notification that has ended, for the alerts service.

        A crash of this process loses none of them.
        """
        self.parts.delivery.publish_finished(self._publish)

    @timer(1.0, rest_s=RECOVERY_REST_S)
    def recover_attempts(self) -> float | None:
        self.parts.holder.keep()
        return None if self.parts.delivery.recover() else NOTHING_DUE

    @rpc
    def describe_link(self, *, token: str) -> dict[str, Any]:
        """Return the content of the message that a link belongs to.

        Raises:
            Refused: Vigil did not make the link, or it has ended.
            NotFound: the message is no longer on record.
        """
        row = self.parts.store.find(self._reference(token))
        return {
            "subject": row.subject or row.body,
            "body": row.body,
            "name": row.name,
            "used": row.link_used_at is not None,
        }

    @rpc
    def use_link(self, *, token: str) -> dict[str, Any]:
        """Take the alert of a message for its reader. A link works once.

        Raises `Refused`, `Conflict`, `NotFound`.
        """
        reference = self._reference(token)
        row = self.parts.store.find(reference)
        if row.link_used_at is not None:
            raise Refused("this link was used already; log in to the control room to see who has the alert")
        self._acknowledge(reference, how=f"by the link in {row.channel}")
        self.parts.store.use_link(reference, now=datetime.now(UTC))
        return {"name": row.name, "subject": row.subject or row.body}

    @rpc
    def take_provider_report(self, *, provider: str, reference: str, request: dict[str, Any]) -> None:
        """Record an SMS provider's report about a message.

        Args:
            provider: the provider's name.
            reference: Vigil's id of the message.
            request: path, params, body and headers of the provider's request.

        Raises:
            NotFound: there is no such provider or message.
            Forbidden: the provider did not sign the request.
        """
        account, callback = self._signed(provider, request)
        report = account.status_report(callback)
        if report is None:
            return

        row = self.parts.store.report(
            _uuid(reference),
            state=report.state,
            error=report.error,
            provider_ref=report.provider_ref,
            now=datetime.now(UTC),
        )
        if row is None:
            return
        if report.state == "failed":
            metrics.alert_notification_failed.labels(row.channel, "undelivered").inc()
            self.parts.delivery.fail_over(row)

        self.parts.delivery.wake_teller()

    @rpc
    def take_reply(self, *, provider: str, request: dict[str, Any]) -> dict[str, str]:
        """Handle an SMS to the installation's number.

        Returns:
            The body and the content type of the answer to the provider's request.

        Raises:
            NotFound: there is no such provider, or it forwards no SMS.
            Forbidden: the provider did not sign the request.
            Unavailable: the reply had no effect. The provider may bring it again.
        """
        account, callback = self._signed(provider, request)
        text = self.parts.answering.take(account.reply(callback), self.alerts)
        body, content_type = account.answer(callback, text)
        return {"body": body, "content_type": content_type}

    @timer(FORGET_S)
    def forget_answers(self) -> None:
        self.parts.answering.forget()

    def _acknowledge(self, reference: UUID, *, how: str) -> None:
        row = self.parts.store.find(reference)
        who = row.name or masked_address(row.channel, row.recipient)
        self.alerts.acknowledge_alert(tenant_id=row.tenant_id, alert_id=str(row.alert_id), by=who, note=how)

    def _reference(self, token: str) -> UUID:
        if self.parts.keys is None:
            raise NotFound("this installation has no acknowledgement links: set VIGIL_PUBLIC_URL")
        return acknowledge_links.read_token(self.parts.keys.all(), token, now_s=time.time())

    def _signed(self, name: str, request: dict[str, Any]) -> tuple[Provider, Callback]:
        """Return the account and the request of a provider that signed it.

        The signed URL is the one that the provider was given. A proxy may have changed it since.
        Raises `NotFound`, `Forbidden`.
        """
        account = self.parts.sms_accounts.get(name)
        if account is None:
            raise NotFound(f"no SMS provider {name!r} is set up")

        callback = Callback(
            url=f"{self.parts.public_url}{request['path']}",
            params=request["params"],
            body=request["body"],
            headers=request["headers"],
        )
        if not account.is_signed(callback):
            raise Forbidden("the request is not signed by the provider")

        return account, callback

    def _publish(self, finished: list[NotificationFinished]) -> None:
        self.events.publish_all([("notification_finished", event) for event in finished])


def _uuid(text_form: str) -> UUID:
    try:
        return UUID(text_form)
    except ValueError as error:
        raise NotFound("no such notification") from error
