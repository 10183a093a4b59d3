"""Tests of the pages for device makers: every link leads somewhere, and the numbers are the code's."""

from __future__ import annotations

from pathlib import Path

from vigil_device.core import STATES_OF_STATUS
from vigil_device.ids import MAX_LENGTH
from vigil_device.policy import DAY_S, Policy

from gateway.mqtt.decoding.payloads import MAX_MSG_ID
from ops.servers.mosquitto import CONFIG

PROJECT = Path(__file__).resolve().parents[3]
OUTBOX = PROJECT / "docs" / "devices" / "outbox.md"


def test_the_rules_have_the_numbers_of_the_package() -> None:
    policy, text = Policy(), OUTBOX.read_text()
    for words in (
        f"`wait` {policy.alert_wait_s:g} s for an alert and {policy.bulk_wait_s:g} s",
        f"`wait + random(0, min({policy.cap_s:g} s, wait x 2^(n-1)))`",
        f"`random(0, min({policy.connect_cap_s:g} s, 2^failures))`",
        f"At most {policy.window} positions and readings",
        f"a position after {policy.max_passed} sends",
        f"At most {MAX_LENGTH} characters",
        f"now - asked_s <= {policy.bulk_wait_s:g}",
        f"kind == ALERT ? {policy.alert_wait_s:g} : {policy.bulk_wait_s:g}",
    ):
        assert words in " ".join(text.split()), words
    assert policy.max_age_s == 7 * DAY_S
    assert MAX_LENGTH == MAX_MSG_ID


def test_every_status_of_a_receipt_is_described() -> None:
    text = OUTBOX.read_text()
    assert {status for status in STATES_OF_STATUS if f"`{status}`" not in text} == set()


def test_what_the_pages_say_of_the_brokers_saving_is_its_configuration() -> None:
    assert "autosave_interval 1\n" in CONFIG
    assert "once a second" in OUTBOX.read_text()
    assert "autosave_interval 1`" in (PROJECT / "docs" / "scaling.md").read_text()
