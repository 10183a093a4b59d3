"""HTTP on Nameko's WSGI server, with our errors, one owner of the port, and a way to take the socket over."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import eventlet
import msgspec
import structlog
from eventlet import wsgi
from eventlet.event import Event
from nameko.web.handlers import HttpRequestHandler
from nameko.web.server import HttpOnlyProtocol, WebServer, WsgiApp
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect, Rule
from werkzeug.wrappers import Request, Response

from services import metrics
from services.config import Config
from services.errors import (
    Conflict,
    Forbidden,
    Misconfigured,
    NotAuthenticated,
    NotFound,
    Refused,
    TooMany,
    Unavailable,
)

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

STATUS_OF = {
    NotAuthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooMany: 429,
    Refused: 400,
    Unavailable: 503,
}
SOCKET_TIMEOUT_S = 60


def problem(error: BaseException, *, status: int | None = None) -> Response:
    """RFC 9457 problem details; what is not the caller's business stays in the log."""
    status = status or next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 500)
    if isinstance(error, HTTPException) and error.code:
        status = error.code
    detail = str(error) if status != 500 else "Vigil failed; the log says why"
    body = {
        "type": "about:blank",
        "title": type(error).__name__ if status != 500 else "Error",
        "status": status,
    }
    response = Response(
        msgspec.json.encode({**body, "detail": detail}),
        status=status,
        content_type="application/problem+json",
    )
    # What RFC 9110 says must be told along: sections 15.5.2 and 15.5.6.
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="vigil"'
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


class Routes(WsgiApp):
    """What no route takes is refused as everything else is: by a problem, not by a page."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        # Shallow: nobody reads the body before a route that takes the socket over has had its say.
        request = Request(environ, shallow=True)
        try:
            provider, places = self.url_map.bind_to_environ(environ).match()
        except RequestRedirect as elsewhere:
            return elsewhere(environ, start_response)
        except HTTPException as error:
            return problem(error)(environ, start_response)
        request.path_values = places  # type: ignore[attr-defined] # Nameko's own: where its routes look for them
        return provider.handle_request(request)(environ, start_response)


class PromptProtocol(HttpOnlyProtocol):
    """Whoever connects says what they want within `server.head_timeout_s`; who trickles it is put off."""

    def handle_one_request(self) -> None:
        self._patience = eventlet.Timeout(self.server.head_timeout_s)
        try:
            super().handle_one_request()
        except eventlet.Timeout as late:
            if late is not self._patience:
                raise
            self.close_connection = 1
        finally:
            self._patience.cancel()

    def handle_one_response(self) -> None:
        self._patience.cancel()
        super().handle_one_response()


class SoleWebServer(WebServer):
    """Binds its port alone: two servers that share one would each get half of the requests."""

    _starting: bool

    def start(self) -> None:
        if self._starting:
            return
        self._starting = True
        noc = self._config.noc
        try:
            self._sock = eventlet.listen((noc.host, noc.port), backlog=1024, reuse_port=False)
        except OSError as error:
            raise Misconfigured(
                f"cannot listen on {noc.host}:{noc.port} ({error.strerror}); set VIGIL_HTTP_PORT"
            ) from error
        self._sock.settimeout(None)
        self._serv = self.get_wsgi_server(self._sock, self.get_wsgi_app())
        self._gt = self.container.spawn_managed_thread(self.run)

    def get_wsgi_server(
        self, sock: Any, wsgi_app: Any, protocol: Any = PromptProtocol, debug: bool = False
    ) -> Any:
        server = wsgi.Server(
            sock,
            sock.getsockname(),
            wsgi_app,
            protocol=protocol,
            debug=debug,
            log_output=False,
            socket_timeout=SOCKET_TIMEOUT_S,
        )
        server.head_timeout_s = self._config.noc.handshake_timeout_s
        return server

    def get_wsgi_app(self) -> Any:
        return Routes(self)

    def process_request(self, sock: Any, address: Any) -> None:
        # A client that goes away in the middle is no reason to end the process.
        try:
            super().process_request(sock, address)
        except OSError as error:
            log.info("client_went_away", error=str(error))

    @property
    def _config(self) -> Config:
        config: Config = self.container.config["vigil"]
        return config


class Http(HttpRequestHandler):
    """An ordinary route: a worker a request."""

    server = SoleWebServer()

    def handle_request(self, request: Request) -> Response:
        started = time.perf_counter()
        response: Response = super().handle_request(request)
        metrics.task_duration.labels(self.method_name).observe(time.perf_counter() - started)
        if (
            response.status_code != 500
        ):  # what the caller did wrong is no failure of ours; 500 is counted below
            metrics.task_success.labels(self.method_name).inc()
        return response

    def response_from_exception(self, exc: Exception) -> Response:
        response = problem(exc)
        if response.status_code == 500:
            metrics.task_failure.labels(self.method_name, type(exc).__name__).inc()
        return response


class Upgrade(HttpRequestHandler):
    """A route whose method takes the socket over. At stop, `GreenletExit` is raised in each method."""

    server = SoleWebServer()

    def __init__(self, url: str, **kwargs: Any) -> None:
        self._sessions: set[Any] = set()
        super().__init__("GET", url, **kwargs)

    def get_url_rule(self) -> Rule:
        # werkzeug matches a request that asks for an upgrade with such rules only.
        return Rule(self.url, websocket=True)

    def stop(self) -> None:
        for session in list(self._sessions):
            session.kill()
        super().stop()

    def handle_request(self, request: Request) -> Any:
        sock = request.environ["eventlet.input"].get_socket()
        sock.settimeout(None)
        ended = Event()
        context = self.container.spawn_worker(
            self, (request, sock), {}, handle_result=partial(self.handle_result, ended)
        )
        session = self.container._worker_threads[context]
        self._sessions.add(session)
        session.link(self._sessions.discard)
        try:
            response = ended.wait()
        except Exception as error:
            response = problem(error)
        return response if response is not None else _taken_over


def _taken_over(_environ: Any, _start_response: Any) -> list[bytes]:
    wsgi.WSGI_LOCAL.already_handled = True
    return []


def http(method: str, url: str) -> Callable[[F], F]:
    """Serve a route; the method takes a werkzeug `Request` and returns a `Response`."""
    decorator: Callable[[F], F] = Http.decorator(method, url, expected_exceptions=(Refused, Unavailable))
    return decorator


def upgrade(url: str) -> Callable[[F], F]:
    """Serve a route by `method(request, sock)`; None means that it took the socket over."""
    decorator: Callable[[F], F] = Upgrade.decorator(url)
    return decorator
