"""The directory service: who people are, what belongs to whom, and the snapshot that a screen starts from."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eventlet import tpool

from services import providers
from services.bus import Resource, RpcProxy, rpc
from services.config import Config
from services.directory import passwords, shapes
from services.directory.store import DirectoryStore
from services.errors import Forbidden, Unavailable
from services.feed import make_sealer

SNAPSHOT_ALERTS = 1000


class Parts:
    """What the service works with, made once a process."""

    def __init__(self, config: Config) -> None:
        self.store = DirectoryStore(providers.make_engine(config, name="directory"))
        self.sealer = make_sealer(config)


class DirectoryService:
    name = "directory"

    parts = Resource(Parts)
    alerts = RpcProxy("alerts")
    location = RpcProxy("location")
    telemetry = RpcProxy("telemetry")

    @rpc
    def authenticate(self, *, login: str, password: str) -> dict[str, Any]:
        """The user whose password this is. Raises `Forbidden`, after the same work whether the user exists or not."""
        user = self.parts.store.user(login)
        # argon2 takes a tenth of a second of pure computing; in a thread it holds nobody else up.
        if (
            not tpool.execute(passwords.matches, password, user["password_hash"] if user else None)
            or not user
        ):
            raise Forbidden("user or password is wrong")
        return {name: user[name] for name in ("user_id", "tenant_id", "role", "name", "login")}

    @rpc
    def check(self) -> dict[str, str]:
        """Whether this service and its database answer."""
        self.parts.store.check()
        return {"directory": "ok", "postgresql": "ok"}

    @rpc
    def seal_snapshot(self, *, tenant_id: int, frame_id: int) -> bytes:
        """A `snapshot` frame, sealed here so that the websocket gateway never holds what is in it.

        Without the alerts there is no snapshot (`Unavailable`); positions and devices may be missing, and are named.
        """
        missing: list[str] = []

        def part(name: str, fetch: Callable[..., Any]) -> Any:
            try:
                return fetch(tenant_id=tenant_id)
            except Unavailable:
                missing.append(name)
                return []

        data = {
            "alerts": self.alerts.list_alerts(tenant_id=tenant_id, status="open", limit=SNAPSHOT_ALERTS),
            "positions": part("positions", self.location.list_positions),
            "devices": part("devices", self.telemetry.list_device_states),
            "missing": missing,
        }
        return self.parts.sealer.seal(
            tenant_id, type="snapshot", id=frame_id, data=data, now_s=int(time.time())
        )

    @rpc
    def list_sites(self, *, tenant_id: int, limit: int = 1000) -> list[dict[str, Any]]:
        return self.parts.store.list_rows("site", tenant_id=tenant_id, limit=limit)

    @rpc
    def list_zones(self, *, tenant_id: int, limit: int = 1000) -> list[dict[str, Any]]:
        return self.parts.store.list_rows("zone", tenant_id=tenant_id, limit=limit)

    @rpc
    def list_guards(self, *, tenant_id: int, limit: int = 1000) -> list[dict[str, Any]]:
        return self.parts.store.list_rows("guard", tenant_id=tenant_id, limit=limit)

    @rpc
    def list_devices(self, *, tenant_id: int, limit: int = 1000) -> list[dict[str, Any]]:
        return self.parts.store.list_rows("device", tenant_id=tenant_id, limit=limit)

    @rpc
    def add_circle_zone(
        self, *, tenant_id: int, name: str, lat: float, lon: float, radius_m: float, kind: str = "required"
    ) -> int:
        """Add a circle; returns its id. Raises `Refused` naming the field that is wrong."""
        area = shapes.circle(lat=lat, lon=lon, radius_m=radius_m)
        return int(
            self.parts.store.add(
                "zone", tenant_id=tenant_id, site_id=None, name=name, kind=kind, area=area, radius_m=radius_m
            )
        )

    @rpc
    def add_polygon_zone(
        self, *, tenant_id: int, name: str, vertices: list[list[float]], kind: str = "required"
    ) -> int:
        """Add a polygon of [longitude, latitude] pairs; returns its id."""
        area = shapes.polygon(vertices)
        return int(
            self.parts.store.add(
                "zone", tenant_id=tenant_id, site_id=None, name=name, kind=kind, area=area, radius_m=None
            )
        )
