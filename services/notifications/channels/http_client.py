"""HTTP calls to providers, with errors that say whether a message may have arrived."""

from __future__ import annotations

from typing import Any

import requests

from services.notifications.channels import SendFailed
from services.notifications.channels.provider import HttpAnswer
from services.outgoing.client import HttpResponse, OutgoingClient, chain, never_connected
from services.outgoing.rules import ForbiddenDestination

NOT_ACTED = (500, 503)
"""Statuses of a provider that has not taken the message.

Providers advise to send it again.
"""


class ProviderHttp:
    """HTTP client of one provider: `call` and `check` with its name and deadline."""

    def __init__(self, client: OutgoingClient, *, provider: str, deadline_s: float) -> None:
        self._client = client
        self._provider = provider
        self._deadline_s = deadline_s

    def call(self, method: str, url: str, **options: Any) -> HttpResponse:
        return call(
            self._client, method, url, provider=self._provider, deadline_s=self._deadline_s, **options
        )

    def check(self, answer: HttpAnswer, *, permanent: bool = False, said: str = "") -> None:
        check(answer, provider=self._provider, permanent=permanent, said=said)


def call(
    client: OutgoingClient, method: str, url: str, *, provider: str, deadline_s: float, **options: Any
) -> HttpResponse:
    """Make one request. Raises `SendFailed` when no whole answer came."""
    try:
        return client.request(method, url, deadline_s=deadline_s, **options)
    except Exception as error:
        # urllib3 raises errors of its own while the body is read.
        raise failure_of(error, provider=provider) from error


def failure_of(error: Exception, *, provider: str) -> SendFailed:
    """Return the failure of a request that ended in this error."""
    said = f"{provider}: {short(error)}"
    if isinstance(error, ForbiddenDestination):
        return SendFailed(f"{provider}: {error}", kind="forbidden_address", permanent=True)
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.SSLError):
        return SendFailed(said, kind="unreachable")
    if isinstance(error, TimeoutError | requests.exceptions.Timeout):
        return SendFailed(said, kind="timeout", maybe_sent=True)
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return SendFailed(said, kind="invalid_recipient", permanent=True)
    if isinstance(error, requests.exceptions.ConnectionError) and never_connected(error):
        return SendFailed(said, kind="unreachable")

    return SendFailed(said, kind="dropped", maybe_sent=True)


def check(
    answer: HttpAnswer,
    *,
    provider: str,
    permanent: bool = False,
    said: str = "",
    limits_recipient: bool = False,
) -> None:
    """Check that the status is a success.

    A refusal is about this message and its recipient, except when it is about the sender's identity
    or rate.

    Args:
        permanent: the provider refuses the message for good.
        said: the provider's error text.
        limits_recipient: a rate limit is about messages to this recipient.

    Raises:
        SendFailed: the status is not a success.
    """
    status = answer.status
    if 200 <= status < 300:
        return

    text = f"{provider} answered {status}" + (f": {said[:300]}" if said else "")
    if status == 429:
        raise SendFailed(
            text,
            kind="rate_limited",
            retry_after_s=_retry_after_s(answer),
            of_recipient=limits_recipient,
        )

    if status in (401, 403) and not permanent:
        raise SendFailed(text, kind="not_authorized")
    if status >= 500:
        raise SendFailed(text, kind="server_error", maybe_sent=status not in NOT_ACTED)

    kind = "invalid_recipient" if permanent else "refused"
    raise SendFailed(text, kind=kind, permanent=permanent, of_recipient=True)


def _retry_after_s(answer: HttpAnswer) -> float | None:
    """Return the seconds of a Retry-After header, 600 at most.

    For a date, return None: Vigil's own back-off decides.
    """
    text = answer.headers.get("Retry-After", "")
    return min(float(text), 600.0) if text.isascii() and text.isdigit() else None


def short(error: BaseException) -> str:
    """Return the innermost error's message.

    The outer ones repeat the URL, which may hold a secret.
    """
    inner = chain(error)[-1]
    return f"{type(inner).__name__}: {inner}"[:200].split(" at 0x")[0]
