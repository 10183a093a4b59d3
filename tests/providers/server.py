"""A stand-in for a provider on loopback, in real threads, without eventlet.

Usage: `python -m tests.providers.server KIND DIRECTORY`. It prints one line of JSON with its ports.
It keeps the messages that it takes in memory, and returns them on the control port.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import email
import email.policy
import json
import re
import secrets
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG_S = 60.0
SLOW_S = 0.15
ACCOUNT, TOKEN = "AC" + "0" * 32, "twilio-token-of-the-tests"
MODES = ("accept", "slow", "429", "500", "hang", "drop", "malformed", "refuse")


class Book:
    """The messages that were taken, and the behaviour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mode, self._times = "accept", None
        self.taken: list[dict[str, Any]] = []
        self.seen = 0

    def behave(self, mode: str, times: int | None) -> None:
        assert mode in MODES, mode
        with self._lock:
            self._mode, self._times = mode, times

    def next_mode(self) -> str:
        with self._lock:
            self.seen += 1
            mode = self._mode
            if self._times is not None:
                self._times -= 1
                if self._times <= 0:
                    self._mode, self._times = "accept", None
            return mode

    def take(self, **message: Any) -> dict[str, Any]:
        with self._lock:
            kept = {"id": f"SM{secrets.token_hex(16)}", "at": time.time(), **message}
            self.taken.append(kept)
            return kept


BOOK = Book()

TWILIO_FIELDS = frozenset(
    [
        "To", "From", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables", "StatusCallback",
        "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt", "ValidityPeriod", "ForceDelivery",
        "ContentRetention", "AddressRetention", "SmartEncoded", "PersistentAction", "TrafficType", "ShortenUrls",
        "ScheduleType", "SendAt", "SendAsMms", "RiskCheck",
    ]
)  # fmt: skip
"""The parameters that Twilio documents for the creation of a Message resource (API 2010-04-01)."""
PLIVO_FIELDS = frozenset(
    [
        "src", "dst", "text", "type", "url", "method", "log", "trackable", "powerpack_uuid", "media_urls", "media_ids",
        "message_expiry", "template", "interactive", "location", "dlt_entity_id", "dlt_template_id",
        "dlt_template_category",
    ]
)  # fmt: skip
"""The arguments that Plivo documents for "Send a message" (API v1)."""
PLIVO_SOURCE = re.compile(r"[0-9]{3,14}|(?=.*[A-Za-z])[A-Za-z0-9]{1,11}")
"""A number or short code of at most 14 digits, or a sender ID of at most 11 characters."""
E164 = re.compile(r"\+[1-9][0-9]{1,14}")
SENDER = re.compile(rf"{E164.pattern}|[0-9]{{3,8}}|(?=.*[A-Za-z])[A-Za-z0-9 ]{{1,11}}")
"""A number, a short code, or an alphanumeric sender ID."""
ANY: dict[str, Any] = {}
"""Value in `FCM_FIELDS` for an object with free names, or for a value that is not an object."""
FCM_OPTIONS = {"analytics_label": ANY}
FCM_FIELDS: dict[str, Any] = {
    "validate_only": ANY,
    "message": {
        "name": ANY,
        "data": ANY,
        "notification": {"title": ANY, "body": ANY, "image": ANY},
        "android": {
            **dict.fromkeys(
                ("collapse_key", "priority", "ttl", "restricted_package_name", "data", "direct_boot_ok"), ANY
            ),
            "notification": dict.fromkeys(
                (
                    "title", "body", "icon", "color", "sound", "tag", "click_action", "body_loc_key", "body_loc_args",
                    "title_loc_key", "title_loc_args", "channel_id", "ticker", "sticky", "event_time", "local_only",
                    "notification_priority", "default_sound", "default_vibrate_timings", "default_light_settings",
                    "vibrate_timings", "visibility", "notification_count", "light_settings", "image",
                    "bypass_proxy_notification", "proxy",
                ),
                ANY,
            ),
            "fcm_options": FCM_OPTIONS,
        },
        "webpush": {"headers": ANY, "data": ANY, "notification": ANY, "fcm_options": {"link": ANY, **FCM_OPTIONS}},
        "apns": {
            **dict.fromkeys(("headers", "payload", "live_activity_token"), ANY),
            "fcm_options": {"image": ANY, **FCM_OPTIONS},
        },
        "fcm_options": FCM_OPTIONS,
        "token": ANY,
        "topic": ANY,
        "condition": ANY,
    },
}  # fmt: skip
"""The fields of `projects.messages.send` as the reference of FCM's HTTP v1 API has them."""
FCM_RESERVED = re.compile(r"from|message_type|google\..*|gcm\.notification\..*")
"""Keys that `data` must not have."""


def twilio_fault(form: dict[str, str]) -> tuple[int, str] | None:
    """Return (code, message) of Twilio's answer to a message that it refuses, or None."""
    unknown = sorted(form.keys() - TWILIO_FIELDS)
    if unknown:
        return 20001, f"Unknown parameter {unknown[0]}"
    if not form.get("To"):
        return 21604, "A 'To' phone number is required."
    if not form.get("From") and not form.get("MessagingServiceSid"):
        return 21603, "A 'From' phone number is required."
    if not any(form.get(name) for name in ("Body", "MediaUrl", "ContentSid")):
        return 21602, "Message body is required."
    if not E164.fullmatch(form["To"]):
        return 21211, f"Invalid 'To' Phone Number: {form['To']}"
    if form.get("From") and not SENDER.fullmatch(form["From"]):
        return 21212, f"Invalid From Number (caller ID): {form['From']}"
    if len(form.get("Body", "")) > 1600:
        return 21617, "The concatenated message body exceeds the 1600 character limit"
    return None


def plivo_fault(message: dict[str, Any]) -> str | None:
    """Return Plivo's error for a message that it refuses, or None."""
    unknown = sorted(message.keys() - PLIVO_FIELDS)
    if unknown:
        return f"unknown parameter {unknown[0]}"
    if bool(message.get("src")) == bool(message.get("powerpack_uuid")):
        return "either src or powerpack_uuid is required, not both"
    source = re.sub(r"[^A-Za-z0-9]", "", message.get("src", ""))
    if message.get("src") and not PLIVO_SOURCE.fullmatch(source):
        return "src is not a valid sender"
    if not re.fullmatch(r"[1-9][0-9]{6,13}", re.sub(r"[-/.+()\s]", "", message.get("dst", ""))):
        return "dst is not a valid number"
    text = message.get("text", "")
    if not text or len(text) > (1600 if text.isascii() else 737):
        return "text is required, with at most 1600 GSM or 737 Unicode characters"
    if message.get("type", "sms") not in ("sms", "mms", "whatsapp"):
        return "type is sms, mms or whatsapp"
    if message.get("method", "POST") not in ("GET", "POST"):
        return "method is GET or POST"
    return None


def fcm_fault(body: Any, known: dict[str, Any] = FCM_FIELDS, where: str = "") -> str | None:
    """Return FCM's error for a request that it cannot read, or None."""
    if not isinstance(body, dict):
        return f"Invalid value at '{where}'"
    for name, value in body.items():
        if name not in known:
            place = f" at '{where}'" if where else ""
            return f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'
        if known[name] and (fault := fcm_fault(value, known[name], f"{where}.{name}".lstrip("."))):
            return fault
    if where:
        return None
    message = body.get("message", {})
    if sum(name in message for name in ("token", "topic", "condition")) != 1:
        return "Recipient of the message is not set."
    for name, value in message.get("data", {}).items():
        if FCM_RESERVED.fullmatch(name):
            return f"Invalid data payload key: {name}"
        if not isinstance(value, str):
            return f"Invalid value at 'message.data[{name}]' (TYPE_STRING)"
    return None


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Log nothing: the test asks for the facts that it needs."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: object, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        """Reset the connection in the middle of everything."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def behave(self, mode: str, take: Callable[[], object], refuse: Callable[[], None]) -> None:
        match mode:
            case "accept":
                self.answer(self.success, take())
            case "slow":
                time.sleep(SLOW_S)
                kept = take()
                time.sleep(SLOW_S)
                self.answer(self.success, kept)
            case "429":
                self.answer(429, {"code": 20429, "message": "too many"}, Retry_After="2")
            case "500":
                self.answer(500, {"message": "broken"})
            case "hang":
                time.sleep(HANG_S)
            case "drop":
                take()
                self.drop()
            case "malformed":
                take()
                self.answer(self.success, b"\x00{]not json")
            case "refuse":
                refuse()

    success = 200


class Twilio(Quiet):
    success = 201

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.body().decode(), keep_blank_values=True))
        if not self._is_known():
            self.answer(401, {"code": 20003, "message": "Authenticate"})
            return
        if fault := twilio_fault(form):
            code, message = fault
            more = f"https://www.twilio.com/docs/errors/{code}"
            self.answer(400, {"code": code, "message": message, "more_info": more, "status": 400})
            return
        reference = form.get("StatusCallback", "").rpartition("/")[2]

        def take() -> dict[str, Any]:
            kept = BOOK.take(
                to=form["To"],
                body=form["Body"],
                reference=reference,
                possible_duplicate=form["Body"].startswith("2x? "),
                form=form,
            )
            return resource(kept)

        def refuse() -> None:
            self.answer(400, {"code": 21211, "message": "The 'To' number is not a valid phone number."})

        self.behave(BOOK.next_mode(), take, refuse)

    def do_GET(self) -> None:
        """Answer pages of two messages, newest first, so that paging is used."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        if not self._is_known():
            self.answer(401, {"code": 20003, "message": "Authenticate"})
            return
        mode = BOOK._mode
        if mode in ("500", "429"):
            self.answer(int(mode), {"message": mode})
            return
        if mode == "hang":
            time.sleep(HANG_S)
            return
        found = [kept for kept in reversed(BOOK.taken) if kept["to"] == query.get("To", kept["to"])]
        start = int(query.get("Page", "0")) * 2
        following = {"To": query.get("To", ""), "Page": str(start // 2 + 1)}
        path = urllib.parse.urlsplit(self.path).path
        more = f"{path}?{urllib.parse.urlencode(following)}" if start + 2 < len(found) else None
        self.answer(200, {"messages": list(map(resource, found[start : start + 2])), "next_page_uri": more})

    def _is_known(self) -> bool:
        given = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {given}" and f"/Accounts/{ACCOUNT}/" in self.path


def resource(kept: dict[str, Any]) -> dict[str, Any]:
    created = format_datetime(datetime.datetime.fromtimestamp(kept["at"], datetime.UTC))
    return {"sid": kept["id"], "body": kept["body"], "date_created": created, "status": "queued"}


class Plivo(Quiet):
    """Plivo's Message API: JSON to `/v1/Account/<auth id>/Message/`, and an answer of 202."""

    success = 202

    def do_POST(self) -> None:
        body = self.body()
        given = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {given}":
            self.answer(401, b"Could not verify your access level for that URL.")
            return
        if self.path != f"/v1/Account/{ACCOUNT}/Message/":
            self.answer(404, {"api_id": secrets.token_hex(16), "error": "not found"})
            return
        message = json.loads(body)
        if fault := plivo_fault(message):
            self.answer(400, {"api_id": secrets.token_hex(16), "error": fault})
            return

        def take() -> dict[str, Any]:
            kept = BOOK.take(
                to=message["dst"],
                body=message["text"],
                reference=message.get("url", "").rpartition("/")[2],
                possible_duplicate=message["text"].startswith("2x? "),
                message=message,
            )
            return {
                "api_id": secrets.token_hex(16),
                "message": "message(s) queued",
                "message_uuid": [kept["id"]],
            }

        def refuse() -> None:
            self.answer(400, {"api_id": secrets.token_hex(16), "error": "dst is not a valid number"})

        self.behave(BOOK.next_mode(), take, refuse)


class Fcm(Quiet):
    public_key: Any = None
    email = "vigil@tests.iam.gserviceaccount.com"
    tokens: set[str] = set()

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/token":
            self._give_token(dict(urllib.parse.parse_qsl(body.decode())))
            return
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self.answer(401, {"error": {"status": "UNAUTHENTICATED", "message": "no token of ours"}})
            return
        request = json.loads(body)
        if said := fcm_fault(request):
            self.answer(400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": said}})
            return
        message = request["message"]

        def take() -> dict[str, Any]:
            data = message["data"]
            kept = BOOK.take(
                to=message.get("token") or f"/topics/{message['topic']}",
                subject=message["notification"]["title"],
                body=message["notification"]["body"],
                data=data,
                reference=data["reference"],
                possible_duplicate=data.get("possible_duplicate") == "true",
                priority=message["android"]["priority"],
                message=message,
            )
            return {"name": f"projects/vigil-tests/messages/{kept['id']}"}

        def refuse() -> None:
            details = [
                {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"}
            ]
            fault = {
                "code": 404,
                "status": "NOT_FOUND",
                "message": "Requested entity was not found.",
                "details": details,
            }
            self.answer(404, {"error": fault})

        self.behave(BOOK.next_mode(), take, refuse)

    def _give_token(self, form: dict[str, str]) -> None:
        import jwt

        claims = jwt.decode(
            form["assertion"],
            self.public_key,
            algorithms=["RS256"],
            audience="https://oauth2.googleapis.com/token",
        )
        assert claims["iss"] == self.email
        token = secrets.token_hex(16)
        self.tokens.add(token)
        self.answer(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})


class Webhook(Quiet):
    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/redirect":
            self.answer(307, {}, Location="/elsewhere")
            return

        def take() -> dict[str, Any]:
            said = json.loads(body)
            BOOK.take(
                to=self.path,
                body=said["text"],
                raw=body.decode(),
                data=said,
                reference=self.headers["X-Vigil-Reference"],
                signature=self.headers["X-Vigil-Signature"],
                host=self.headers["Host"],
                possible_duplicate=said["possible_duplicate"],
            )
            return {}

        self.behave(BOOK.next_mode(), take, lambda: self.answer(410, {}))


class Ntfy(Quiet):
    """ntfy's "Publish as JSON": a POST to the root with topic, message and title."""

    def do_POST(self) -> None:
        body = self.body()

        def take() -> dict[str, Any]:
            said = json.loads(body)
            kept = BOOK.take(
                to=said["topic"], subject=said.get("title", ""), body=said["message"], path=self.path
            )
            return {"id": kept["id"], "event": "message", "topic": said["topic"], "message": said["message"]}

        self.behave(BOOK.next_mode(), take, lambda: self.answer(404, {"code": 40401, "http": 404}))


class Mail:
    """Handler of aiosmtpd. An answer of None closes the connection."""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's names
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        self.mode = BOOK.next_mode()
        if self.mode == "refuse":
            return "550 5.1.1 no such mailbox"
        if self.mode == "429":
            return "451 4.7.1 slow down"
        envelope.mode = self.mode
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if envelope.mode == "hang":
            await asyncio.sleep(HANG_S)
        if envelope.mode == "slow":
            await asyncio.sleep(SLOW_S)
        if envelope.mode == "500":
            return "451 4.3.0 the disk is full"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        html = message.get_body(("html",))
        BOOK.take(
            to=envelope.rcpt_tos[0],
            subject=message["Subject"],
            body=message.get_body(("plain",)).get_content(),
            html=html.get_content() if html else "",
            reference=message["X-Vigil-Reference"],
            possible_duplicate=message["X-Vigil-Possible-Duplicate"] == "yes",
            headers={name: str(value) for name, value in message.items()},
            tls=server.transport.get_extra_info("ssl_object") is not None,
        )
        if envelope.mode == "slow":
            await asyncio.sleep(SLOW_S)
        if envelope.mode == "drop":
            server.transport.abort()
        if envelope.mode == "malformed":
            return "what"
        return "250 taken"


class Control(Quiet):
    def do_GET(self) -> None:
        self.answer(200, {"/accepted": BOOK.taken, "/seen": BOOK.seen}[self.path])

    def do_POST(self) -> None:
        asked = json.loads(self.body())
        if self.path == "/behave":
            BOOK.behave(asked["mode"], asked["times"])
        else:
            BOOK.taken.clear()
        self.answer(200, {})


def serve(handler: type[Quiet]) -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def serve_mail(directory: Path) -> dict[str, Any]:
    from aiosmtpd.smtp import SMTP

    from ops.servers.certificates import CertificateAuthority

    files = directory / "mail-ca"
    files.mkdir(exist_ok=True)
    authority = CertificateAuthority(files)
    authority.make()
    authority.issue_server(files, hosts=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files / "server.pem", files / "server-key.pem")
    loop = asyncio.new_event_loop()
    make = loop.create_server(lambda: SMTP(Mail(), tls_context=context), "127.0.0.1", 0)
    port = loop.run_until_complete(make).sockets[0].getsockname()[1]
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return {"port": port, "ca_file": str(authority.certificate_file)}


def serve_fcm(directory: Path) -> dict[str, Any]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    Fcm.public_key = key.public_key()
    port = serve(Fcm)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "vigil-tests",
        "client_email": Fcm.email,
        "private_key": pem.decode(),
        "token_uri": f"http://127.0.0.1:{port}/token",
    }
    file = directory / "fcm-account.json"
    file.write_text(json.dumps(account))
    return {"port": port, "credentials_file": str(file)}


def main(kind: str, directory: Path) -> None:
    match kind:
        case "smtp":
            said = serve_mail(directory)
        case "fcm":
            said = serve_fcm(directory)
        case "twilio":
            said = {"port": serve(Twilio)}
        case "plivo":
            said = {"port": serve(Plivo)}
        case "webhook":
            said = {"port": serve(Webhook)}
        case "ntfy":
            said = {"port": serve(Ntfy)}
        case _:
            sys.exit(f"no provider {kind!r}")
    print(json.dumps({**said, "control": serve(Control)}), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
