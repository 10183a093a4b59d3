"""The attackers, in a process of their own.

Usage: `python -m tests.torture.attacks.attackers KIND HOST:PORT TOKENS SECONDS`. Each attack stops
after its seconds whatever happens. It prints one JSON object about the answers that it got.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Any

from tests.support.rfc6455_client import CONT, PING, PONG, TEXT, client_frame

ADDRESS = "127.0.0.66"
"""The attackers' own address. Counts for it do not apply to the honest clients at 127.0.0.1."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Target:
    """The target of the attack, its end, and the answers."""

    def __init__(self, base: str, token: str, seconds: float) -> None:
        host, port = base.split(":")
        self.host, self.port, self.token = host, int(port), token
        self.until_s = time.monotonic() + seconds
        self.answers: Counter[str] = Counter()
        self.sent_bytes = 0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until_s

    def connect(self, address: str = ADDRESS) -> socket.socket:
        sock = socket.create_connection((self.host, self.port), timeout=5, source_address=(address, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def send(self, sock: socket.socket, data: bytes) -> bool:
        """Send the data, and return whether the target took it."""
        try:
            sock.sendall(data)
        except OSError as error:
            self.answers[type(error).__name__] += 1
            return False
        self.sent_bytes += len(data)
        return True

    def head(self, method: str, path: str, *headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    def note_status(self, sock: socket.socket) -> None:
        """Count the status of the answer, or the error."""
        try:
            first = sock.recv(65_536)
        except OSError as error:
            self.answers[type(error).__name__] += 1
        else:
            self.answers[first[9:12].decode(errors="replace") or "closed"] += 1

    def websocket(self) -> socket.socket:
        sock = self.connect()
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        headers = (*upgrade, f"Sec-WebSocket-Key: {KEY}", f"Authorization: Bearer {self.token}")
        sock.sendall(self.head("GET", "/ws/noc/dashboard/", *headers))
        return sock

    def side_by_side(self, work: Callable[[], None], count: int) -> None:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, self.until_s - time.monotonic()) + 6)


def flood_websocket(target: Target, begin: bytes, frames: bytes) -> None:
    """Send the same frames again and again, on a new session when the old one was closed."""
    while not target.is_over:
        try:
            sock = target.websocket()
        except OSError as error:
            target.answers[type(error).__name__] += 1
            time.sleep(0.05)
            continue
        closed = threading.Event()

        def listen(sock: socket.socket = sock, closed: threading.Event = closed) -> None:
            tail = b""
            try:
                while data := sock.recv(65_536):
                    tail = (tail + data)[-200:]
            except OSError:
                pass
            at = tail.rfind(b"\x11M")  # 4429, big-endian
            target.answers["4429" if at >= 0 else "closed otherwise"] += 1
            closed.set()

        threading.Thread(target=listen, daemon=True).start()
        going = target.send(sock, begin)
        while going and not target.is_over and not closed.is_set():
            going = target.send(sock, frames)
        closed.wait(2)
        sock.close()


def pongs(target: Target) -> None:
    flood_websocket(target, b"", client_frame(PONG, b"") * 10_000)


def pings(target: Target) -> None:
    flood_websocket(target, b"", client_frame(PING, b"x") * 5_000)


def empty_fragments(target: Target) -> None:
    flood_websocket(target, client_frame(TEXT, b"", fin=False), client_frame(CONT, b"", fin=False) * 10_000)


def small_fragments(target: Target) -> None:
    flood_websocket(target, client_frame(TEXT, b"x", fin=False), client_frame(CONT, b"x", fin=False) * 9_000)


def empty_messages(target: Target) -> None:
    flood_websocket(target, b"", client_frame(TEXT, b"") * 5_000)


def bodies(target: Target, *, path: str, content: bytes, count: int) -> None:
    """Send the same request again and again, `count` side by side.

    Several tokens share the requests.
    """
    tokens = cycle(target.token.split(","))

    def work() -> None:
        head = target.head(
            "POST",
            path,
            f"Authorization: Bearer {next(tokens)}",
            f"Content-Length: {len(content)}",
            "Connection: close",
        )
        while not target.is_over:
            try:
                with target.connect() as sock:
                    target.send(sock, head + content)
                    target.note_status(sock)
            except OSError as error:
                target.answers[type(error).__name__] += 1

    target.side_by_side(work, count)


def big_bodies(target: Target) -> None:
    bodies(target, path="/api/v1/positions/within", content=b"[" + b"0," * 2_000_000 + b"0]", count=8)


def zeros_within_the_limit(target: Target) -> None:
    zeros = b'{"shape": [' + b"0," * 32_000 + b"0]}"
    bodies(target, path="/api/v1/positions/within", content=zeros, count=8)


def requests_of_one_user(target: Target) -> None:
    bodies(target, path="/api/v1/positions/within", content=b"{}", count=16)


def zeros_of_many_users(target: Target) -> None:
    """Ask for more than the API can do, while each user stays within its share of requests."""
    zeros = b'{"shape": [' + b"0," * 19_000 + b"0]}"
    bodies(target, path="/api/v1/positions/within", content=zeros, count=48)


def wrong_passwords(target: Target) -> None:
    wrong_passwords_from(target, [ADDRESS])


def wrong_passwords_of_several_addresses(target: Target) -> None:
    """Fill the queue of password checks from several addresses, each with less than its share."""
    wrong_passwords_from(target, [f"127.0.0.{number}" for number in range(70, 78)])


def wrong_passwords_from(target: Target, addresses: list[str]) -> None:
    number = iter(range(10_000_000))
    of_threads = cycle(addresses)

    def work() -> None:
        address = next(of_threads)
        while not target.is_over:
            content = json.dumps({"user": f"nobody-{next(number)}", "password": "wrong"}).encode()
            head = target.head(
                "POST", "/api/v1/session", f"Content-Length: {len(content)}", "Connection: close"
            )
            try:
                with target.connect(address) as sock:
                    target.send(sock, head + content)
                    sock.settimeout(15)
                    target.note_status(sock)
            except OSError as error:
                target.answers[type(error).__name__] += 1

    target.side_by_side(work, 120)


def half_sent_bodies(target: Target) -> None:
    """Open as many connections as are let in. Each sends almost nothing of its body."""
    head = target.head("POST", "/api/v1/session", "Content-Length: 60000")
    trickle(target, head + b"{", b" ", count=300)


def half_sent_bodies_beyond_the_limit(target: Target) -> None:
    head = target.head("POST", "/api/v1/session", "Content-Length: 100000")
    trickle(target, head + b"{", b" ", count=300)


def half_sent_heads(target: Target) -> None:
    trickle(target, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", b"x", count=300)


def trickle(target: Target, begin: bytes, further: bytes, *, count: int) -> None:
    held: list[socket.socket] = []
    while not target.is_over:
        while len(held) < count and not target.is_over:
            try:
                sock = target.connect()
            except OSError as error:
                target.answers[type(error).__name__] += 1
                break
            target.send(sock, begin)
            held.append(sock)
        time.sleep(0.5)
        for sock in list(held):
            sock.setblocking(False)
            try:
                sock.send(further)
                if (answer := sock.recv(1000)) is not None:
                    target.answers[answer[9:12].decode(errors="replace") or "closed"] += 1
                    held.remove(sock)
                    sock.close()
            except BlockingIOError:
                continue
            except OSError as error:
                target.answers[type(error).__name__] += 1
                held.remove(sock)
                sock.close()
    target.answers["held at the end"] = len(held)


def endless_chunk_line(target: Target) -> None:
    endless(target, target.head("POST", "/api/v1/session", "Transfer-Encoding: chunked"), b"1" * 65_536)


def endless_trailers(target: Target) -> None:
    head = target.head("POST", "/api/v1/session", "Transfer-Encoding: chunked")
    endless(target, head + b"0\r\n", b"X: " + b"y" * 65_000 + b"\r\n")


def chunks_where_no_body_is(target: Target) -> None:
    endless(target, target.head("GET", "/healthz", "Transfer-Encoding: chunked"), b"1" * 65_536)


def endless(target: Target, begin: bytes, further: bytes) -> None:
    """Send at most 300 MB, on as many connections as it takes."""
    while not target.is_over and target.sent_bytes < 300_000_000:
        try:
            with target.connect() as sock:
                going = target.send(sock, begin)
                while going and not target.is_over and target.sent_bytes < 300_000_000:
                    going = target.send(sock, further)
        except OSError as error:
            target.answers[type(error).__name__] += 1


def connections(target: Target) -> None:
    """Open silent connections as fast as they are closed."""
    held: list[socket.socket] = []
    while not target.is_over:
        try:
            held.append(target.connect())
        except OSError as error:
            target.answers[type(error).__name__] += 1
        if len(held) > 500:
            for sock in held:
                sock.close()
            held.clear()
            target.answers["rounds of 500"] += 1


KINDS: dict[str, Callable[[Target], None]] = {
    made.__name__: made
    for made in (
        pongs,
        pings,
        empty_fragments,
        small_fragments,
        empty_messages,
        big_bodies,
        zeros_within_the_limit,
        requests_of_one_user,
        zeros_of_many_users,
        wrong_passwords,
        wrong_passwords_of_several_addresses,
        half_sent_bodies,
        half_sent_bodies_beyond_the_limit,
        half_sent_heads,
        endless_chunk_line,
        endless_trailers,
        chunks_where_no_body_is,
        connections,
    )
}


def main(kind: str, base: str, token: str, seconds: str) -> dict[str, Any]:
    target = Target(base, token, float(seconds))
    KINDS[kind](target)
    return {"answers": dict(target.answers), "sent_bytes": target.sent_bytes}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)
