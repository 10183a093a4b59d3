"""HTTP on Nameko's WSGI server, with our errors, a sole owner of the port, and socket takeover.

Every phase of a request has a bound. There are limits on connections by address and in total, and
on the requests of an address. The head has a time and a strict syntax. The body has a time and a
minimum rate. The client has a time to take the answer.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

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

from services.contracts.errors import (
    Conflict,
    Forbidden,
    Misconfigured,
    NotAuthenticated,
    NotFound,
    Refused,
    TooLarge,
    TooMany,
    Unavailable,
)
from services.messaging.http_server.client_address import client_of, holder_of, proxies
from services.messaging.http_server.connection_counts import ConnectionCounts
from services.messaging.http_server.request_body import MIN_RATE_BYTES, RequestBody, linger
from services.messaging.http_server.request_head import head_fault
from services.platform import metrics, security_events
from services.platform.config import Config, RateLimit
from services.platform.token_buckets import TokenBuckets
from services.supervision import port_owner, sd_notify

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

STATUS_OF = {
    NotAuthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooMany: 429,
    TooLarge: 413,
    Refused: 400,
    Unavailable: 503,
}
SOCKET_TIMEOUT_S = 60
ACCEPT_PAUSE_S = 0.1
PORT_PAUSE_S = 1.0
ACCEPTED_AT_ONCE = 16
NOTED_EVERY_S = 10
SPARE_WORKERS = 50
"""Workers that connections leave to timers and loops."""
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def problem(error: BaseException, *, status: int | None = None) -> Response:
    """Return an error as RFC 9457 problem details.

    Details that are not for the caller stay in the log.
    """
    status = status or next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 500)
    if isinstance(error, HTTPException) and error.code:
        status = error.code

    detail = str(error) if status != 500 else "internal error; see the log of the service"
    body = {
        "type": "about:blank",
        "title": type(error).__name__ if status != 500 else "Error",
        "status": status,
    }

    response = Response(
        msgspec.json.encode({**body, "detail": detail}),
        status=status,
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store"},
    )

    # Headers that RFC 9110 requires: sections 15.5.2 and 15.5.6.
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="vigil"'
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))

    return response


class RequestRates:
    """Token buckets of requests.

    The beginning of each series of refusals is one security event.
    """

    def __init__(self, limit: RateLimit, *, event: str) -> None:
        self._buckets = TokenBuckets(count=limit.count, window_s=limit.window_s)
        self._event = event

    def take(self, key: str, *, whose: str) -> None:
        """Count one request of a user or an address. Raises `TooMany`."""
        refusal = self._buckets.take(key, now_s=time.monotonic())
        if refusal is None:
            return
        if refusal.is_first:
            security_events.note(self._event, whose=whose)
        wait_s = math.ceil(refusal.wait_s)
        raise TooMany.after(wait_s, f"too many requests of {whose}; try again in {wait_s} s")


class Routes(WsgiApp):
    """The routes of the server.

    A request without a route is refused by a problem, as all refused requests are, not by a page.
    """

    server: SoleWebServer

    def __call__(self, environ: Any, start_response: Any) -> Any:
        # Shallow: the body is not read before a route that takes the socket over has run.
        request = Request(environ, shallow=True)
        try:
            with self.server.admission(environ):
                response = self._response(request)
        except Refused as error:
            response = problem(error)
        environ["eventlet.input"].settle()
        return response(environ, start_response)

    def _response(self, request: Request) -> Any:
        try:
            provider, places = self.url_map.bind_to_environ(request.environ).match()
        except RequestRedirect as elsewhere:
            return _redirect(elsewhere)
        except HTTPException as error:
            return problem(error)
        request.path_values = places  # type: ignore[attr-defined] # Nameko's own: where its routes look for them
        return provider.handle_request(request)


def _redirect(elsewhere: RequestRedirect) -> Response:
    """Return a redirect within this server.

    werkzeug's own redirect names the host that the request claims.
    """
    target = urlsplit(elsewhere.new_url)
    location = "/" + target.path.lstrip("/") + (f"?{target.query}" if target.query else "")
    return Response(status=elsewhere.code, headers={"Location": location})


class PromptProtocol(HttpOnlyProtocol):
    """Protocol with a time for each phase: the head, the body (`RequestBody`), and the answer."""

    rfile: Any
    _answer_patience: Any = None
    _lingers = False

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

    def parse_request(self) -> bool:
        """Return False when the head was refused, and the refusal written."""
        head = HeadLines(self.rfile)
        self.rfile = head

        if not super().parse_request():
            self._lingers = True
            return False

        fault = head_fault(self.raw_requestline, head.lines)
        if fault is None:
            return True

        security_events.note("request_malformed", detail=fault)
        self._refuse(fault)
        return False

    def _refuse(self, fault: str) -> None:
        status = HTTPStatus.BAD_REQUEST
        body = {"type": "about:blank", "title": "Refused", "status": status.value, "detail": fault}
        content = msgspec.json.encode(body)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(content)}\r\n\r\n"
        )

        self.wfile.write(head.encode() + content)
        self.close_connection = 1
        self._lingers = True

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        given = environ["eventlet.input"]
        body = RequestBody(
            self.rfile,
            given.content_length,
            self.connection,
            wfile=given.wfile,
            wfile_line=given.wfile_line,
            chunked_input=given.chunked_input,
            timeout_s=self.server.body_timeout_s,
            grace_s=self.server.head_timeout_s,
            close_connection=self._announce_end,
        )

        environ["wsgi.input"] = environ["eventlet.input"] = body
        environ["wsgi.input_terminated"] = True
        return environ

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        log.info("request_refused", detail=(format % args)[:200])

    def _announce_end(self) -> None:
        self.close_connection = 1
        self._lingers = True

    def handle_one_response(self) -> None:
        self._patience.cancel()
        self.application = self._timed
        try:
            super().handle_one_response()
        finally:
            if self._answer_patience is not None:
                self._answer_patience.cancel()
                self._answer_patience = None

    def _timed(self, environ: Any, start_response: Any) -> Any:
        """Limit the time in which the client takes the answer, counted from when there is one."""
        size_bytes = 0

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal size_bytes
            size_bytes = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            return start_response(status, headers, exc_info)

        result = self.server.app(environ, start)
        patience_s = self.server.answer_timeout_s + size_bytes / MIN_RATE_BYTES
        self._answer_patience = eventlet.spawn_after(patience_s, self._cut_off)

        return result

    def _cut_off(self) -> None:
        """End the connection of a client that does not take its answer.

        A thread that is writing to it is woken.
        """
        log.info("response_not_delivered", peer=self.client_address[0])
        self.close_connection = 1
        self._lingers = False
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        if self._lingers:
            try:
                self.wfile.flush()
            except OSError:
                self._lingers = False
        if self._lingers:
            linger(self.connection)
        super().finish()


class HeadLines:
    """Reader that keeps the lines of a head as they came.

    Parsed headers do not show how they were written.
    """

    def __init__(self, given: Any) -> None:
        self._given = given
        self.lines: list[bytes] = []

    def readline(self, size: int = -1) -> bytes:
        line: bytes = self._given.readline(size)
        self.lines.append(line)
        return line


class SoleWebServer(WebServer):
    """Server that binds its port alone.

    Of two servers that share a port, each would get half of the requests.
    """

    _starting: bool
    _is_accepting: bool

    def start(self) -> None:
        if self._starting:
            return

        self._starting = True
        noc = self._config.noc
        port, variable = noc.port_of(self.container.service_name)
        self._proxies = proxies(noc)
        workers = self._config.workers.get(self.container.service_name, noc.connections + SPARE_WORKERS)
        self._connections = ConnectionCounts(
            per_address=noc.connections_per_address,
            total=max(1, min(noc.connections, workers - SPARE_WORKERS)),
        )

        self._forwarded = ConnectionCounts(per_address=noc.connections_per_address)
        self._noted = TokenBuckets(count=1, window_s=NOTED_EVERY_S)
        self._rates = RequestRates(noc.address_requests, event="address_requests_limited")
        self._sock = _listen(noc.server_host, port, variable)
        self._sock.settimeout(None)
        self._serv = self.get_wsgi_server(self._sock, self.get_wsgi_app())
        self._gt = self.container.spawn_managed_thread(self.run)

    def run(self) -> None:
        """Accept connections, as many as may be open."""
        accepted = 0
        while self._is_accepting:
            try:
                sock, address = self._sock.accept()
            except OSError as error:
                # No file descriptor is free, or the peer was gone already: no reason to end the
                # process.
                log.warning("connection_not_accepted", error=str(error))
                eventlet.sleep(ACCEPT_PAUSE_S)
                continue

            sock.settimeout(self._serv.socket_timeout)
            holder = self._holder(address[0])
            if self._connections.open(holder):
                self.container.spawn_managed_thread(partial(self._serve, sock, address, holder))
            else:
                self._note_limited(address[0])
                _turn_away(sock)

            accepted += 1
            if accepted % ACCEPTED_AT_ONCE == 0:
                eventlet.sleep(0)  # in a flood of connections, other threads get their turn

    def _note_limited(self, peer: str) -> None:
        """Record a security event for a peer, at most one in `NOTED_EVERY_S` seconds.

        A log line for each connection would help the flood.
        """
        if self._noted.take(peer, now_s=time.monotonic()) is None:
            security_events.note("connections_limited", peer=peer)

    def _serve(self, sock: Any, address: Any, holder: str | None) -> None:
        try:
            self.process_request(sock, address)
        finally:
            self._connections.close(holder)

    def _holder(self, peer: str) -> str | None:
        """Return the address that a connection counts for.

        None for a trusted proxy, whose requests are counted instead.
        """
        return None if self._proxies.has(peer) else holder_of(peer)

    @contextmanager
    def admission(self, environ: Any) -> Iterator[None]:
        """Count a request for its address, and while it is served its connection.

        Raises:
            TooMany: The address has too many requests.
            Forbidden: A trusted proxy's entry is no address.
        """
        peer = environ["REMOTE_ADDR"]
        client = client_of(peer, environ.get("HTTP_X_FORWARDED_FOR", ""), trusted=self._proxies)
        holder = holder_of(client)
        self._rates.take(holder, whose=f"address {client}")

        if self._holder(peer) is not None:
            yield
            return
        if not self._forwarded.open(holder):
            raise TooMany.after(5, f"address {client} has too many requests open; try again in 5 s")

        try:
            yield
        finally:
            self._forwarded.close(holder)

    def get_wsgi_server(
        self, sock: Any, wsgi_app: Any, protocol: Any = PromptProtocol, debug: bool = False
    ) -> Any:
        noc = self._config.noc
        server = wsgi.Server(
            sock,
            sock.getsockname(),
            wsgi_app,
            protocol=protocol,
            debug=debug,
            log_output=False,
            socket_timeout=SOCKET_TIMEOUT_S,
        )

        server.head_timeout_s = noc.handshake_timeout_s
        server.body_timeout_s = noc.body_timeout_s
        server.answer_timeout_s = noc.answer_timeout_s

        return server

    def get_wsgi_app(self) -> Any:
        return Routes(self)

    def process_request(self, sock: Any, address: Any) -> None:
        # A client that goes away in the middle is no reason to end the process.
        try:
            super().process_request(sock, address)
        except OSError as error:
            log.info("client_disconnected", error=str(error))

    @property
    def _config(self) -> Config:
        config: Config = self.container.config["vigil"]
        return config


def _listen(host: str, port: int, variable: str) -> Any:
    """Return a socket that listens.

    While another program has the port, report that and wait: a restart would not help.

    Raises:
        Misconfigured: The address cannot be had at all.
    """
    said = ""
    while True:
        try:
            sock = eventlet.listen((host, port), backlog=1024, reuse_port=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Misconfigured(
                    f"cannot listen on {host}:{port} ({error.strerror}); set {variable}"
                ) from error
        else:
            if said:
                sd_notify.notify("STATUS=", f"{sd_notify.BLOCKED}=")
            return sock

        problem = port_owner.sentence(port, f"end that program, or set {variable} to another port")
        if problem != said:
            log.error("port_not_opened", problem=problem)
            said = problem

        # Sent each second: it keeps systemd from ending a start that takes long.
        sd_notify.notify(
            f"STATUS={problem}", f"{sd_notify.BLOCKED}={problem}", "EXTEND_TIMEOUT_USEC=15000000"
        )
        eventlet.sleep(PORT_PAUSE_S)


def _turn_away(sock: Any) -> None:
    try:
        sock.settimeout(0)
        sock.send(BUSY)
    except OSError as error:
        log.debug("refusal_not_sent", error=str(error))
    finally:
        sock.close()


class HttpRoute(HttpRequestHandler):
    """An ordinary route: each request has a worker."""

    server = SoleWebServer()

    def handle_request(self, request: Request) -> Response:
        started = time.perf_counter()
        response: Response = super().handle_request(request)
        metrics.task_duration.labels(self.method_name).observe(time.perf_counter() - started)
        # A caller's mistake is no failure of ours; 500 is counted below.
        if response.status_code != 500:
            metrics.task_success.labels(self.method_name).inc()
        return response

    def response_from_exception(self, exc: Exception) -> Response:
        response = problem(exc)
        if response.status_code == 500:
            metrics.task_failure.labels(self.method_name, type(exc).__name__).inc()
        return response


class UpgradeRoute(HttpRequestHandler):
    """A route whose method takes the socket over.

    At stop, `GreenletExit` is raised in each method.
    """

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
    decorator: Callable[[F], F] = HttpRoute.decorator(
        method, url, expected_exceptions=(Refused, Unavailable, HTTPException)
    )
    return decorator


def upgrade(url: str) -> Callable[[F], F]:
    """Serve a route by `method(request, sock)`; None means that the method took the socket over."""
    decorator: Callable[[F], F] = UpgradeRoute.decorator(url)
    return decorator
