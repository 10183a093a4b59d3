"""Tests of replies by SMS as Twilio brings them.

Only a code or a lone word of consent acknowledges an alert.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from tests.providers import Provider
from tests.providers.server import TOKEN
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

INBOUND = "/api/v1/providers/twilio/inbound"


class Post(NamedTuple):
    """A guarded place of its own, with its guard and the phone of the one contact for its alerts."""

    guard: str
    phone: str


class Company:
    """A tenant whose places each have one guard and one contact with a phone.

    The escalation policy is the built-in one.
    """

    def __init__(self, outside: OutsideClients, outer: dict[str, Provider]) -> None:
        self.outside = outside
        self.twilio = outer["twilio"]
        self.tenant_id = secrets.randbelow(1_000_000) + 2_000_000
        run_vigil(outside.env, "tenant", "add", str(self.tenant_id), f"Company {self.tenant_id}")
        self._supervisor = outside.token(tenant_id=self.tenant_id, role="supervisor")
        self._operator = outside.token(tenant_id=self.tenant_id, role="operator", name="Meera")

    def close(self) -> None:
        self.outside.execute("DELETE FROM alert_timer WHERE tenant_id = %s", self.tenant_id)

    def post(self, language: str = "en") -> Post:
        word = secrets.token_hex(4)
        post = Post(f"guard-{word}", f"+9197{int(word, 16) % 10**8:08}")
        site = self._add("/sites", name=f"Site {word}")
        self._add("/guards", guard_id=post.guard, name="Ravi", site_id=site)
        self._add("/contacts", name=f"Asha {word}", phone=post.phone, language=language, site_id=site)
        return post

    def press(self, *posts: Post, topic: str = "panic") -> None:
        """Press each button, and wait until each phone has the message."""
        before = {post: len(self.taken(post)) for post in posts}
        for post in posts:
            self.outside.publish(f"alert/{topic}/{post.guard}", {"message": "help"})
        self.outside.until(lambda: all(len(self.taken(p)) > before[p] for p in posts), timeout_s=60)
        accepted = (
            "SELECT count(*) FROM notification JOIN mqtt_device_alert USING (tenant_id, alert_id)"
            " WHERE source_id = %s AND channel = 'sms' AND state <> 'accepted'"
        )
        self.outside.until(lambda: all(self.outside.rows(accepted, p.guard) == [(0,)] for p in posts))

    def taken(self, post: Post) -> list[dict[str, Any]]:
        return [message for message in self.twilio.accepted() if message["to"] == post.phone]

    def code(self, post: Post, number: int = -1) -> str:
        found = re.search(r"(?:Reply|उत्तर दें) ([A-Z2-9]{4})\b", self.taken(post)[number]["body"])
        assert found, self.taken(post)
        return found.group(1)

    def reply(self, post: Post, text: str, *, sid: str = "", phone: str = "") -> str | None:
        """Send an SMS with Twilio's signature. Return the answer, or None when there is none."""
        params = {
            "From": phone or post.phone,
            "Body": text,
            "MessageSid": sid or f"SM{secrets.token_hex(16)}",
            "To": "+15017122661",
            "NumMedia": "0",
        }
        url = f"http://{self.outside.base}{INBOUND}"
        signed = url + "".join(f"{name}{params[name]}" for name in sorted(params))
        digest = hmac.new(TOKEN.encode(), signed.encode(), hashlib.sha1).digest()
        request = urllib.request.Request(url, data=urllib.parse.urlencode(params).encode())
        request.add_header("X-Twilio-Signature", base64.b64encode(digest).decode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read().decode()
        found = re.search(r"<Message>(.*)</Message>", said)
        assert said.endswith("</Response>" if found else "<Response></Response>")
        return found.group(1) if found else None

    def alerts(self, post: Post) -> list[dict[str, Any]]:
        """Return the alerts of a post with their timelines, oldest first."""
        listed = self._get(f"/alerts?status=all&source_id={post.guard}")
        return [self._get(f"/alerts/{alert['id']}") for alert in reversed(listed)]

    def act(self, alert: dict[str, Any], verb: str) -> None:
        path = f"/api/v1/alerts/{alert['id']}/{verb}"
        status, answer = self.outside.request("POST", path, {"note": "seen to"}, token=self._operator)
        assert status == 200, answer

    def notes(self, post: Post, number: int = 0) -> list[tuple[str, str]]:
        """Return (by, note) of the notes that people put on an alert's timeline."""
        timeline = self.alerts(post)[number]["timeline"]
        return [(line["by"], line["note"]) for line in timeline if line["action"] == "noted"]

    def _get(self, path: str) -> Any:
        status, answer = self.outside.request("GET", f"/api/v1{path}", token=self._operator)
        assert status == 200, answer
        return answer

    def _add(self, path: str, **values: Any) -> Any:
        status, answer = self.outside.request("POST", f"/api/v1{path}", values, token=self._supervisor)
        assert status == 201, answer
        return answer["id"]


@pytest.fixture
def company(outside: OutsideClients, outer: dict[str, Provider]) -> Iterator[Company]:
    made = Company(outside, outer)
    yield made
    made.close()


# (language of the contact, text); {code} is the code of the message.
TAKES: Sequence[tuple[str, str]] = (
    ("en", "{code}"),
    ("en", "{lower} thanks"),
    ("en", "I will take it ({code})."),
    ("en", "{wide}"),
    ("hi", "{code} जी"),
    ("en", "No problem, {code}"),
    ("en", "YES"),
    ("en", "Ok, thanks sir 👍"),
    ("en", "ON MY WAY!"),
    ("hi", "हाँ"),
    ("hi", "ठीक है"),
    ("hi", "ok"),
)
TAKES_NOTHING: Sequence[tuple[str, str]] = (
    ("en", "No"),
    ("en", "Can't go, call Ravi"),
    ("en", "who is this?"),
    ("en", "I'm driving with Do Not Disturb While Driving turned on."),
    ("en", "Out of office until Monday"),
    ("en", "STOP"),
    ("en", "busy"),
    ("en", "Nope"),
    ("en", "ZZZZ"),
    ("en", ""),
    ("en", "OK Google"),
    ("en", "Yes I got your message but I am away"),
    ("en", "YES?"),
    ("en", "got it"),
    ("en", "no, not {code}"),
    ("en", "can’t take {code}"),
    ("hi", "नहीं"),
    ("hi", "नहीं {code}"),
    ("en", "हाँ"),
    ("en", "ZZ99"),
)


def test_a_code_or_a_lone_word_of_consent_takes_the_alert_and_nothing_else_does(company: Company) -> None:
    # Given an alert of each place on the phone of its contact
    posts = [company.post(language) for language, _ in (*TAKES, *TAKES_NOTHING)]
    company.press(*posts)
    for post, (_, form), takes in zip(
        posts, (*TAKES, *TAKES_NOTHING), [True] * len(TAKES) + [False] * len(TAKES_NOTHING), strict=True
    ):
        code = company.code(post)
        wide = "".join(chr(ord(letter) + 0xFEE0) for letter in code)
        text = form.format(code=code, lower=code.lower(), wide=wide)
        # When the contact answers
        answer = company.reply(post, text)
        # Then only an act acknowledges it, and any other text is noted in the contact's name
        [alert] = company.alerts(post)
        name = f"Asha {post.guard.removeprefix('guard-')}"
        if takes:
            assert (alert["status"], alert["acknowledged_by"]) == ("ACKNOWLEDGED", name), text
            assert company.notes(post) == [], text
            assert answer is not None
            continue
        assert (alert["status"], alert["acknowledged_by"]) == ("NEW", None), text
        assert company.notes(post) == [(name, f"{name} answered by SMS: {text or '(empty)'}")]
        assert answer is not None
        assert answer.startswith(("Not acknowledged", "नहीं लिया गया")), text


def test_a_word_of_consent_takes_nothing_while_two_alerts_are_open_and_a_code_takes_its_own(
    company: Company,
) -> None:
    # Given two open alerts on one phone
    post = company.post()
    company.press(post)
    first = company.code(post)
    company.press(post, topic="sos")
    # When the contact consents without naming one of them
    answer = company.reply(post, "YES")
    # Then neither is acknowledged, and both have the answer on their timelines
    assert answer is not None
    assert answer.startswith("Not acknowledged")
    assert [alert["status"] for alert in company.alerts(post)] == ["NEW", "NEW"]
    assert [len(company.notes(post, number)) for number in (0, 1)] == [1, 1]
    # And a code acknowledges the alert of its message. The other one stays open
    assert str(company.reply(post, first)).startswith("You have acknowledged")
    assert [alert["status"] for alert in company.alerts(post)] == ["ACKNOWLEDGED", "NEW"]


def test_a_machine_that_answers_every_sms_is_answered_once_an_hour(company: Company) -> None:
    post = company.post()
    company.press(post)
    # When an auto-responder writes five times
    answers = [company.reply(post, f"Out of office, ticket {number}") for number in range(5)]
    # Then it is answered once, and all its messages are noted
    assert [answer is not None for answer in answers] == [True, False, False, False, False]
    assert len(company.notes(post)) == 5
    # And a real act within that hour is still confirmed, once
    assert str(company.reply(post, company.code(post))).startswith("You have acknowledged")
    assert company.reply(post, company.code(post)) is None
    # And after an hour it would be answered again
    aged = "UPDATE sms_answer SET answered_at = answered_at - interval '61 minutes' WHERE phone = %s"
    company.outside.execute(aged, post.phone)
    assert company.reply(post, "Out of office") is not None


def test_the_same_signed_request_has_one_effect(company: Company) -> None:
    # Given a YES that acknowledged an alert
    post = company.post()
    company.press(post)
    assert str(company.reply(post, "YES", sid="SM-recorded")).startswith("You have acknowledged")
    # When its request is replayed, at once and after a second alarm
    assert company.reply(post, "YES", sid="SM-recorded") is None
    [alert] = company.alerts(post)
    company.act(alert, "resolve")
    company.press(post)
    assert company.reply(post, "YES", sid="SM-recorded") is None
    # Then it does not acknowledge the second alarm
    assert [alert["status"] for alert in company.alerts(post)] == ["RESOLVED", "NEW"]
    # And a new YES acknowledges it
    assert str(company.reply(post, "YES")).startswith("You have acknowledged")


def test_a_code_is_good_once_and_a_late_one_takes_nothing_and_is_on_record(company: Company) -> None:
    # Given an alert that was acknowledged by its code, and is raised again
    post = company.post()
    company.press(post)
    code = company.code(post)
    assert str(company.reply(post, code)).startswith("You have acknowledged")
    [alert] = company.alerts(post)
    company.act(alert, "resolve")
    # When the same code comes in another message
    company.outside.execute("DELETE FROM sms_answer WHERE phone = %s AND about = ''", post.phone)
    answer = company.reply(post, code)
    # Then the answer says that the code was used, and the timeline has the message
    assert "used already" in str(answer)
    # And the code of a message of two days ago acknowledges nothing, though its alert is open
    late = company.post()
    company.press(late)
    old = company.code(late)
    aged = "UPDATE notification SET created_at = created_at - interval '2 days' WHERE recipient = %s"
    company.outside.execute(aged, late.phone)
    assert "more than a day old" in str(company.reply(late, old))
    [alert] = company.alerts(late)
    assert alert["status"] == "NEW"


def test_a_text_without_a_code_is_not_answered_while_no_alert_is_open(company: Company) -> None:
    post, stranger = company.post(), company.post()
    company.press(post)
    code = company.code(post)
    [alert] = company.alerts(post)
    company.act(alert, "resolve")
    # When somebody writes about no open alert
    assert company.reply(post, "YES") is None
    assert company.reply(post, "who is this?") is None
    assert company.reply(stranger, "hello", phone="+14155550100") is None
    # Then the answer to a code of the closed alert says why it acknowledges nothing
    answer = company.reply(post, code)
    assert "closed" in str(answer)
    assert [alert["status"] for alert in company.alerts(post)] == ["RESOLVED"]


def test_a_code_takes_nothing_from_another_number_and_nothing_that_somebody_else_has(
    company: Company,
) -> None:
    post, other = company.post(), company.post()
    company.press(post, other)
    # When the code comes from another number
    answer = company.reply(other, company.code(post))
    # Then neither alert is acknowledged
    assert str(answer).startswith("Not acknowledged")
    assert [company.alerts(p)[0]["status"] for p in (post, other)] == ["NEW", "NEW"]
    # And the answer to the code of an acknowledged alert names the operator who has it
    [alert] = company.alerts(post)
    company.act(alert, "acknowledge")
    assert "Meera has this alert already" in str(company.reply(post, company.code(post)))
    assert company.alerts(post)[0]["acknowledged_by"] == "Meera"
