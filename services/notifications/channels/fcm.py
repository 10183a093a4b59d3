"""Push by Firebase Cloud Messaging, HTTP v1. FCM cannot say which messages it has."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import msgspec
import requests
from google.oauth2 import service_account

from services.contracts.errors import Misconfigured
from services.notifications.channels import (
    AcceptedMessage,
    CannotTell,
    OutgoingMessage,
    SendFailed,
    http_client,
)
from services.outgoing.client import OutgoingClient
from services.outgoing.rules import ForbiddenDestination

API = "https://fcm.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
INVALID_RECIPIENT = ("UNREGISTERED", "INVALID_ARGUMENT", "SENDER_ID_MISMATCH")
"""Error codes of FCM that make a token invalid for ever."""
MAX_BODY = 1000
SILENT_CHANNEL = "vigil_silent"
"""The notification channel for silent alerts. An app makes it without sound and vibration."""


class FcmMessage(msgspec.Struct):
    name: str


class FcmChannel:
    """One Firebase project. Raises `Misconfigured` for a file that is not a service account's."""

    name = "fcm"

    def __init__(
        self, client: OutgoingClient, *, credentials_file: str, base_url: str = API, deadline_s: float = 15.0
    ) -> None:
        self._client = client
        account = _account(credentials_file)
        self._credentials = service_account.Credentials.from_service_account_info(account, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        self._url = f"{base_url.rstrip('/')}/v1/projects/{account['project_id']}/messages:send"
        self._deadline_s = deadline_s
        self._refreshing = Lock()

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        headers = {"Authorization": f"Bearer {self._token()}"}
        answer = http_client.call(
            self._client,
            "POST",
            self._url,
            provider=self.name,
            deadline_s=self._deadline_s,
            headers=headers,
            json={"message": message_of(outgoing)},
        )
        if answer.status != 200:
            code, said = _fault(answer.body)
            permanent = code in INVALID_RECIPIENT
            # FCM uses the same status for the limit of one phone or topic as for the limit of a
            # project.
            http_client.check(
                answer, provider=self.name, permanent=permanent, said=said, limits_recipient=True
            )

        try:
            return AcceptedMessage(provider_ref=msgspec.json.decode(answer.body, type=FcmMessage).name)
        except msgspec.DecodeError as error:
            raise SendFailed("fcm's answer cannot be read", kind="bad_answer", maybe_sent=True) from error

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:  # noqa: ARG002
        raise CannotTell("FCM has no list of accepted messages")

    def _token(self) -> str:
        """Return the access token, renewed when it is about to end.

        Raises:
            SendFailed: there is no token. The message was not sent.
        """
        if not self._refreshing.acquire(timeout=self._deadline_s):
            raise SendFailed("fcm: no access token: Google did not answer in time", kind="timeout")

        try:
            with self._client.session(deadline_s=self._deadline_s) as session:
                if not self._credentials.valid:
                    self._credentials.refresh(google.auth.transport.requests.Request(session))
                return str(self._credentials.token)
        except ForbiddenDestination as error:
            raise SendFailed(f"fcm: no access token: {error}", kind="forbidden_address") from error
        except (google.auth.exceptions.GoogleAuthError, requests.RequestException, OSError) as error:
            refused = isinstance(error, google.auth.exceptions.RefreshError)
            kind = (
                "timeout"
                if isinstance(error, TimeoutError)
                else "not_authorized"
                if refused
                else "unreachable"
            )
            raise SendFailed(f"fcm: no access token: {str(error)[:200]}", kind=kind) from error
        finally:
            self._refreshing.release()


def message_of(outgoing: OutgoingMessage) -> dict[str, Any]:
    """Return the `message` of FCM's API. All values of `data` are text, as FCM requires."""
    topic = outgoing.recipient.removeprefix("/topics/")
    to = {"token": outgoing.recipient} if topic == outgoing.recipient else {"topic": topic}
    priority, apns = ("high", "10") if outgoing.urgent else ("normal", "5")
    collapse = outgoing.reference

    return {
        **to,
        "notification": {"title": outgoing.subject[:200], "body": outgoing.text[:MAX_BODY]},
        "data": {**{k: str(v) for k, v in outgoing.data.items()}, "reference": outgoing.reference},
        # The same reference replaces its earlier copy on the phone: a possible duplicate is seen
        # once.
        "android": {"priority": priority, "notification": {"tag": collapse, **_android_sound(outgoing)}},
        "apns": {
            "headers": {"apns-priority": apns, "apns-collapse-id": collapse},
            # An alert without `sound` in `aps` is shown and not heard.
            "payload": {"aps": {} if outgoing.silent else {"sound": "default"}},
        },
    }


def _android_sound(outgoing: OutgoingMessage) -> dict[str, Any]:
    """Return the fields of AndroidNotification about sound.

    From Android 8 on, the channel of the app decides. An app without this channel shows the message
    in its default one.
    """
    if outgoing.silent:
        return {"channel_id": SILENT_CHANNEL, "default_sound": False, "default_vibrate_timings": False}
    return {"default_sound": True, "default_vibrate_timings": True}


def _fault(body: bytes) -> tuple[str, str]:
    """Return (FCM's error code, FCM's error text)."""
    try:
        error = json.loads(body)["error"]
        details = [detail.get("errorCode", "") for detail in error.get("details", [])]
        return next(filter(None, details), error.get("status", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def _account(path: str) -> dict[str, Any]:
    remedy = "download a service account's key in the Firebase console (Project settings, Service accounts)"
    try:
        account = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Misconfigured(f"FCM_CREDENTIALS_FILE {path} cannot be read ({error}); {remedy}") from error
    needed = ("project_id", "client_email", "private_key", "token_uri")
    if not isinstance(account, dict) or any(not account.get(name) for name in needed):
        raise Misconfigured(f"FCM_CREDENTIALS_FILE {path} is not a service account's key; {remedy}")
    return account
