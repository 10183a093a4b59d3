"""SMS by Twilio's REST API, with delivery reports and replies.

The API is Programmable Messaging, Messages resource of 2010-04-01. Twilio does not keep Vigil's
reference. A message that Twilio took is found by its text among the messages to that number, and
the text has a code of its own. The URL of the status callback has Vigil's reference.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from services.notifications.channels import Accepted, CannotTell, Outgoing, SendFailed, http_client
from services.notifications.texts import sms_length
from services.outgoing.client import Answer, Client

API = "https://api.twilio.com"
INVALID_RECIPIENT = frozenset({21211, 21214, 21217, 21408, 21421, 21610, 21612, 21614})
"""Error codes of Twilio for a number that can never get this message from this sender."""
CLOCKS_APART = timedelta(seconds=5)
MAX_SID = 64
PAGES = 5
PAGE_SIZE = 100
STATES = {
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}


class Message(msgspec.Struct):
    """Fields of a message resource that Vigil reads."""

    sid: str
    body: str = ""
    date_created: str | None = None
    status: str = ""


class Page(msgspec.Struct):
    messages: list[Message]
    next_page_uri: str | None = None


class Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


class Reply(NamedTuple):
    """SMS from a recipient to Vigil's number.

    `message_id` is the same when the same request comes again.
    """

    from_number: str
    text: str
    message_id: str


class TwilioChannel:
    """One account and sending number.

    Args:
        public_url: the base of callback URLs; empty: no delivery reports are requested.
        extra_fields: form fields that the installation sets for each message.
    """

    name = "twilio"

    def __init__(
        self,
        client: Client,
        *,
        account_sid: str,
        auth_token: str,
        from_number: str,
        base_url: str = API,
        public_url: str = "",
        deadline_s: float = 15.0,
        extra_fields: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._extra = dict(extra_fields or {})
        self._messages = f"{base_url.rstrip('/')}/2010-04-01/Accounts/{account_sid}/Messages.json"
        self._base_url = base_url.rstrip("/")
        self._from = from_number
        self._public_url = public_url.rstrip("/")
        self._deadline_s = deadline_s
        self._auth = (account_sid, auth_token)

    def send(self, outgoing: Outgoing) -> Accepted:
        form = {**self._extra, "To": outgoing.recipient, "From": self._from, "Body": body_of(outgoing)}
        if self._public_url:
            form["StatusCallback"] = f"{self._public_url}/api/v1/providers/twilio/status/{outgoing.reference}"
        answer = self._call("POST", self._messages, data=form)
        if not 200 <= answer.status < 300:
            fault = _decode(answer.body, Fault) or Fault()
            http_client.check(
                answer,
                provider=self.name,
                permanent=fault.code in INVALID_RECIPIENT,
                said=f"{fault.code} {fault.message}",
            )
        taken = _decode(answer.body, Message)
        if taken is None or not taken.sid:
            raise SendFailed("twilio's answer cannot be read", kind="bad_answer", maybe_sent=True)
        return Accepted(provider_ref=taken.sid)

    def find(self, outgoing: Outgoing, *, since: datetime) -> Accepted | None:
        since = since.astimezone(UTC) - CLOCKS_APART
        query = {
            "To": outgoing.recipient,
            "DateSent>": f"{since - timedelta(days=1):%Y-%m-%d}",
            "PageSize": PAGE_SIZE,
        }
        url: str | None = self._messages
        for page_number in range(PAGES):
            if url is None:
                return None
            page = self._page(url, query if page_number == 0 else None)
            for message in page.messages:
                if message.body == body_of(outgoing) and _created(message) >= since:
                    return Accepted(provider_ref=message.sid)
            url = f"{self._base_url}{page.next_page_uri}" if page.next_page_uri else None
        if url is None:
            return None
        raise CannotTell(f"twilio has more than {PAGES * PAGE_SIZE} messages to this number")

    def _page(self, url: str, query: Mapping[str, Any] | None) -> Page:
        try:
            answer = self._call("GET", url, params=query)
        except SendFailed as error:
            raise CannotTell(str(error)) from error
        page = _decode(answer.body, Page) if answer.status == 200 else None
        if page is None:
            raise CannotTell(f"twilio answered {answer.status} when asked what it has")
        return page

    def _call(self, method: str, url: str, **options: Any) -> Answer:
        return http_client.call(
            self._client,
            method,
            url,
            provider=self.name,
            deadline_s=self._deadline_s,
            auth=self._auth,
            **options,
        )


def body_of(outgoing: Outgoing) -> str:
    """Return the text that is sent.

    A possible duplicate has a mark, and each text leaves room for it.
    """
    return sms_length.MARK + outgoing.text if outgoing.possible_duplicate else outgoing.text


def signature(url: str, params: Mapping[str, str], auth_token: str) -> str:
    """Return Twilio's signature of a request: HMAC-SHA1 over URL and sorted parameters.

    See Twilio, "Webhooks security".
    """
    signed = url + "".join(f"{name}{params[name]}" for name in sorted(params))
    digest = hmac.digest(auth_token.encode(), signed.encode(), hashlib.sha1)
    return base64.b64encode(digest).decode()


def is_signed(url: str, params: Mapping[str, str], given: str, auth_token: str) -> bool:
    return hmac.compare_digest(signature(url, params, auth_token).encode(), given.encode())


def status_of(params: Mapping[str, str]) -> tuple[str, str] | None:
    """Return (Vigil's state, error) of a status callback; None for a status that is no news."""
    status = params.get("MessageStatus") or params.get("SmsStatus") or ""
    state = STATES.get(status.lower())
    if state is None:
        return None
    code = params.get("ErrorCode", "")
    error = f"twilio: {status}" + (f", error {code}" if code else "")
    return state, error if state == "failed" else ""


def reply_of(params: Mapping[str, str]) -> Reply:
    """Return the SMS of an inbound request.

    Twilio names the SMS by `MessageSid`. Without one, a hash of all signed parameters is its name.
    """
    given = params.get("MessageSid") or params.get("SmsSid") or ""
    signed = "".join(f"{name}\0{params[name]}\0" for name in sorted(params))
    named = given if 0 < len(given) <= MAX_SID else hashlib.sha256(signed.encode()).hexdigest()
    return Reply(params.get("From", ""), params.get("Body", ""), named)


def _decode(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return None


def _created(message: Message) -> datetime:
    try:
        return parsedate_to_datetime(message.date_created or "")
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
