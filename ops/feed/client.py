"""A client of the live feed for programs: it opens and checks frames, and resumes."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import websocket

from gateway.noc.auth.tokens import Tokens
from services.contracts.errors import InvalidMessage
from services.feed.client import FrameChecker
from services.feed.keyring import KeyRing
from services.platform.config import Config

SILENT_HEARTBEATS = 1.8
"""A gateway that is not heard for this many intervals of its heartbeat counts as gone."""
FIRST_FRAME_S = 9.0
"""Time limit of the handshake and the first frame."""


def dashboard_url(settings: Config) -> str:
    """Return the address of the running stack's feed."""
    return f"ws://{settings.noc.host}:{settings.noc.port}/ws/noc/dashboard/"


class FeedClient:
    """Frames of one tenant, opened and checked; resumes by itself where it stopped."""

    def __init__(
        self,
        settings: Config,
        *,
        url: str,
        token: str | None,
        tenant_id: int,
        since: int | None,
        name: str = "vigil-watch",
    ) -> None:
        self._settings = settings
        self._url = url
        self._token = token
        self._tenant_id = tenant_id
        self._name = name
        ring = KeyRing.from_config(settings) if settings.feed.encryption == "fernet" else None
        self._keys = partial(ring.of_tenant, tenant_id) if ring else None
        self._watcher = FrameChecker(tenant_id, keys=self._keys, since=since)

    def frames(self, *, silence_s: float | None = None) -> Generator[dict[str, Any], None, None]:
        """Yield frames as {"type", "id"?, "data"? ...}, without repetitions of an earlier frame.

        Args:
            silence_s: a gateway that sends nothing for so long counts as gone. None means nearly
                two intervals of its heartbeat.

        Raises:
            websocket.WebSocketException: the connection failed or was closed.
            OSError: the gateway cannot be reached.
            InvalidMessage: a frame is not authentic; the next call starts again from a snapshot.
        """
        since = self._watcher.since
        query = f"?since={since}" if since is not None else ""
        connection = websocket.create_connection(
            self._url + query,
            header=[f"Authorization: Bearer {self._fresh_token()}"],
            timeout=silence_s or FIRST_FRAME_S,
        )

        try:
            while True:
                text = connection.recv()
                if not text:
                    raise websocket.WebSocketConnectionClosedException("the gateway closed the connection")
                frame = self._open(text)
                if silence_s is None and frame["type"] == "connected":
                    connection.settimeout(frame["heartbeat_interval"] * SILENT_HEARTBEATS)
                if not frame.get("repeated"):
                    yield frame
        finally:
            connection.close()

    def _fresh_token(self) -> str:
        if self._token:
            return self._token
        tokens = Tokens(self._settings.noc.jwt_secret)
        # A program only watches. An operator's session would stop the timers that wait for a person
        # to look.
        return tokens.make(name=self._name, tenant_id=self._tenant_id, role="viewer", lifetime_s=3600)

    def _open(self, text: str) -> dict[str, Any]:
        try:
            return self._watcher.take(text)
        except InvalidMessage:
            self._watcher = FrameChecker(self._tenant_id, keys=self._keys)
            raise
