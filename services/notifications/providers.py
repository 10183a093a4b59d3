"""Construction of the providers that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from services.contracts.errors import Misconfigured
from services.notifications.channels import Channel
from services.notifications.channels.apprise import AppriseChannel
from services.notifications.channels.fcm import FcmChannel
from services.notifications.channels.http_client import ProviderHttp
from services.notifications.channels.provider import Provider
from services.notifications.channels.sms_providers import SMS_PROVIDERS
from services.notifications.channels.smtp import SmtpChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.circuit_breaker import ProtectedChannel
from services.notifications.settings import is_usable
from services.outgoing import rules
from services.outgoing.client import OutgoingClient
from services.outgoing.contact_addresses import masked_url, split_list
from services.platform.config import NotificationsSettings

log = structlog.get_logger(__name__)


def is_webhook(recipient: str) -> bool:
    return recipient.lower().startswith(("https://", "http://"))


def to_log(problem: str) -> None:
    log.error("notification_setting_rejected", problem=problem)


def make_providers(
    config: NotificationsSettings, *, environment: str, report: Callable[[str], None] = to_log
) -> dict[str, list[ProtectedChannel]]:
    """Return the providers by channel, the preferred first.

    A provider that cannot be made is reported, and stops no other.

    Args:
        environment: development or production.
    """
    providers: dict[str, list[ProtectedChannel]] = {"email": [], "sms": [], "push": [], "url": []}
    ours = OutgoingClient(rules.of_operator(environment))
    theirs = OutgoingClient(
        rules.of_tenants(allow_private=config.webhook_private, ports=config.webhook_ports)
    )

    def add(channel: str, make: Callable[[], Channel], takes: Callable[[str], bool] = lambda _: True) -> None:
        try:
            made = make()
        except Misconfigured as error:
            report(str(error))
            return

        guarded = ProtectedChannel(
            made,
            failures=config.circuit_failures,
            reset_s=config.circuit_reset_s,
            takes=takes,
            by_recipient=channel == "url",
            shown=masked_url,
        )
        providers[channel].append(guarded)

    for number, url in enumerate(split_list(config.smtp_url), 1):
        add("email", lambda url=url, number=number: _smtp(config, url, number))  # type: ignore[misc]

    for provider in SMS_PROVIDERS:
        if is_usable(provider, config.providers):
            add("sms", partial(_sms, provider, config, ours))

    if config.fcm_credentials_file:
        add("push", lambda: _fcm(config, ours))
    if config.webhook_secret:
        add("url", lambda: _webhook(config, theirs), is_webhook)

    add("url", lambda: _anywhere(config, theirs), lambda url: not is_webhook(url))
    return providers


def _smtp(config: NotificationsSettings, url: str, number: int) -> Channel:
    name = "smtp" if number == 1 else f"smtp-{number}"
    return SmtpChannel(url, name=name, deadline_s=config.call_deadline_s)


def sms_accounts(config: NotificationsSettings, *, environment: str) -> dict[str, Provider]:
    """Return the account at each SMS provider by the provider's name, for its callbacks.

    An account without settings is among them. No request is signed by it.
    """
    client = OutgoingClient(rules.of_operator(environment))
    return {provider.name: _sms(provider, config, client) for provider in SMS_PROVIDERS}


def _sms(provider: type[Provider], config: NotificationsSettings, client: OutgoingClient) -> Provider:
    http = ProviderHttp(client, provider=provider.name, deadline_s=config.call_deadline_s)
    return provider(config.providers, http, public_url=config.public_url)


def _fcm(config: NotificationsSettings, client: OutgoingClient) -> Channel:
    return FcmChannel(
        client,
        credentials_file=config.fcm_credentials_file,
        base_url=config.fcm_api_url,
        deadline_s=config.call_deadline_s,
    )


def _webhook(config: NotificationsSettings, client: OutgoingClient) -> Channel:
    return WebhookChannel(client, secret=config.webhook_secret, deadline_s=config.call_deadline_s)


def _anywhere(config: NotificationsSettings, client: OutgoingClient) -> Channel:
    return AppriseChannel(client, deadline_s=config.call_deadline_s)
