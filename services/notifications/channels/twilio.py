"""SMS by Twilio's REST API, with delivery reports and replies.

The API is Programmable Messaging, Messages resource of 2010-04-01. Twilio does not keep Vigil's
reference. A message that Twilio took is found by its text among the messages to that number, and
the text has a code of its own. The URL of the status callback has Vigil's reference. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import escape
from typing import Any, Literal

import msgspec

from services.notifications.channels import AcceptedMessage, CannotTell, OutgoingMessage, SendFailed
from services.notifications.channels.provider import (
    Callback,
    HttpAnswer,
    Provider,
    ProviderSecret,
    ProviderSetting,
    SmsReply,
    StatusReport,
    Values,
    body_of,
    reply_id,
)

API = "https://api.twilio.com"
OWN_FIELDS = ("To", "From", "Body", "StatusCallback")
"""Form fields of an SMS that Vigil itself sets."""
INVALID_RECIPIENT = frozenset({21211, 21214, 21217, 21408, 21421, 21610, 21612, 21614})
"""Error codes of Twilio for a number that can never get this message from this sender."""
CLOCKS_APART = timedelta(seconds=5)
PAGES = 5
PAGE_SIZE = 100
STATES: dict[str, Literal["delivered", "failed"]] = {
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}


class TwilioMessage(msgspec.Struct):
    """Fields of a message resource that Vigil reads."""

    sid: str
    body: str = ""
    date_created: str | None = None
    status: str = ""


class TwilioPage(msgspec.Struct):
    messages: list[TwilioMessage]
    next_page_uri: str | None = None


class TwilioError(msgspec.Struct):
    code: int = 0
    message: str = ""


class Twilio(Provider):
    """One account and sending number."""

    name = "twilio"
    title = "Twilio"
    settings = (
        ProviderSetting(name="twilio_account_sid"),
        ProviderSecret(name="twilio_auth_token"),
        ProviderSetting(name="twilio_phone_number", kind="phone"),
        ProviderSetting(name="twilio_api_url", kind="url", default=API, required=False),
        ProviderSetting(
            name="twilio_extra_fields",
            kind="fields",
            required=False,
            help="Further form fields of each SMS, as Twilio's Messages resource has them:"
            " ValidityPeriod=600,RiskCheck=disable",
        ),
    )

    @classmethod
    def problems(cls, values: Values) -> Iterator[str]:
        yield from extra_fields(values)[1]

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        form = {
            **extra_fields(self.values)[0],
            "To": outgoing.recipient,
            "From": self.text("twilio_phone_number"),
            "Body": body_of(outgoing),
        }

        if status_url := self.status_url(outgoing.reference):
            form["StatusCallback"] = status_url

        answer = self._call("POST", self._messages(), data=form)

        if not 200 <= answer.status < 300:
            fault = _decode(answer.body, TwilioError) or TwilioError()
            self.http.check(
                answer,
                permanent=fault.code in INVALID_RECIPIENT,
                said=f"{fault.code} {fault.message}",
            )

        taken = _decode(answer.body, TwilioMessage)
        if taken is None or not taken.sid:
            raise SendFailed("twilio's answer cannot be read", kind="bad_answer", maybe_sent=True)

        return AcceptedMessage(provider_ref=taken.sid)

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:
        since = since.astimezone(UTC) - CLOCKS_APART
        query = {
            "To": outgoing.recipient,
            "DateSent>": f"{since - timedelta(days=1):%Y-%m-%d}",
            "PageSize": PAGE_SIZE,
        }

        url: str | None = self._messages()
        for page_number in range(PAGES):
            if url is None:
                return None
            page = self._page(url, query if page_number == 0 else None)
            for message in page.messages:
                if message.body == body_of(outgoing) and _created(message) >= since:
                    return AcceptedMessage(provider_ref=message.sid)
            url = f"{self._api()}{page.next_page_uri}" if page.next_page_uri else None

        if url is None:
            return None

        raise CannotTell(f"twilio has more than {PAGES * PAGE_SIZE} messages to this number")

    def _page(self, url: str, query: Mapping[str, Any] | None) -> TwilioPage:
        try:
            answer = self._call("GET", url, params=query)
        except SendFailed as error:
            raise CannotTell(str(error)) from error
        page = _decode(answer.body, TwilioPage) if answer.status == 200 else None
        if page is None:
            raise CannotTell(f"twilio answered {answer.status} when asked what it has")
        return page

    def is_signed(self, callback: Callback) -> bool:
        token = self.text("twilio_auth_token")
        given = callback.headers.get("x-twilio-signature", "")
        return bool(token) and hmac.compare_digest(
            signature(callback.url, callback.params, token).encode(), given.encode()
        )

    def status_report(self, callback: Callback) -> StatusReport | None:
        params = callback.params
        status = params.get("MessageStatus") or params.get("SmsStatus") or ""

        state = STATES.get(status.lower())
        if state is None:
            return None

        code = params.get("ErrorCode", "")
        error = f"twilio: {status}" + (f", error {code}" if code else "")
        return StatusReport(
            state=state, error=error if state == "failed" else "", provider_ref=params.get("MessageSid")
        )

    def reply(self, callback: Callback) -> SmsReply:
        params = callback.params
        given = params.get("MessageSid") or params.get("SmsSid") or ""
        return SmsReply(params.get("From", ""), params.get("Body", ""), reply_id(given, params))

    def answer(self, callback: Callback, text: str) -> tuple[str, str]:  # noqa: ARG002
        """Return TwiML, which is empty without an answer."""
        message = f"<Message>{escape(text)}</Message>" if text else ""
        return f'<?xml version="1.0" encoding="UTF-8"?><Response>{message}</Response>', "application/xml"

    def _api(self) -> str:
        return self.text("twilio_api_url").rstrip("/")

    def _messages(self) -> str:
        return f"{self._api()}/2010-04-01/Accounts/{self.text('twilio_account_sid')}/Messages.json"

    def _call(self, method: str, url: str, **options: Any) -> HttpAnswer:
        auth = (self.text("twilio_account_sid"), self.text("twilio_auth_token"))
        return self.http.call(method, url, auth=auth, **options)


def extra_fields(values: Values) -> tuple[dict[str, str], list[str]]:
    """Return the further form fields of each SMS, and a sentence for each unusable field."""
    given = values.get("twilio_extra_fields", "")
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        given = {name.strip(): value.strip() for name, _, value in pairs}

    usable, problems = {}, []
    for name, value in given.items():
        if name.isalnum() and name.isascii() and name not in OWN_FIELDS and value:
            usable[name] = value
            continue
        problems.append(
            f"TWILIO_EXTRA_FIELDS: {name[:50]!r} cannot be set; write it as Name=value,Name=value with names of"
            f" Twilio's Messages resource other than {', '.join(OWN_FIELDS)}; SMS go out without it"
        )

    return usable, problems


def signature(url: str, params: Mapping[str, str], auth_token: str) -> str:
    """Return Twilio's signature of a request: HMAC-SHA1 over URL and sorted parameters.

    See Twilio, "Webhooks security".
    """
    signed = url + "".join(f"{name}{params[name]}" for name in sorted(params))
    digest = hmac.digest(auth_token.encode(), signed.encode(), hashlib.sha1)
    return base64.b64encode(digest).decode()


def _decode(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return None


def _created(message: TwilioMessage) -> datetime:
    try:
        return parsedate_to_datetime(message.date_created or "")
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
