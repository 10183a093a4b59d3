"""HAProxy in its production form, in front of the tests' servers.

A second server keeps what HAProxy passes on to it.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ops.environment import PROJECT
from ops.local import ports, servers
from ops.local.supervisor import Process, Supervisor
from ops.servers.edge import certificate as edge_certificate

HOST = "noc.example.com"
PORTS = ("plain", "https", "redirect", "numbers")
SHIPPED = PROJECT / "ops" / "servers" / "edge" / "haproxy.cfg"
START_TIMEOUT_S = 20.0


class Edge:
    """One HAProxy that runs the shipped file. Its TLS certificate is of an authority of its own."""

    def __init__(
        self, directory: Path, *, feed: str, api: str, times: Mapping[str, str], settings: Mapping[str, str]
    ) -> None:
        self.ports = ports.choose({}, PORTS, prefer=False)
        self.log = directory / "haproxy.log"
        certificate = directory / "certificate.pem"
        edge_certificate.keep(certificate, authority=directory, host=HOST)
        self.context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        self.supervisor = Supervisor(directory / "state.json")
        command = [servers.binary("haproxy"), "-W", "-db", "-f", str(_timed(directory, times))]
        environment = {
            "PATH": "/usr/bin:/bin",
            "VIGIL_HTTP_HOST": "127.0.0.1",
            "VIGIL_HTTP_PORT": str(self.ports["plain"]),
            "VIGIL_FEED_SERVER": feed,
            "VIGIL_API_SERVER": api,
            "VIGIL_PUBLIC_URL": f"https://{HOST}/",
            "VIGIL_EDGE_CERTIFICATE": str(certificate),
            "VIGIL_EDGE_TLS_BIND": f"127.0.0.1:{self.ports['https']}",
            "VIGIL_EDGE_REDIRECT_BIND": f"127.0.0.1:{self.ports['redirect']}",
            "VIGIL_EDGE_METRICS_BIND": f"127.0.0.1:{self.ports['numbers']}",
            "VIGIL_EDGE_METRICS_FROM": "127.0.0.1",
            "VIGIL_EDGE_SOCKET": str(directory / "haproxy.sock"),
            **settings,
        }
        self.supervisor.add(
            Process(
                "haproxy",
                command,
                log=self.log,
                environment=environment,
                probe=lambda: servers.answers(self.ports["https"]),
            )
        )
        late = self.supervisor.wait_ready(["haproxy"], timeout_s=START_TIMEOUT_S)
        assert late == [], late[0].last_lines()

    def connect(self, *, source: str = "127.0.0.1", tls: bool = True, port: str = "") -> socket.socket:
        """Return a connection to the HTTPS port, or to the plain one."""
        sock = socket.socket()
        sock.settimeout(20)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.ports[port or ("https" if tls else "plain")]))
        return self.context.wrap_socket(sock, server_hostname=HOST) if tls else sock

    def ask(
        self, wire: bytes, *, source: str = "127.0.0.1", tls: bool = True, port: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """Return (status, headers, body) of the answer to bytes on a connection of their own."""
        sock = self.connect(source=source, tls=tls, port=port)
        try:
            with suppress(
                ConnectionError, ssl.SSLError
            ):  # refused before it was all sent: the answer is there
                sock.sendall(wire)
            return parsed(rest(sock))
        finally:
            sock.close()

    def get(self, path: str, *headers: str, **how: Any) -> tuple[int, dict[str, str], bytes]:
        return self.ask(request("GET", path, *headers), **how)


class Recorder:
    """A server that keeps the bytes of each connection, and answers each with `ok`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.got: list[bytes] = []
        self._ends = False
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._ends = True
        self._listener.close()

    def _serve(self) -> None:
        while not self._ends:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        with sock:
            found = b""
            while b"\r\n\r\n" not in found and (data := sock.recv(65_536)):
                found += data
            if not found.startswith(b"GET /healthz "):
                self.got.append(found)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


def request(method: str, path: str, *headers: str, host: str = HOST, body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *length, *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def rest(sock: socket.socket) -> bytes:
    """Return all that still comes, until the connection ends, in order or not."""
    found = b""
    try:
        while data := sock.recv(65_536):
            found += data
    except (ConnectionError, ssl.SSLError):
        pass
    return found


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def closed_within(sock: socket.socket, *, drip: bytes, seconds: float) -> bytes | None:
    """Send one more byte every 0.1 s, and return what came until the peer closed.

    Returns None when the peer did not close in time.
    """
    sock.settimeout(0.1)
    found, deadline_s = b"", time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        try:
            if drip:
                sock.sendall(drip)
            data = sock.recv(65_536)
        except TimeoutError:
            continue
        except (ConnectionError, ssl.SSLError):
            return found
        if not data:
            return found
        found += data
    return None


def _timed(directory: Path, times: Mapping[str, str]) -> Path:
    """Return the shipped file. With other times, return a copy that differs in these alone."""
    if not times:
        return SHIPPED
    text = SHIPPED.read_text()
    for name, value in times.items():
        text, count = re.subn(rf"^(    timeout {name}) \S+$", rf"\1 {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    file = directory / "haproxy.cfg"
    file.write_text(text)
    return file


@contextmanager
def edge(
    directory: Path, *, feed: str, api: str, times: Mapping[str, str] | None = None, **settings: str
) -> Iterator[Edge]:
    """Run HAProxy in front of these two servers. `settings` are variables of its environment."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Edge(directory, feed=feed, api=api, times=times or {}, settings=settings)
    try:
        yield made
    finally:
        made.supervisor.stop()
