"""HTTP calls to providers: a deadline that dripping bytes cannot stretch, and honest about what may have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import eventlet
import requests

from services.notifications.channels import CONNECT_TIMEOUT_S, SendFailed

MAX_ANSWER_BYTES = 262_144
NOT_ACTED = (500, 503)
"""A provider that answers so has not taken the message (Twilio's and Google's own advice is to send it again)."""


class Answer:
    """Status, headers and the first bytes of a body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def call(
    session: requests.Session, method: str, url: str, *, provider: str, deadline_s: float, **options: Any
) -> Answer:
    """One request, no redirects. Raises `SendFailed` when no whole answer came."""
    connect_s = min(CONNECT_TIMEOUT_S, deadline_s)
    options = {"timeout": (connect_s, deadline_s), "allow_redirects": False, "stream": True, **options}
    try:
        with (
            eventlet.Timeout(deadline_s, TimeoutError(f"no answer within {deadline_s:g} s")),
            session.request(method, url, **options) as response,
        ):
            body = response.raw.read(MAX_ANSWER_BYTES, decode_content=True)
            return Answer(response.status_code, response.headers, body)
    except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
        raise SendFailed(f"{provider}: {_short(error)}", kind="unreachable") from error
    except (TimeoutError, requests.exceptions.Timeout) as error:
        raise SendFailed(f"{provider}: {_short(error)}", kind="timeout", maybe_sent=True) from error
    except requests.exceptions.ConnectionError as error:
        if _was_refused(error):
            raise SendFailed(f"{provider}: {_short(error)}", kind="unreachable") from error
        raise SendFailed(f"{provider}: {_short(error)}", kind="dropped", maybe_sent=True) from error
    except (requests.exceptions.RequestException, OSError, ValueError) as error:
        raise SendFailed(f"{provider}: {_short(error)}", kind="dropped", maybe_sent=True) from error
    except Exception as error:
        # urllib3 raises errors of its own while the body is read.
        raise SendFailed(f"{provider}: {_short(error)}", kind="dropped", maybe_sent=True) from error


def check(answer: Answer, *, provider: str, permanent: bool = False, said: str = "") -> None:
    """Raises `SendFailed` for a status that is no success; `permanent` and `said` are the provider's own verdict."""
    status = answer.status
    if 200 <= status < 300:
        return
    text = f"{provider} answered {status}" + (f": {said[:300]}" if said else "")
    if status == 429:
        raise SendFailed(text, kind="rate_limited", retry_after_s=_retry_after_s(answer))
    if status in (401, 403) and not permanent:
        raise SendFailed(text, kind="not_authorized")
    if status >= 500:
        raise SendFailed(text, kind="server_error", maybe_sent=status not in NOT_ACTED)
    raise SendFailed(text, kind="invalid_recipient" if permanent else "refused", permanent=permanent)


def _retry_after_s(answer: Answer) -> float | None:
    """Seconds of a Retry-After header; a date in it is left to our own back-off."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), 600.0) if text.isascii() and text.isdigit() else None


def _was_refused(error: BaseException) -> bool:
    """Whether the connection was never made: then nothing can have been sent."""
    return any(type(link).__name__ in ("NewConnectionError", "NameResolutionError") for link in _chain(error))


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and len(links) < 10:
        links.append(error)
        reason = getattr(error, "reason", None)
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        error = reason if isinstance(reason, BaseException) else inner or error.__cause__ or error.__context__
    return links


def _short(error: BaseException) -> str:
    """The innermost message: the outer ones repeat the URL, which may hold a secret."""
    inner = _chain(error)[-1]
    return f"{type(inner).__name__}: {inner}"[:200].split(" at 0x")[0]
