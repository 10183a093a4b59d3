"""Tests of a panic from the button to the recipients.

Real messages go to the stand-ins for the providers, and answers come back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.providers import Provider
from tests.providers.server import TOKEN
from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.customer import Customer
from tests.support.outside_clients import OutsideClients, ReceiptSubscriber


@pytest.fixture
def house(outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]) -> Iterator[Customer]:
    made = Customer(outside, tmp_path, outer)
    yield made
    made.close()


def open_page(url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def from_twilio(outside: OutsideClients, path: str, *, token: str = TOKEN, **params: str) -> tuple[int, str]:
    """Send a callback with Twilio's signature: HMAC-SHA1 over the URL and the sorted parameters."""
    url = f"http://{outside.base}{path}"
    signed = url + "".join(f"{name}{params[name]}" for name in sorted(params))
    digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    body = urllib.parse.urlencode(params).encode()
    return open_page(url, body, **{"X-Twilio-Signature": base64.b64encode(digest).decode()})


def link_in(message: dict[str, Any]) -> str:
    found = re.search(r"http://\S+/a/[\w-]+", message["body"])
    assert found, message["body"]
    return found.group()


def test_a_panic_is_told_by_every_channel_and_taken_by_the_link_in_a_mail(house: Customer) -> None:
    outside = house.outside
    device = ReceiptSubscriber(outside, f"receipt/{house.guard}")
    screen = outside.screen(tenant_id=house.tenant_id)
    screen.wait("snapshot")
    house.press(msg_id="p1")
    mail, sms, push = (house.message(kind) for kind in ("smtp", "twilio", "fcm"))
    assert (sms["to"], mail["to"], push["to"]) == tuple(house.addresses.values())
    _, told = screen.wait("alert_updated", lambda f: f["data"]["notified_at"] is not None)
    assert told["data"]["status"] == "NEW"

    link = link_in(mail)
    assert link.startswith(f"http://{outside.base}/a/")
    status, page = open_page(link)
    assert (status, "Asha: acknowledge this alert" in page) == (200, True)
    assert house.alerts()[0][1] == "NEW", "a mail scanner that opens every link takes nothing"
    status, page = open_page(link, b"")
    assert (status, "Acknowledged" in page) == (200, True)
    _, taken = screen.wait("alert_updated", lambda f: f["data"]["status"] == "ACKNOWLEDGED")
    assert taken["data"]["acknowledged_by"] == "Asha"
    assert open_page(link, b"")[0] == 409, "a link works once"
    assert "already" in open_page(link)[1]
    assert open_page(link[:-3] + "abc", b"")[0] in (409, 410)

    screen.send(type="resolve_alert", alert_id=house.alerts()[0][0], note="found well")
    receipts = device.receive(4)
    assert [(told["msg_id"], told["status"], told.get("by")) for told in receipts] == [
        ("p1", "stored", None),
        ("p1", "notified", None),
        ("p1", "acknowledged", "Asha"),
        ("p1", "resolved", "tester"),
    ]


def test_an_sms_reply_takes_the_alert_and_only_twilio_may_bring_it(house: Customer) -> None:
    house.press()
    sms = house.message("twilio")
    found = re.search(r"Reply ([A-Z2-9]{4})\b", sms["body"])
    assert found, sms["body"]
    inbound = "/api/v1/providers/twilio/inbound"
    reply = {"From": house.addresses["phone"], "Body": f" i will take it {found.group(1).lower()} "}
    assert from_twilio(house.outside, inbound, token="somebody else's", **reply)[0] == 403
    assert house.alerts()[0][1] == "NEW"
    status, answer = from_twilio(house.outside, inbound, **{**reply, "Body": "AAAA"})
    assert (status, "does not know" in answer) == (200, True), "a mistyped code takes nothing"
    status, answer = from_twilio(house.outside, inbound, **{**reply, "From": "+14155550100"})
    assert (status, "does not know" in answer) == (200, True)
    status, answer = from_twilio(house.outside, inbound, **reply)
    assert (status, "You have acknowledged the alert" in answer) == (200, True)
    [(_, state, by)] = house.alerts()
    assert (state, by) == ("ACKNOWLEDGED", "Asha")
    status, answer = from_twilio(house.outside, inbound, **reply)
    assert (status, "<Message>" in answer) == (200, False), "the same request has one effect and one answer"


def test_twilio_says_what_became_of_an_sms(house: Customer, tmp_path: Path) -> None:
    only_sms = {
        "CRITICAL": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contacts"]}], "repeat_s": 600}
    }
    house.set_policy(only_sms, tmp_path)
    house.press()
    sms = house.message("twilio")
    path = f"/api/v1/providers/twilio/status/{sms['reference']}"
    said = {"MessageSid": sms["id"], "MessageStatus": "delivered"}
    assert from_twilio(house.outside, path, token="somebody else's", **said)[0] == 403
    assert from_twilio(house.outside, path, **said)[0] == 204
    house.outside.until(lambda: [row[:2] for row in house.notifications()] == [("sms", "delivered")])

    house.outside.publish(f"alert/sos/{house.guard}", {"message": "sos"})
    second = house.message("twilio", 1)
    path = f"/api/v1/providers/twilio/status/{second['reference']}"
    lost = {"MessageSid": second["id"], "MessageStatus": "undelivered", "ErrorCode": "30003"}
    assert from_twilio(house.outside, path, **lost)[0] == 204
    mail = house.message("smtp")
    assert "SOS" in mail["subject"], "what did not arrive is told otherwise"
    assert ("sms", "failed") in {row[:2] for row in house.notifications()}


def test_a_silent_panic_is_told_to_people_and_its_source_hears_nothing_at_all(house: Customer) -> None:
    device = ReceiptSubscriber(house.outside, f"receipt/{house.guard}")
    house.press(silent=True, msg_id="p1")
    mail = house.message("smtp")
    assert "silent" in mail["body"].lower()
    assert open_page(link_in(mail), b"")[0] == 200
    house.outside.until(lambda: house.alerts()[0][1] == "ACKNOWLEDGED")
    # A later message on the same topic shows that no message came before it.
    house.outside.publish(f"guard/{house.guard}/gps", {"lat": 12.0, "lon": 77.0, "msg_id": "f1"})
    assert [(told["msg_id"], told["status"]) for told in device.receive(1)] == [("f1", "stored")]


def test_a_drill_goes_all_the_way_and_is_marked_everywhere(house: Customer) -> None:
    screen = house.outside.screen(tenant_id=house.tenant_id)
    screen.wait("snapshot")
    house.press(drill=True, message="<script>alert(1)</script>")
    _, frame = screen.wait("critical_alert")
    assert frame["data"]["drill"] is True
    for kind in ("smtp", "twilio", "fcm"):
        message = house.message(kind)
        assert "DRILL" in f"{message.get('subject', '')} {message['body']}"
    page = open_page(link_in(house.message("smtp")))[1]
    assert "<script>" not in page
    assert "DRILL" in page
    report = json.loads(run_vigil(house.outside.env, "report", "--tenant", str(house.tenant_id), "--json"))
    assert report["alerts"] == []
    assert [row["raised"] for row in report["drills"]["alerts"]] == [1]


def test_with_every_provider_hanging_the_screen_shows_the_panic_in_under_200_ms(house: Customer) -> None:
    screen = house.outside.screen(tenant_id=house.tenant_id)
    screen.wait("snapshot")
    providers = [house.outer[kind] for kind in ("smtp", "twilio", "fcm")]
    before = [provider.requests_seen() for provider in providers]
    for provider in providers:
        provider.behave("hang")
    house.press()
    screen.wait("critical_alert")
    house.outside.until(lambda: all(p.requests_seen() > n for p, n in zip(providers, before, strict=True)))
    for topic in ("sos", "duress", "medical"):
        sent_s = time.monotonic()
        house.press(topic)
        came_s, _ = screen.wait("critical_alert")
        assert came_s - sent_s < 0.2
    for provider in providers:
        provider.behave("accept")
    # Vigil gave up on nothing: with the providers back, each of the four panics reaches somebody.
    ids = {row[0] for row in house.alerts()}
    query = (
        "SELECT DISTINCT alert_id::text FROM notification JOIN mqtt_device_alert USING (alert_id)"
        " WHERE source_id = %s AND state = 'accepted'"
    )
    house.outside.until(
        lambda: {row[0] for row in house.outside.rows(query, house.guard)} == ids, timeout_s=90
    )


def test_a_wrong_setting_is_one_clear_line_at_the_start_and_stops_nothing_else(house: Customer) -> None:
    stack = house.outside.stack
    [process] = [process for process in stack.supervisor.processes if process.name == "notifications"]
    right = dict(process._environment)
    log = stack.home / "log" / "notifications.log"

    def restart() -> None:
        process.kill()
        house.outside.until(lambda: stack.supervisor.poll() or process.state != "ready")
        assert stack.supervisor.wait_ready(["notifications"], timeout_s=30) == []

    before = log.stat().st_size
    process._environment |= {
        "FCM_SERVER_KEY": canary("AAAA-a-key-of-2019"),
        "ALERT_SMS_RECIPIENTS": "09876543210, +919876543210",
    }
    try:
        restart()
        said = [json.loads(line) for line in log.read_bytes()[before:].splitlines() if line.startswith(b"{")]
        problems = [line["problem"] for line in said if line["event"] == "notification_setting_rejected"]
        assert len(problems) == 2
        for words, problem in zip(
            (("FCM_SERVER_KEY", "FCM_CREDENTIALS_FILE"), ("'09876543210'", "E.164")), problems, strict=True
        ):
            assert all(word in problem for word in words), problem
        house.press()
        for kind in ("smtp", "twilio", "fcm"):
            house.message(kind)
    finally:
        process._environment.clear()
        process._environment.update(right)
        restart()
