"""Answers to notifications: acknowledge links, provider reports and SMS replies.

A GET only shows a link. Mail scanners and previews open links, and must not acknowledge an alert.
"""

from __future__ import annotations

from html import escape
from typing import Any, Protocol
from urllib.parse import parse_qsl

from werkzeug.wrappers import Request, Response

from gateway.noc.auth import requests
from gateway.noc.auth.callers import Callers
from services.contracts.errors import Refused, Unavailable
from services.messaging import RpcProxy, http

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
MAX_FORM_BYTES = 65_536
MAX_FORM_FIELDS = 200
MAX_HEADER_LENGTH = 2_000
SIGNATURE_WORDS = ("signature", "authorization", "timestamp")
"""Words in the names of headers that a provider's signature is in."""


class CountsCallers(Protocol):
    """Parts of a service that counts its callers."""

    @property
    def callers(self) -> Callers: ...


class CallbackRoutes:
    """Routes of the API without log-in: a signature replaces it."""

    parts: CountsCallers
    notifications = RpcProxy("notifications")

    @http("GET", "/a/<token>")
    def show_link(self, request: Request, token: str) -> Response:
        """Show the alert, and a button that acknowledges it."""
        self.parts.callers.count_stranger(request)
        try:
            about = self.notifications.describe_link(token=token)
        except Refused as error:
            return _page("This link does not work", f"<p>{escape(str(error))}</p>", status=410)

        text = f"<p class='subject'>{escape(about['subject'])}</p><pre>{escape(about['body'])}</pre>"
        if about["used"]:
            return _page("Link already used", f"{text}<p>This link was used already.</p>")

        button = f"<form method='post'><button>{escape(about['name'] or 'I')}: acknowledge this alert</button></form>"
        return _page("Alert", text + button)

    @http("POST", "/a/<token>")
    def use_link(self, request: Request, token: str) -> Response:
        """Acknowledge the alert in the name of the recipient of the message."""
        self.parts.callers.count_stranger(request)
        try:
            taken = self.notifications.use_link(token=token)
        except Unavailable as error:
            # No user may believe that the alert is theirs when it is not.
            return _page(
                "Not acknowledged",
                f"<p>{escape(str(error))}</p><p>Try again, or call the control room.</p>",
                status=503,
            )
        except Refused as error:
            return _page("Not acknowledged", f"<p>{escape(str(error))}</p>", status=409)

        return _page(
            "Acknowledged",
            f"<p>{escape(taken['subject'])}</p><p>The control room sees that you have acknowledged the alert.</p>",
        )

    @http("POST", "/api/v1/providers/<provider>/status/<reference>")
    def take_delivery_report(self, request: Request, provider: str, reference: str) -> Response:
        """Store the delivery report of an SMS."""
        self.parts.callers.count_provider(request)
        self.notifications.take_provider_report(
            provider=provider, reference=reference, request=signed_request(request)
        )
        return Response(status=204)

    @http("POST", "/api/v1/providers/<provider>/inbound")
    def take_sms_reply(self, request: Request, provider: str) -> Response:
        """Take an SMS reply of a recipient. Answer in the provider's format."""
        self.parts.callers.count_provider(request)
        answer = self.notifications.take_reply(provider=provider, request=signed_request(request))
        return Response(answer["body"], content_type=answer["content_type"])


def signed_request(request: Request) -> dict[str, Any]:
    """Return the parts of a provider's request that its signature may be about.

    A form comes as `params`. Any other body comes as `body`. Raises `TooLarge`, `Refused`.
    """
    is_form = request.mimetype not in ("application/json", "text/plain")
    content = requests.body_of(request, max_bytes=MAX_FORM_BYTES)
    signed_by = {
        name.lower(): value[:MAX_HEADER_LENGTH]
        for name, value in request.headers.items()
        if any(word in name.lower() for word in SIGNATURE_WORDS)
    }

    return {
        "path": _path(request),
        "params": _form(content) if is_form else {},
        "body": "" if is_form else _text(content),
        "headers": signed_by,
    }


def _form(content: bytes) -> dict[str, str]:
    """Return the fields of a form, each once. Raises `Refused`."""
    try:
        fields = parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise Refused(f"the body is not a form: {error}") from error
    return dict(reversed(fields))


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Refused("the body is not text in UTF-8") from error


def _path(request: Request) -> str:
    """Return the path with its query, as the provider knows it."""
    return request.full_path.rstrip("?")


def _page(title: str, body: str, *, status: int = 200) -> Response:
    html = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Vigil: {escape(title)}</title><link rel='stylesheet' href='/console/answer.css'></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return Response(html, status=status, content_type="text/html; charset=utf-8", headers=PAGE_HEADERS)
