"""The HTTP API of the NOC, log-in, the console's files, health and metrics.

The live feed is apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import eventlet
import msgspec
import structlog
from werkzeug.wrappers import Request, Response

from gateway.noc import parts_away
from gateway.noc.api.callbacks import CallbackRoutes
from gateway.noc.api.idempotency import IdempotencyStore
from gateway.noc.api.operation import MAX_BODY_BYTES
from gateway.noc.api.routes import Api
from gateway.noc.api.shared_answers import RecentResult, SharedAnswer
from gateway.noc.auth import requests
from gateway.noc.auth.callers import BARS_INTERVAL_S, Callers
from gateway.noc.auth.login_limit import LoginLimit, TurnQueue
from gateway.noc.auth.tickets import Tickets
from gateway.noc.static import map_file
from gateway.noc.static.console_files import ConsoleFiles
from gateway.noc.static.map_file import MapFile
from services.contracts.errors import (
    Forbidden,
    NotAuthenticated,
    Refused,
    SchemaBehind,
    TooMany,
    Unanswered,
    Unavailable,
)
from services.feed.keyring import KeyRing
from services.feed.stream import FeedReader
from services.messaging import HeartbeatListener, Resource, RpcProxy, http, loop, timer, within
from services.messaging.http_server import client_address
from services.messaging.http_server.client_address import NetworkList
from services.platform import metrics_export
from services.platform.config import Config
from services.supervision.process_heartbeats import AMQP

log = structlog.get_logger(__name__)

EXPOSITION_AGE_S = 1.0
"""Age of shared metrics.

Reading the files of all processes blocks requests for tens of milliseconds.
"""
READY_AGE_S = 1.0
READY_WITHIN_S = 1.2
"""Seconds in which one part must answer: `/readyz` as a whole answers within two seconds."""
NOT_KEPT = {"Cache-Control": "no-store"}
"""Headers of answers with secrets or personal data."""


class NocApiParts:
    """Objects that all requests of the process share. They are made once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.callers = Callers(config)
        self.feed = FeedReader.from_config(config)
        self.tickets = Tickets.from_config(config)
        self.login_limit = LoginLimit.from_config(config)
        self.passwords = TurnQueue.of_passwords(config)
        self.keys = KeyRing.from_config(config) if config.feed.encryption == "fernet" else None
        self.metrics_readers = NetworkList(config.noc.metrics_allowed_ips)

        for problem in client_address.problems(config.noc):
            # A bad network must not stop the control room, so this is only logged.
            log.warning("network_rejected", problem=problem)

        self.api = Api(IdempotencyStore.from_config(config), heavy=TurnQueue.of_heavy_requests(config))
        self.console = ConsoleFiles(config.noc)
        self.map_file = MapFile(config.noc)
        self.readiness = SharedAnswer[dict[str, str]](max_age_s=READY_AGE_S)
        others = parts_away.PROCESSES - {NocApi.name}
        self.heartbeats = HeartbeatListener(config, service=NocApi.name, expected=others)
        self.exposition = RecentResult(metrics_export.exposition, max_age_s=EXPOSITION_AGE_S)


class NocApi(CallbackRoutes):
    """The HTTP API, and all else on the public port except the live feed."""

    name = "noc_api"

    parts = Resource(NocApiParts)
    alerts = RpcProxy("alerts")
    directory = RpcProxy("directory")
    telemetry = RpcProxy("telemetry")
    location = RpcProxy("location")

    @timer(BARS_INTERVAL_S)
    def learn_who_is_barred(self) -> None:
        """Update the barred users and sessions.

        A disabled user's tokens are refused within seconds.
        """
        self.parts.callers.bars.update(**self.directory.list_barred())

    @loop
    def listen_to_heartbeats(self) -> None:
        """Receive the heartbeats of every process of Vigil, for `/readyz`."""
        self.parts.heartbeats.run()

    @http("POST", "/api/v1/session")
    def log_in(self, request: Request) -> Response:
        """Open a session from user and password.

        The answer holds a token (15 min), a refresh token (a shift) and the tenant's feed keys.
        """
        holder = self.parts.callers.count_stranger(request)
        body = _body(request)
        login, password = _text(body, "user"), _text(body, "password")
        limit = self.parts.login_limit

        with self.parts.passwords.turn(holder):
            limit.begin(login, holder)
            try:
                session = self.directory.open_session(login=login, password=password)
            except NotAuthenticated:
                limit.failed(holder)
                raise
            except Unanswered:
                raise  # the directory may have checked the password, so the attempt stays counted
            except (Unavailable, TooMany):
                limit.give_back(login, holder)
                raise

        limit.give_back(login, holder)
        return self._session_answer(session)

    @http("POST", "/api/v1/session/refresh")
    def refresh_session(self, request: Request) -> Response:
        """Replace a refresh token by a new token and a new refresh token. Each is valid once."""
        self.parts.callers.count_stranger(request)
        return self._session_answer(
            self.directory.refresh_session(token=_text(_body(request), "refresh_token"))
        )

    @http("DELETE", "/api/v1/session")
    def log_out(self, request: Request) -> Response:
        """End the session. Its tokens become void, and its sockets close within seconds."""
        principal = self.parts.callers.principal(request)
        if principal.session_id:
            self.directory.close_session(session_id=principal.session_id)
        return Response(status=204)

    @http("GET", "/api/v1/feed-keys")
    def list_feed_keys(self, request: Request) -> Response:
        """Return the keys of the tenant's feed, newest first. A rotation adds one key."""
        principal = self.parts.callers.principal(request)
        tenant_id = request.args.get("client_id", str(principal.tenant_id))
        if not (tenant_id.isascii() and tenant_id.isdigit() and len(tenant_id) < 10):
            raise Refused("client_id must be a number")
        principal.must_see(int(tenant_id))
        return _json({"tenant_id": int(tenant_id), "feed_keys": self._feed_keys(int(tenant_id))})

    @http("POST", "/api/v1/tickets")
    def make_ticket(self, request: Request) -> Response:
        self.parts.callers.check_origin(request)
        ticket = self.parts.tickets.make(
            self.parts.callers.principal(request), origin=request.headers.get("Origin")
        )
        return _json({"ticket": ticket, "expires_in": self.parts.tickets.lifetime_s})

    @http("GET", "/api/v1/openapi.json")
    def describe_api(self, request: Request) -> Response:  # noqa: ARG002
        return Response(self.parts.api.described, content_type="application/json")

    @http("GET", "/api/v1/asyncapi.json")
    def describe_messages(self, request: Request) -> Response:  # noqa: ARG002
        return Response(self.parts.api.described_messages, content_type="application/json")

    @http("GET,POST,PUT,PATCH,DELETE", "/api/v1/<path:path>")
    def serve_api(self, request: Request, path: str) -> Response:
        """Serve the operations that `gateway/noc/api/operations/all_operations.py` lists."""
        return self.parts.api.serve(request, path, self.parts.callers.principal(request), self._ask)

    @http("GET", "/healthz")
    def healthz(self, request: Request) -> Response:  # noqa: ARG002
        return Response("ok\n")

    @http("GET", "/readyz")
    def readyz(self, request: Request) -> Response:
        return self._readiness(request)

    @http("GET", "/monitoring/health/")
    def monitoring_health(self, request: Request) -> Response:
        return self._readiness(request)

    @http("GET", "/metrics/export/")
    def export_metrics(self, request: Request) -> Response:
        """Return the metrics of every process of the host, to callers that may read them."""
        self.parts.callers.check_watcher(request, allowed=self.parts.metrics_readers)
        return Response(self.parts.exposition.get(), content_type="text/plain; version=0.0.4")

    @http("GET", "/")
    def console_start(self, request: Request) -> Response:  # noqa: ARG002
        return self.parts.console.file("index.html")

    @http("GET", "/console/<path:name>")
    def console_file(self, request: Request, name: str) -> Response:  # noqa: ARG002
        return self.parts.console.file(name)

    @http("GET", "/api/v1/console")
    def describe_console(self, request: Request) -> Response:
        """Return the configuration that the console uses."""
        self.parts.callers.principal(request)
        return _json({"map_style_url": map_file.style_url(self.parts.config.noc)})

    @http("GET", map_file.ROUTE)
    def map_ground(self, request: Request) -> Response:
        return self.parts.map_file.part(request)

    def _ask(self, service: str, rpc: str, arguments: dict[str, Any]) -> Any:
        asked: Callable[..., Any] = getattr(getattr(self, service), rpc)
        return asked(**arguments)

    def _session_answer(self, session: dict[str, Any]) -> Response:
        noc = self.parts.config.noc
        token = self.parts.callers.tokens.make(
            name=session["name"],
            login=session["login"],
            tenant_id=session["tenant_id"],
            role=session["role"],
            session_id=session["session_id"],
            lifetime_s=noc.token_lifetime_s,
        )

        answer = {
            name: session[name] for name in ("tenant_id", "role", "login", "name", "refresh_token", "ends_at")
        }
        keys = self._feed_keys(session["tenant_id"])

        return _json({**answer, "token": token, "expires_in": noc.token_lifetime_s, "feed_keys": keys})

    def _feed_keys(self, tenant_id: int) -> dict[str, str]:
        return self.parts.keys.of_tenant(tenant_id) if self.parts.keys is not None else {}

    def _readiness(self, request: Request) -> Response:
        """Return the readiness of the gateway, with the checks for callers that may see them."""
        states = self.parts.readiness.get(self._look_at_parts)
        ready = all(state == "ok" for state in states.values())
        answer = {"ready": ready, **({"checks": states} if self._may_know(request) else {})}
        return _json(answer, status=200 if ready else 503)

    def _may_know(self, request: Request) -> bool:
        """Return True when a request comes from a user, or from a network that may read metrics."""
        callers = self.parts.callers
        try:
            callers.check_watcher(request, allowed=self.parts.metrics_readers)
        except Forbidden:
            pass
        else:
            return True

        try:
            callers.principal(request)
        except NotAuthenticated:
            return False

        return True

    def _check_schema(self) -> None:
        """Check the database's schema. Raises `SchemaBehind` with the missing parts."""
        words = self.directory.check().get("schema", "ok")
        if words != "ok":
            raise SchemaBehind(words)

    def _look_at_parts(self) -> dict[str, str]:
        """Return the state of each part by name: `ok`, or a description of the fault.

        All checks run at once, and none waits for another.
        """
        away = {fault.part: parts_away.reason_of(fault.part) for fault in self.parts.heartbeats.faults()}
        services = self._services()
        checks: dict[str, Callable[[], Any]] = {"redis": self.parts.feed.ping}

        unasked: dict[str, str] = {}
        if AMQP in away:  # no service can be asked, and that is not the service's fault
            unasked = dict.fromkeys(services, "not asked: RabbitMQ takes no messages")
        else:
            checks |= services

        states = dict(zip(checks, eventlet.GreenPool().imap(_state, checks.values()), strict=True))
        return {**states, **unasked, **away}

    def _services(self) -> dict[str, Callable[[], Any]]:
        """Return the checks of the services that the console needs.

        Heartbeats cover servers and other processes.
        """
        return {
            "directory": self.directory.check,
            "schema": self._check_schema,
            "alerts": lambda: self.alerts.list_alerts(tenant_id=0, limit=1),
            "telemetry": lambda: self.telemetry.list_device_states(tenant_id=0, limit=1),
            "location": lambda: self.location.list_positions(tenant_id=0, limit=1),
            "notifications": lambda: self.notifications.list_notifications(tenant_id=0, limit=1),
        }


def _state(check: Callable[[], Any]) -> str:
    """Return `ok`, or a description of the fault.

    An exception of a library is a finding, not a failure.
    """
    try:
        within(READY_WITHIN_S, check)
    except Exception as error:
        return str(error) or type(error).__name__
    return "ok"


def _json(data: Any, *, status: int = 200) -> Response:
    content = msgspec.json.encode(data)
    return Response(content, status=status, content_type="application/json", headers=NOT_KEPT)


def _body(request: Request) -> dict[str, Any]:
    content = requests.body_of(request, max_bytes=MAX_BODY_BYTES)
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("the body must be a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise Refused(f"{name} is required and must be text, without NUL")
    return value
