"""List of the SMS providers, and what is read from their declarations. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.notifications.channels.plivo import Plivo
from services.notifications.channels.provider import Provider, ProviderSetting, required_of, variables
from services.notifications.channels.twilio import Twilio

SMS_PROVIDERS: tuple[type[Provider], ...] = (
    Twilio,
    Plivo,
)
"""The providers of this version, the preferred first. A provider without settings is not used."""


def settings_of(providers: Sequence[type[Provider]] = SMS_PROVIDERS) -> list[ProviderSetting]:
    return [setting for provider in providers for setting in provider.settings]


def secrets_of(providers: Sequence[type[Provider]] = SMS_PROVIDERS) -> list[ProviderSetting]:
    return [setting for setting in settings_of(providers) if setting.is_secret]


def needed_variables(providers: Sequence[type[Provider]] = SMS_PROVIDERS) -> str:
    """Return the variables that an operator sets for SMS, one group for each provider."""
    return "; or ".join(variables(required_of(provider)) for provider in providers)
