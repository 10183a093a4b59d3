"""Tests of the guarded client with real servers.

A refused address gets no connection. An answer is bounded.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.exceptions import ReadTimeoutError

from ops.servers.certificates import CertificateAuthority
from services.outgoing.client import MAX_ANSWER_BYTES, OutgoingClient, resolve
from services.outgoing.rules import CLOSED_NETWORK, ForbiddenDestination, tenant

PROJECT = Path(__file__).resolve().parents[2]


class Server:
    """An HTTP server of a test.

    `asked` holds (method, path, headers) of each request, `connections` their number.
    """

    def __init__(self, host: str = "127.0.0.1", *, certificate: Path | None = None) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        self.status, self.headers, self.body = 200, {"Content-Type": "text/plain"}, b"ok"
        self.drips = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def answer(self) -> None:
                server.asked.append((self.command, self.path, dict(self.headers)))
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.body)
                try:
                    while server.drips:
                        self.wfile.write(b"x")
                        time.sleep(0.05)
                except OSError:
                    self.close_connection = True

            do_GET = answer  # noqa: N815 - http.server's name

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.http = ThreadingHTTPServer((host, 0), Handler) if ":" not in host else _Six((host, 0), Handler)
        self.http.daemon_threads = True
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate / "server.pem", certificate / "server-key.pem")
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = int(self.http.server_address[1])
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.drips = False
        self.http.shutdown()
        self.http.server_close()


class _Six(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def get(client: OutgoingClient, url: str, **options: Any) -> Any:
    return client.request("GET", url, deadline_s=options.pop("deadline_s", 5), **options)


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_found(server: Server) -> None:
    other = Server("127.0.0.2")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    client = OutgoingClient(CLOSED_NETWORK, resolver=lambda _host, _port: next(answers))
    assert get(client, f"http://hook.example:{server.port}/a?b=c").status == 200
    [(_, path, headers)] = server.asked
    assert (path, headers["Host"]) == ("/a?b=c", f"hook.example:{server.port}")
    assert other.connections == 0
    other.close()


def test_the_next_address_is_tried_when_the_first_takes_no_connection(server: Server) -> None:
    client = OutgoingClient(CLOSED_NETWORK, resolver=lambda _host, _port: ["127.0.0.9", "127.0.0.1"])
    assert get(client, f"http://hook.example:{server.port}/").status == 200


def test_an_ipv6_address_is_a_host_as_well() -> None:
    server = Server("::1")
    try:
        assert get(OutgoingClient(CLOSED_NETWORK), f"http://[::1]:{server.port}/x").status == 200
        assert server.asked[0][2]["Host"] == f"[::1]:{server.port}"
    finally:
        server.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_never_followed(server: Server, status: int) -> None:
    inside = Server()
    server.status = status
    server.headers = {"Location": f"http://127.0.0.1:{inside.port}/metadata"}
    for options in ({}, {"allow_redirects": True}):
        assert (
            get(OutgoingClient(CLOSED_NETWORK), f"http://127.0.0.1:{server.port}/", **options).status
            == status
        )
    assert inside.connections == 0
    inside.close()


INSIDE = [
    "http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "https://localhost:{port}/", "https://localhost.:{port}/",
    "https://127.1:{port}/", "https://2130706433:{port}/", "https://0x7f000001:{port}/", "https://0x7f.1:{port}/",
    "https://0177.0.0.1:{port}/", "https://017700000001:{port}/", "https://0:{port}/", "https://0.0.0.0:{port}/",
    "https://[::1]:{port}/", "https://[::]:{port}/", "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/", "https://[::127.0.0.1]:{port}/", "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://[2002:7f00:1::]:{port}/", "https://127.0.0.2:{port}/", "https://inside.example:{port}/",
    "https://mapped.example:{port}/", "https://both.example:{port}/", "https://example.com@127.0.0.1:{port}/",
    "https://example.com%40127.0.0.1:{port}/", "https://example.com\\@127.0.0.1:{port}/",
    "https://example.com#@127.0.0.1:{port}/", "https://１２７.0.0.1:{port}/", "https://ⓛocalhost:{port}/",
]  # fmt: skip
NAMES = {
    "inside.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "both.example": ["93.184.216.34", "127.0.0.1"],
}


@pytest.mark.parametrize("form", INSIDE)
def test_no_form_of_an_internal_address_gets_a_connection_by_a_tenant_s_url(
    server: Server, form: str
) -> None:
    def found(host: str, port: int) -> list[str]:
        return NAMES[host] if host in NAMES else [] if host == "example.com" else resolve(host, port)

    client = OutgoingClient(tenant([443, server.port]), resolver=found)
    with pytest.raises((ForbiddenDestination, requests.ConnectionError, requests.exceptions.InvalidURL)):
        get(client, form.format(port=server.port))
    assert server.connections == 0


def test_a_proxy_of_the_environment_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert get(OutgoingClient(CLOSED_NETWORK), f"http://127.0.0.1:{server.port}/").status == 200
    options = {"proxies": {"http": f"http://127.0.0.1:{proxy.port}"}}
    assert get(OutgoingClient(CLOSED_NETWORK), f"http://127.0.0.1:{server.port}/", **options).status == 200
    assert proxy.connections == 0
    proxy.close()


TLS_CALLS = """
import eventlet; eventlet.monkey_patch()
import sys
import requests
from services.outgoing.client import OutgoingClient
from services.outgoing.rules import OPERATOR
port, ca = sys.argv[1:]
at_home = {"resolver": lambda _host, _port: ["127.0.0.1"]}
for host, trust in (("hook.example", ca), ("hook.example", True), ("other.example", ca)):
    try:
        answer = OutgoingClient(OPERATOR, trust=trust, **at_home).request(
            "GET", f"https://{host}:{port}/", deadline_s=5, verify=False
        )
        print(answer.status)
    except requests.exceptions.SSLError:
        print("SSLError")
"""
"""A script for a process of its own.

eventlet patches it first, as it patches Vigil's processes. In this process, pytest's plugins come
before eventlet.
"""


def test_tls_is_verified_by_the_name_whatever_a_library_asks_for(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.make()
    authority.issue_server(tmp_path, hosts=["hook.example"])
    server = Server(certificate=tmp_path)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", TLS_CALLS, str(server.port), str(authority.certificate_file)],
            capture_output=True,
            text=True,
            cwd=PROJECT,
            timeout=60,
            check=False,
        )
        assert ran.stdout.split() == ["200", "SSLError", "SSLError"], ran.stderr
        assert len(server.asked) == 1
    finally:
        server.close()


def test_an_answer_without_an_end_is_cut_and_one_that_unpacks_is_bounded(server: Server) -> None:
    server.body = b"x" * (MAX_ANSWER_BYTES * 2)
    assert (
        len(get(OutgoingClient(CLOSED_NETWORK), f"http://127.0.0.1:{server.port}/").body) == MAX_ANSWER_BYTES
    )
    server.headers, server.body = {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 50_000_000)
    assert (
        len(get(OutgoingClient(CLOSED_NETWORK), f"http://127.0.0.1:{server.port}/").body) == MAX_ANSWER_BYTES
    )


def test_the_deadline_holds_for_an_answer_that_drips_and_for_all_requests_of_a_session(
    server: Server,
) -> None:
    server.drips = True
    started_s = time.monotonic()
    with OutgoingClient(CLOSED_NETWORK).session(deadline_s=0.5) as session:
        for _ in range(3):
            with pytest.raises((requests.RequestException, TimeoutError, ReadTimeoutError)):
                session.get(f"http://127.0.0.1:{server.port}/")
    assert time.monotonic() - started_s < 1.5


def test_a_host_that_a_library_has_no_business_with_gets_no_connection(server: Server) -> None:
    client = OutgoingClient(CLOSED_NETWORK)
    with (
        client.session(deadline_s=5, allows=lambda target: target.host == "slack.com") as session,
        pytest.raises(ForbiddenDestination, match="not a host of this service"),
    ):
        session.get(f"http://127.0.0.1:{server.port}/")
    assert server.connections == 0
