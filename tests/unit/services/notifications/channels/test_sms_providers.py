"""Tests of the list of SMS providers: names are unique, and every declaration has its form."""

from __future__ import annotations

import re

import pytest

from services.notifications.channels.provider import Provider, required_of
from services.notifications.channels.sms_providers import (
    SMS_PROVIDERS,
    needed_variables,
    secrets_of,
    settings_of,
)


def test_no_two_providers_share_a_name_or_a_setting() -> None:
    names = [provider.name for provider in SMS_PROVIDERS]
    settings = [setting.name for setting in settings_of()]
    assert len(names) == len(set(names))
    assert len(settings) == len(set(settings))


@pytest.mark.parametrize("provider", SMS_PROVIDERS)
def test_a_declaration_has_its_form(provider: type[Provider]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]{1,19}", provider.name)
    assert all(re.fullmatch(rf"{provider.name}_[a-z0-9_]+", setting.name) for setting in provider.settings)
    assert required_of(provider), "a provider without needed settings would always be used"
    for setting in provider.settings:
        assert not (setting.required and setting.default), setting.name
        assert not (setting.is_secret and setting.default), setting.name
        assert setting.kind != "url" or setting.default.startswith("https://"), setting.name
        assert not re.search(r"password|secret|token|key", setting.name) or setting.is_secret, setting.name
        assert "\n" not in setting.help


def test_what_an_operator_sets_is_named() -> None:
    said = needed_variables()
    assert "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_PHONE_NUMBER" in said
    assert "; or PLIVO_AUTH_ID, PLIVO_AUTH_TOKEN and PLIVO_SENDER" in said
    assert {secret.variable for secret in secrets_of()} >= {"TWILIO_AUTH_TOKEN", "PLIVO_AUTH_TOKEN"}
