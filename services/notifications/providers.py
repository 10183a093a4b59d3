"""Construction of the providers that the configuration names."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from services.contracts.errors import Misconfigured
from services.notifications.channels import Channel
from services.notifications.channels.apprise import AnywhereChannel
from services.notifications.channels.fcm import FcmChannel
from services.notifications.channels.smtp import SmtpChannel
from services.notifications.channels.twilio import TwilioChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.circuit_breaker import Guarded
from services.notifications.settings import extra_fields
from services.outgoing import rules
from services.outgoing.client import Client
from services.outgoing.contact_addresses import is_phone, shown_url, split_list
from services.platform.config import Notifications

log = structlog.get_logger(__name__)


def is_webhook(recipient: str) -> bool:
    return recipient.lower().startswith(("https://", "http://"))


def to_log(problem: str) -> None:
    log.error("notification_setting_rejected", problem=problem)


def make_providers(
    config: Notifications, *, environment: str, report: Callable[[str], None] = to_log
) -> dict[str, list[Guarded]]:
    """Return the providers by channel, the preferred first.

    A provider that cannot be made is reported, and stops no other.

    Args:
        environment: development or production.
    """
    providers: dict[str, list[Guarded]] = {"email": [], "sms": [], "push": [], "url": []}
    ours = Client(rules.of_operator(environment))
    theirs = Client(rules.of_tenants(allow_private=config.webhook_private, ports=config.webhook_ports))

    def add(channel: str, make: Callable[[], Channel], takes: Callable[[str], bool] = lambda _: True) -> None:
        try:
            made = make()
        except Misconfigured as error:
            report(str(error))
            return
        guarded = Guarded(
            made,
            failures=config.circuit_failures,
            reset_s=config.circuit_reset_s,
            takes=takes,
            by_recipient=channel == "url",
            shown=shown_url,
        )
        providers[channel].append(guarded)

    for number, url in enumerate(split_list(config.smtp_url), 1):
        add("email", lambda url=url, number=number: _smtp(config, url, number))  # type: ignore[misc]
    if config.twilio_account_sid and config.twilio_auth_token and is_phone(config.twilio_phone_number):
        add("sms", lambda: _twilio(config, ours))
    if config.fcm_credentials_file:
        add("push", lambda: _fcm(config, ours))
    if config.webhook_secret:
        add("url", lambda: _webhook(config, theirs), is_webhook)
    add("url", lambda: _anywhere(config, theirs), lambda url: not is_webhook(url))
    return providers


def _smtp(config: Notifications, url: str, number: int) -> Channel:
    name = "smtp" if number == 1 else f"smtp-{number}"
    return SmtpChannel(url, name=name, deadline_s=config.call_deadline_s)


def _twilio(config: Notifications, client: Client) -> Channel:
    return TwilioChannel(
        client,
        account_sid=config.twilio_account_sid,
        auth_token=config.twilio_auth_token,
        from_number=config.twilio_phone_number,
        base_url=config.twilio_api_url,
        public_url=config.public_url,
        deadline_s=config.call_deadline_s,
        extra_fields=extra_fields(config)[0],
    )


def _fcm(config: Notifications, client: Client) -> Channel:
    return FcmChannel(
        client,
        credentials_file=config.fcm_credentials_file,
        base_url=config.fcm_api_url,
        deadline_s=config.call_deadline_s,
    )


def _webhook(config: Notifications, client: Client) -> Channel:
    return WebhookChannel(client, secret=config.webhook_secret, deadline_s=config.call_deadline_s)


def _anywhere(config: Notifications, client: Client) -> Channel:
    return AnywhereChannel(client, deadline_s=config.call_deadline_s)
