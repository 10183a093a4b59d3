"""The live feed of the NOC over websockets, in a separate process.

A flood of the API delays no frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import eventlet
import msgspec
import structlog
from werkzeug.wrappers import Request, Response

from gateway.noc import parts_away
from gateway.noc.auth import requests
from gateway.noc.auth.callers import BARS_INTERVAL_S, Callers
from gateway.noc.auth.quotas import RENEW_INTERVAL_S
from gateway.noc.auth.tickets import Tickets
from gateway.noc.auth.tokens import Principal
from gateway.noc.websocket.hub import Hub
from gateway.noc.websocket.session import Session
from services.contracts import frames
from services.contracts.errors import Unavailable
from services.messaging import HeartbeatListener, Resource, RpcProxy, http, loop, timer, upgrade
from services.platform import metrics
from services.platform.config import Config

log = structlog.get_logger(__name__)

NO_SOCKETS_PAUSE_S = 1.0
"""Interval of the Redis check while no session is open, in seconds.

The first session ends the pause.
"""
FEED_AGAIN_S = 0.5
PARTS_INTERVAL_S = 0.5
SHOWN_INTERVAL_S = 1.0
ROAD_INTERVAL_S = 5.0
PRESENCE_INTERVAL_S = 30.0
ALERT_RPCS: Mapping[type[frames.Act], str] = {
    frames.AcknowledgeAlert: "acknowledge_alert",
    frames.StartAlert: "start_alert",
    frames.ResolveAlert: "resolve_alert",
    frames.MarkFalseAlarm: "mark_false_alarm",
}
"""RPCs of the alerts service that do what a frame asks for."""


class NocGatewayParts:
    """Objects that all sockets of the process share. They are made once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.callers = Callers(config)
        self.hub = Hub.from_config(config)
        self.tickets = Tickets.from_config(config)
        others = parts_away.PROCESSES - {NocGateway.name}
        self.heartbeats = HeartbeatListener(config, service=NocGateway.name, expected=others)

    def close(self) -> None:
        """Withdraw the socket counts of this process."""
        self.hub.quotas.withdraw()


class NocGateway:
    """The live feed: websocket sessions, the pump that reads for them, and their shared parts."""

    name = "noc_gateway"

    parts = Resource(NocGatewayParts)
    alerts = RpcProxy("alerts")
    directory = RpcProxy("directory")

    @loop
    def pump_feed(self) -> None:
        hub = self.parts.hub
        while True:
            if hub.idle:
                hub.await_listener(NO_SOCKETS_PAUSE_S)
            try:
                hub.pump()
            except Unavailable as error:
                # The loop's back-off is not used: sessions continue as soon as Redis does.
                metrics.task_failure.labels("pump_feed", type(error).__name__).inc()
                log.warning("feed_not_read", error=str(error))
                eventlet.sleep(FEED_AGAIN_S)

    @loop
    def listen_to_heartbeats(self) -> None:
        """Receive the heartbeats of every process of Vigil.

        Every two seconds a process reports that it runs, and which parts it finds away.
        """
        self.parts.heartbeats.run()

    @loop
    def look_for_what_is_away(self) -> None:
        """Send sessions a heartbeat at once when a part is away or back.

        Old data must not look like quiet.
        """
        while True:
            self.parts.hub.look(self.parts.heartbeats.faults())
            eventlet.sleep(PARTS_INTERVAL_S)

    @timer(BARS_INTERVAL_S)
    def learn_who_is_barred(self) -> None:
        """Update the barred users and sessions.

        A disabled user's sockets close, and the user's tokens are refused, within seconds.
        """
        barred = self.directory.list_barred()
        self.parts.callers.bars.update(**barred)
        self.parts.hub.end_barred(self.parts.callers.bars)

    @timer(ROAD_INTERVAL_S, eager=True)
    def look_at_road(self) -> None:
        """Check for the watchdog's test messages.

        An empty console must not pass for a quiet night.
        """
        self.parts.hub.update_test_message_time(self.parts.config.watchdog.tenant_id)

    @timer(SHOWN_INTERVAL_S)
    def tell_what_was_shown(self) -> None:
        """Report the first display of alerts.

        The response clock begins when a session shows an alert.
        """
        shown = self.parts.hub.shown
        for tenant_id, seen in shown.take().items():
            unknown = self.alerts.mark_shown(tenant_id=tenant_id, frames=seen)
            shown.settle(tenant_id, seen, unknown=unknown)

    @timer(RENEW_INTERVAL_S, eager=True)
    def tell_how_many_sockets(self) -> None:
        """Publish this gateway's socket counts, so that limits hold over all gateways."""
        self.parts.hub.quotas.renew()

    @timer(PRESENCE_INTERVAL_S)
    def tell_who_is_here(self) -> None:
        """Report the present operators, because alarms are counted by operator and hour."""
        for tenant_id, names in self.parts.hub.present().items():
            self.alerts.note_presence(tenant_id=tenant_id, names=names)

    @upgrade("/ws/noc/dashboard/")
    def dashboard(self, request: Request, sock: Any) -> Response | None:
        """Serve the live feed. See the contract for its frames."""
        parts = self.parts
        parts.callers.check_origin(request)
        principal = self._principal(request)
        session = Session(
            request,
            sock,
            principal,
            config=parts.config,
            hub=parts.hub,
            act=self._act,
            seal=self.directory.seal_snapshot,
        )

        session.run()
        return None

    @http("GET", "/healthz")
    def healthz(self, request: Request) -> Response:  # noqa: ARG002
        return Response("ok\n")

    def _principal(self, request: Request) -> Principal:
        """Return the user of the token or ticket. Raises `NotAuthenticated`, `TooMany`."""
        ticket = requests.offered_ticket(request)
        if ticket is None:
            return self.parts.callers.principal(request)
        principal = self.parts.tickets.redeem(ticket, origin=request.headers.get("Origin"))
        self.parts.callers.bars.check(principal)
        return principal

    def _act(self, principal: Principal, frame: frames.Act) -> dict[str, Any]:
        """Call the frame's RPC with the fields that the client gave. Raises `VigilError`."""
        principal.must_handle_alerts()
        given = {
            name: value for name, value in msgspec.structs.asdict(frame).items() if value and name != "ref"
        }
        act: Callable[..., Any] = getattr(self.alerts, ALERT_RPCS[type(frame)])
        alert = act(tenant_id=principal.tenant_id, by=principal.login, **given)
        return {"alert_id": alert["id"], "status": alert["status"]}
