"""SMS by Plivo's Message API (v1), with delivery reports and replies. Pure.

Plivo keeps neither Vigil's reference nor, in its records, the text of a message. So it cannot be
asked for a message whose answer was lost. Its signature (version 2) is over the URL and a nonce.
Therefore the URL of delivery reports has Vigil's reference, and TLS protects the parameters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from html import escape
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from services.notifications.channels import AcceptedMessage, OutgoingMessage, SendFailed
from services.notifications.channels.provider import (
    Callback,
    Provider,
    ProviderSecret,
    ProviderSetting,
    SmsReply,
    StatusReport,
    body_of,
    reply_id,
)

API = "https://api.plivo.com"
STATES: dict[str, Literal["delivered", "failed"]] = {
    "delivered": "delivered",
    "undelivered": "failed",
    "failed": "failed",
    "rejected": "failed",
}


class PlivoQueued(msgspec.Struct):
    """Fields of the answer to an accepted message that Vigil reads."""

    message_uuid: list[str]


class PlivoRefusal(msgspec.Struct):
    """Fields of the answer to a refused message that Vigil reads."""

    error: str = ""


class Plivo(Provider):
    """One account and sender."""

    name = "plivo"
    title = "Plivo"
    settings = (
        ProviderSetting(name="plivo_auth_id"),
        ProviderSecret(name="plivo_auth_token"),
        ProviderSetting(
            name="plivo_sender",
            kind="sender",
            help="A number that Plivo rents to you, or a registered sender ID. Replies need a number.",
        ),
        ProviderSetting(name="plivo_api_url", kind="url", default=API, required=False),
        ProviderSetting(
            name="plivo_dlt_entity_id",
            required=False,
            help="India: the entity id of the DLT portal. The template id is a part of each text's template.",
        ),
    )

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        answer = self.http.call(
            "POST",
            f"{self.text('plivo_api_url').rstrip('/')}/v1/Account/{self.text('plivo_auth_id')}/Message/",
            auth=(self.text("plivo_auth_id"), self.text("plivo_auth_token")),
            json=self._message(outgoing),
        )
        if not 200 <= answer.status < 300:
            said = _refusal(answer.body)
            # "dst" is the parameter with the recipient: another attempt has the same fault.
            permanent = answer.status == 400 and "dst" in said
            self.http.check(answer, permanent=permanent, said=said)

        try:
            [taken] = msgspec.json.decode(answer.body, type=PlivoQueued).message_uuid
        except (msgspec.DecodeError, ValueError) as error:
            raise SendFailed("plivo's answer cannot be read", kind="bad_answer", maybe_sent=True) from error

        return AcceptedMessage(provider_ref=taken)

    def is_signed(self, callback: Callback) -> bool:
        token = self.text("plivo_auth_token")
        given = callback.headers.get("x-plivo-signature-v2", "")
        nonce = callback.headers.get("x-plivo-signature-v2-nonce", "")
        if not token or not nonce:
            return False
        return hmac.compare_digest(signature(callback.url, nonce, token).encode(), given.encode())

    def status_report(self, callback: Callback) -> StatusReport | None:
        params = callback.params
        status = params.get("Status", "")

        state = STATES.get(status.lower())
        if state is None:
            return None

        code = params.get("ErrorCode", "")
        error = f"plivo: {status}" + (f", error {code}" if code else "")
        return StatusReport(
            state=state, error=error if state == "failed" else "", provider_ref=params.get("MessageUUID")
        )

    def reply(self, callback: Callback) -> SmsReply:
        params = callback.params
        number = params.get("From", "")
        sender = f"+{number}" if number.isdigit() else number
        return SmsReply(sender, params.get("Text", ""), reply_id(params.get("MessageUUID", ""), params))

    def answer(self, callback: Callback, text: str) -> tuple[str, str]:
        """Return Plivo XML, which is empty without an answer."""
        source, target = (escape(callback.params.get(name, "")) for name in ("To", "From"))
        message = (
            f'<Message src="{source}" dst="{target}" type="sms">{escape(text)}</Message>' if text else ""
        )
        return f'<?xml version="1.0" encoding="UTF-8"?><Response>{message}</Response>', "application/xml"

    def _message(self, outgoing: OutgoingMessage) -> dict[str, str]:
        message = {
            "src": self.text("plivo_sender"),
            "dst": outgoing.recipient,
            "text": body_of(outgoing),
            "type": "sms",
        }

        if status_url := self.status_url(outgoing.reference):
            message |= {"url": status_url, "method": "POST"}

        if outgoing.template_id and self.text("plivo_dlt_entity_id"):
            message |= {
                "dlt_entity_id": self.text("plivo_dlt_entity_id"),
                "dlt_template_id": outgoing.template_id,
            }

        return message


def signature(url: str, nonce: str, auth_token: str) -> str:
    """Return Plivo's signature of a request: HMAC-SHA256 over the URL without query, and the nonce.

    See Plivo, "Validating Requests and Responses".
    """
    base = urlunsplit(urlsplit(url)._replace(query="", fragment=""))
    digest = hmac.digest(auth_token.encode(), f"{base}{nonce}".encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def _refusal(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=PlivoRefusal).error
    except msgspec.DecodeError:
        return ""
