"""Tests of the declaration of an SMS provider, and of what a provider need not write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.contracts.errors import NotFound
from services.notifications.channels import AcceptedMessage, CannotTell, OutgoingMessage
from services.notifications.channels.provider import (
    Callback,
    Provider,
    ProviderSecret,
    ProviderSetting,
    is_begun,
    reply_id,
    required_of,
    text_of,
    variables,
)
from tests.unit.services.notifications.channels.test_twilio import NoHttp


class Least(Provider):
    """A provider that only sends."""

    name = "least"
    title = "Least"
    settings = (
        ProviderSecret(name="least_key"),
        ProviderSetting(name="least_api_url", default="https://a.b", required=False),
    )

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        return AcceptedMessage(provider_ref=f"{self.text('least_key')}-{outgoing.reference}")


def test_a_provider_that_only_sends_is_whole() -> None:
    account = Least({"least_key": "k"}, NoHttp())
    outgoing = OutgoingMessage(reference="r", recipient="+1", subject="", text="x")
    assert account.send(outgoing).provider_ref == "k-r"
    with pytest.raises(CannotTell, match="least cannot be asked"):
        account.find(outgoing, since=datetime.now(UTC))
    assert not account.is_signed(Callback(url="https://noc.example.com/"))
    with pytest.raises(NotFound, match="least forwards no SMS"):
        account.reply(Callback(url="https://noc.example.com/"))
    assert list(Least.problems({})) == []


def test_a_report_goes_to_a_url_with_the_name_of_the_provider_and_our_reference() -> None:
    account = Least({}, NoHttp(), public_url="https://noc.example.com/")
    assert account.status_url("r") == "https://noc.example.com/api/v1/providers/least/status/r"
    assert Least({}, NoHttp()).status_url("r") == ""


def test_a_setting_has_its_value_or_its_default() -> None:
    key, url = Least.settings
    assert (key.variable, key.is_secret, url.is_secret) == ("LEAST_KEY", True, False)
    assert text_of({"least_api_url": "https://c.d"}, url) == "https://c.d"
    assert text_of({"least_api_url": ""}, url) == "https://a.b"
    assert text_of({"least_key": {"a": "b"}}, key) == ""


def test_a_default_alone_begins_no_provider() -> None:
    assert required_of(Least) == [Least.settings[0]]
    assert not is_begun(Least, {"least_api_url": "https://c.d"})
    assert is_begun(Least, {"least_key": "k"})


def test_variables_are_listed_as_words() -> None:
    one, two = Least.settings
    assert variables([one]) == "LEAST_KEY"
    assert variables([one, two, one]) == "LEAST_KEY, LEAST_API_URL and LEAST_KEY"


def test_a_name_that_is_too_long_is_replaced_by_a_hash() -> None:
    assert reply_id("SM1", {}) == "SM1"
    assert len(reply_id("x" * 65, {"a": "b"})) == 64
    assert reply_id("", {"a": "b"}) != reply_id("", {"a": "c"})
