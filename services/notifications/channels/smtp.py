"""E-mail by SMTP (RFC 5321), over TLS.

    smtp://user:password@host:587?from=vigil@example.com      STARTTLS, required
    smtps://user:password@host:465?from=...                   TLS from the start

The URL has two more options: ca=/path/ca.pem (a private authority), and tls=off (for servers on
this machine only).
"""

from __future__ import annotations

import email.policy
import smtplib
import ssl
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit

import eventlet

from services.contracts.errors import Misconfigured
from services.notifications.channels import (
    CONNECT_TIMEOUT_S,
    AcceptedMessage,
    CannotTell,
    OutgoingMessage,
    SendFailed,
)
from services.outgoing.contact_addresses import is_email

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HELP = "write it as smtp://user:password@host:587?from=vigil@example.com"


class SmtpChannel:
    """One mail server. Each message has a connection of its own.

    Raises:
        Misconfigured: the URL cannot work.
    """

    def __init__(self, url: str, *, name: str = "smtp", deadline_s: float = 15.0) -> None:
        self.name = name
        self._deadline_s = deadline_s

        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Misconfigured(f"SMTP_URL is not a URL ({error}); {HELP}") from error

        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise Misconfigured(f"SMTP_URL is not a URL of a mail server; {HELP}")

        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self._implicit_tls = parts.scheme == "smtps"
        self._host, self._port = parts.hostname, port or (465 if self._implicit_tls else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")

        try:
            self._from = _address(options.get("from") or self._user)
        except ValueError as error:
            raise Misconfigured(f"SMTP_URL: {error}; {HELP}") from error

        self._tls = options.get("tls", "on") != "off"
        if not self._tls and self._host not in LOOPBACK:
            raise Misconfigured("SMTP_URL: tls=off is for servers on this machine only; leave it out")

        try:
            self._context = ssl.create_default_context(cafile=options.get("ca"))
        except OSError as error:
            raise Misconfigured(f"SMTP_URL: ca={options.get('ca')} cannot be read: {error}") from error

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        """Send a message. Raises `SendFailed`.

        When the answer is lost after the text was sent, the server may have taken the message.
        """
        try:
            message = self._message(outgoing)
        except ValueError as error:
            raise SendFailed(str(error), kind="invalid_recipient", permanent=True) from error

        handed_over: list[bool] = []
        try:
            with eventlet.Timeout(self._deadline_s, TimeoutError(f"no end within {self._deadline_s:g} s")):
                self._transmit(message, outgoing.recipient, handed_over)
        except smtplib.SMTPRecipientsRefused as error:
            [(code, said)] = error.recipients.values()
            raise _refused(code, said, of_recipient=True) from error
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code, error.smtp_error, maybe_sent=_is_rubbish(error)) from error
        except (OSError, smtplib.SMTPException, TimeoutError, ValueError) as error:
            kind = "timeout" if _ran_out(error) else "dropped" if handed_over else "unreachable"
            raise SendFailed(f"mail server: {error}", kind=kind, maybe_sent=bool(handed_over)) from error

        return AcceptedMessage(provider_ref=str(message["Message-ID"]))

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:  # noqa: ARG002
        raise CannotTell("a mail server has no list of accepted messages")

    def _transmit(self, message: EmailMessage, recipient: str, handed_over: list[bool]) -> None:
        timeout_s = min(CONNECT_TIMEOUT_S, self._deadline_s)
        server = (
            smtplib.SMTP_SSL(self._host, self._port, timeout=timeout_s, context=self._context)
            if self._implicit_tls
            else smtplib.SMTP(self._host, self._port, timeout=timeout_s)
        )

        try:
            server.ehlo_or_helo_if_needed()
            if self._tls and not self._implicit_tls:
                server.starttls(context=self._context)
                server.ehlo()
            if self._user and self._password:
                server.login(self._user, self._password)
            if server.sock is not None:
                server.sock.settimeout(self._deadline_s)
            self._hand_over(server, message, recipient, handed_over)
        finally:
            server.close()

    def _hand_over(
        self, server: smtplib.SMTP, message: EmailMessage, recipient: str, handed_over: list[bool]
    ) -> None:
        code, said = server.mail(self._from.addr_spec)
        if code != 250:
            raise smtplib.SMTPResponseException(code, said)

        code, said = server.rcpt(recipient)
        if code not in (250, 251):
            raise smtplib.SMTPRecipientsRefused({recipient: (code, said)})

        handed_over.append(True)
        code, said = server.data(message.as_bytes(policy=email.policy.SMTP))
        if code != 250:
            raise smtplib.SMTPResponseException(code, said)
        # The message is taken. A server that does not answer QUIT does not change that.

    def _message(self, outgoing: OutgoingMessage) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = _address(outgoing.recipient)
        message["Subject"] = " ".join(outgoing.subject.split())
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{outgoing.reference}@{self._from.domain}>"
        message["X-Vigil-Reference"] = outgoing.reference
        message["Auto-Submitted"] = "auto-generated"

        if outgoing.possible_duplicate:
            message["X-Vigil-Possible-Duplicate"] = "yes"
        if outgoing.urgent:
            message["Importance"] = "high"
            message["X-Priority"] = "1"

        message.set_content(outgoing.text)
        if outgoing.html:
            message.add_alternative(outgoing.html, subtype="html")

        return message


def _address(text: str) -> Address:
    """Return an address. Raises `ValueError`.

    For a wrong address, Python's parser raises any of a dozen exceptions.
    """
    if is_email(text):
        with suppress(Exception):
            return Address(addr_spec=text)
    raise ValueError(f"{text!r} is not an e-mail address")


def _refused(
    code: int, said: bytes | str, *, maybe_sent: bool = False, of_recipient: bool = False
) -> SendFailed:
    """Return the error for an answer of the server.

    Args:
        of_recipient: the server answered about an address. A 421 always ends the whole connection
            instead.
    """
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    kind = "bad_answer" if maybe_sent else "invalid_recipient" if code in (550, 551, 553) else "refused"

    if code in (530, 534, 535):
        kind = "not_authorized"

    permanent = 500 <= code < 600 and kind == "invalid_recipient"
    return SendFailed(
        f"mail server: {code} {text[:200]}",
        kind=kind,
        permanent=permanent,
        maybe_sent=maybe_sent,
        of_recipient=of_recipient and code != 421,
    )


def _ran_out(error: BaseException | None) -> bool:
    """Return whether time ran out. smtplib turns a timeout into a lost connection."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_rubbish(error: smtplib.SMTPResponseException) -> bool:
    """Return whether the server's answer was no SMTP answer. smtplib gives it the code -1."""
    return error.smtp_code < 200
