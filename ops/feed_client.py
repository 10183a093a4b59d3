"""A client of the live feed for programs: opens, checks, resumes."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import websocket

from gateway.noc.auth import Tokens
from services import envelope
from services.config import Config
from services.keyring import KeyRing

SILENCE_S = 60.0


def dashboard_url(settings: Config) -> str:
    """Where the running stack's feed is."""
    return f"ws://{settings.noc.host}:{settings.noc.port}/ws/noc/dashboard/"


class Feed:
    """Frames of one tenant, opened and checked; resumes by itself where it left off."""

    def __init__(
        self,
        settings: Config,
        *,
        url: str,
        token: str | None,
        tenant_id: int,
        since: int | None,
        name: str = "vigil-watch",
        role: str = "operator",
    ) -> None:
        self._settings = settings
        self._url = url
        self._token = token
        self._tenant_id = tenant_id
        self._since = since
        self._name, self._role = name, role
        self._ring = KeyRing.from_config(settings) if settings.feed.encryption == "fernet" else None

    def frames(self, *, silence_s: float = SILENCE_S) -> Generator[dict[str, Any], None, None]:
        """Every frame as {"type", "id"?, "data"? ...}; raises `websocket.WebSocketException`, `OSError`.

        A gateway that says nothing for `silence_s` is taken for gone.
        """
        query = f"?since={self._since}" if self._since is not None else ""
        connection = websocket.create_connection(
            self._url + query, header=[f"Authorization: Bearer {self._fresh_token()}"], timeout=silence_s
        )
        try:
            while True:
                text = connection.recv()
                if not text:
                    raise websocket.WebSocketConnectionClosedException("the gateway closed the connection")
                yield self._open(text)
        finally:
            connection.close()

    def _fresh_token(self) -> str:
        if self._token:
            return self._token
        tokens = Tokens(self._settings.noc.jwt_secret)
        return tokens.make(name=self._name, tenant_id=self._tenant_id, role=self._role, lifetime_s=3600)

    def _open(self, text: str) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(text)
        if frame["type"] == "connected" and not frame["resumed"]:
            self._since = None
        if isinstance(frame.get("data"), str):
            # The snapshot bears the id of the last frame that it may contain, which can be none (0).
            after = -1 if frame["type"] == "snapshot" else self._since or 0
            keys = self._ring.of_tenant(self._tenant_id) if self._ring else {}
            body = envelope.open_frame(text, keys=keys, tenant_id=self._tenant_id, after_id=after)
            frame["data"] = body.data
        if frame.get("id") is not None:
            self._since = frame["id"]
        return frame
