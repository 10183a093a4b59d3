"""Signed webhooks: JSON to a customer's URL, which must not open a way into Vigil's network (SSRF).

    X-Vigil-Signature: t=<Unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">
    X-Vigil-Reference: the same for each attempt, so that a receiver knows a repeat

The key of the HMAC is VIGIL_WEBHOOK_SECRET. A rule of `services/outgoing` limits the destinations.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from services.notifications.channels import (
    AcceptedMessage,
    CannotTell,
    OutgoingMessage,
    SendFailed,
    http_client,
)
from services.outgoing.client import OutgoingClient


class WebhookChannel:
    """Webhooks by a client with the rule for tenants' URLs."""

    name = "webhook"

    def __init__(
        self,
        client: OutgoingClient,
        *,
        secret: str,
        deadline_s: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._secret = secret.encode()
        self._deadline_s = deadline_s
        self._clock = clock

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        body = body_of(outgoing)
        at_s = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Vigil",
            "X-Vigil-Reference": outgoing.reference,
            "X-Vigil-Signature": f"t={at_s},v1={signature(self._secret, at_s, body)}",
        }

        answer = http_client.call(
            self._client,
            "POST",
            outgoing.recipient,
            provider=self.name,
            deadline_s=self._deadline_s,
            data=body,
            headers=headers,
        )
        if 300 <= answer.status < 400:
            raise SendFailed(
                f"webhook answered {answer.status}: redirects are not followed",
                kind="refused",
                permanent=True,
            )

        http_client.check(answer, provider=self.name, permanent=answer.status in (404, 410))
        return AcceptedMessage(provider_ref=outgoing.reference)

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:  # noqa: ARG002
        raise CannotTell("a webhook's receiver cannot be asked; it knows a repeat by X-Vigil-Reference")


def body_of(outgoing: OutgoingMessage) -> bytes:
    return msgspec.json.encode(
        {
            "reference": outgoing.reference,
            "subject": outgoing.subject,
            "text": outgoing.text,
            "possible_duplicate": outgoing.possible_duplicate,
            **outgoing.data,
        }
    )


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    return hmac.digest(secret, f"{at_s}.".encode() + body, hashlib.sha256).hex()
