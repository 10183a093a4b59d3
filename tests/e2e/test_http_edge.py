"""Tests of the HTTP port's bounds.

A request that has two readings, is too large, too frequent or too slow is refused by name.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.noc_processes import Gateways, gateways
from tests.support.outside_clients import OutsideClients
from tests.support.rfc6455_client import WebsocketPeer

SHORT = {
    "handshake_timeout_s": 1,
    "body_timeout_s": 2,
    "answer_timeout_s": 1,
    "connections_per_address": 6,
    "user_requests": {"count": 20, "window_s": 10},
    "open_requests": {"count": 12, "window_s": 4},
    "metrics_allowed_ips": "",
}
"""Short limits for these tests.

The peer 127.0.0.1 is HAProxy: its clients are the addresses that it names. Other loopback addresses
are clients themselves.
"""


@pytest.fixture(scope="module")
def short(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), api=True, **SHORT) as made:
        yield made


def connect(base: str, *, source: str = "127.0.0.1", receive_bytes: int = 0) -> socket.socket:
    host, port = base.split(":")
    sock = socket.socket()
    sock.settimeout(20)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.bind((source, 0))
    sock.connect((host, int(port)))
    return sock


def rest(sock: socket.socket) -> bytes:
    """Return all that still comes until the connection ends, in order or not."""
    found = b""
    try:
        while data := sock.recv(65_536):
            found += data
    except ConnectionError:
        pass
    return found


def ask(base: str, wire: bytes, *, source: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """Return (status, headers, body) of the answer to the bytes, on a connection of their own."""
    sock = connect(base, source=source)
    try:
        sock.sendall(wire)
        head, _, body = rest(sock).partition(b"\r\n\r\n")
    finally:
        sock.close()
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def post(path: str, body: bytes, *headers: str, host: str = "x") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sized(path: str, body: bytes, *headers: str) -> bytes:
    return post(path, body, f"Content-Length: {len(body)}", *headers)


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: +0"],
        ["Content-Length: 1_0"],
        ["Content-Length: 5, 5"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding : chunked"],
        ["X: y", " Content-Length: 5"],
        ["Host: other"],
    ],
    ids=str,
)
@pytest.mark.parametrize("entrance", ["public", "api", "feed"])
def test_what_has_two_readings_is_refused_and_nothing_behind_it_is_read(
    outside: OutsideClients, headers: list[str], entrance: str
) -> None:
    behind = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    base = {"public": outside.base, "api": outside.api, "feed": outside.feed}[entrance]
    status, _, body = ask(base, post("/api/v1/session", behind, *headers))
    assert status in (
        (400, 422) if entrance == "public" else (400,)
    )  # HAProxy answers 422 to codings that it does not know
    assert b"HTTP/1.1" not in body


def test_chunks_where_no_body_is_expected_are_refused(outside: OutsideClients) -> None:
    wire = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000
    for base in (outside.base, outside.api, outside.feed):
        assert ask(base, wire)[0] == 400


def test_a_correct_body_in_chunks_is_read(outside: OutsideClients) -> None:
    login, password = outside.person()
    content = json.dumps({"user": login, "password": password}).encode()
    parts = [content[at : at + 7] for at in range(0, len(content), 7)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    wire = post("/api/v1/session", chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked")
    for base in (outside.base, outside.api):
        assert ask(base, wire)[0] == 200


def test_a_client_that_waits_for_leave_to_send_gets_it(outside: OutsideClients) -> None:
    content = b'{"user": "nobody", "password": "x"}'
    sock = connect(outside.base)
    sock.sendall(post("/api/v1/session", b"", f"Content-Length: {len(content)}", "Expect: 100-continue"))
    assert b" 100 " in sock.recv(1000)
    sock.sendall(content)
    assert b" 401 " in rest(sock)
    sock.close()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/v1/session", 65_536),
        ("/api/v1/session/refresh", 65_536),
        ("/api/v1/positions/within", 65_536),
        ("/api/v1/guards", 65_536),
        ("/api/v1/zones", 1_048_576),
        ("/api/v1/zones/import", 4_194_304),
        ("/api/v1/providers/twilio/inbound", 65_536),
    ],
)
def test_a_body_beyond_its_operations_limit_is_refused_by_name(
    outside: OutsideClients, path: str, limit: int
) -> None:
    credential = f"Authorization: Bearer {outside.token(role='admin')}"
    # Given only the head of the request, the answer of Vigil's server does not wait for the body.
    status, headers, body = ask(outside.api, post(path, b"", f"Content-Length: {limit + 1}", credential))
    assert (status, headers["connection"]) == (413, "close")
    assert str(limit) in json.loads(body)["detail"]
    # HAProxy waits for the body that its buffer can hold. Then it passes the same answer on.
    status, _, body = ask(outside.base, sized(path, b"x" * (limit + 1), credential))
    assert status == 413
    assert str(limit) in json.loads(body)["detail"]
    # A body without a length is refused while it is read.
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    wire = post(path, chunk * (limit // 0x8000 + 2), "Transfer-Encoding: chunked", credential)
    assert ask(outside.api, wire)[0] == 413
    # HAProxy passes the answer on at once. It ends the connection only after the client sends
    # nothing for long.
    sock = connect(outside.base)
    sock.sendall(wire)
    assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")
    sock.close()


def test_a_body_of_many_values_is_refused_without_looking_at_them(outside: OutsideClients) -> None:
    credential = f"Authorization: Bearer {outside.token(role='supervisor')}"
    for path, zeros in (("/api/v1/positions/within", 30_000), ("/api/v1/zones/check", 400_000)):
        status, _, body = ask(outside.base, sized(path, b"[" + b"0," * zeros + b"0]", credential))
        assert status == 400
        assert b"values" in body


@pytest.mark.parametrize("path", ["/api/v1/session", "/api/v1/session/refresh", "/api/v1/positions/within"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 60_000,
        b'{"user": ' + b"[" * 20_000,
        b'{"user": ' + b'{"a":' * 10_000 + b"1",
        b"\xff\xfe",
        b'{"user": "\xc3", "password": "x"}',
        b'{"user": "\\ud800", "password": "\\udfff"}',
        b'{"user": "a\\u0000", "password": "x"}',
        b'{"user": 1e999, "password": "x"}',
        b"nul",
        b'"text"',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_no_body_is_answered_with_500(outside: OutsideClients, path: str, content: bytes) -> None:
    credential = f"Authorization: Bearer {outside.token()}"
    status, _, body = ask(outside.base, sized(path, content, credential))
    assert status in (400, 401), body


def test_a_shape_around_the_whole_world_is_refused_and_not_a_failure(outside: OutsideClients) -> None:
    for ring in (
        [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]],
        [[0, 0], [180, 0], [90, 45], [0, 0]],
        [[10, 20], [20, 30], [-170, -20], [10, 20]],
    ):
        shape = {"shape": {"type": "Polygon", "coordinates": [ring]}}
        status, problem = outside.request("POST", "/api/v1/positions/within", shape, token=outside.token())
        assert status == 400, problem
        assert "more than 80 degrees" in problem["detail"]


def test_the_claimed_host_is_not_in_a_redirect(outside: OutsideClients) -> None:
    for path in ("/metrics/export", "/monitoring/health", "/metrics/export?a=b"):
        for claim in ("Host: evil.example", "Host: evil.example:80"):
            wire = f"GET {path} HTTP/1.1\r\n{claim}\r\nConnection: close\r\n\r\n".encode()
            status, headers, body = ask(outside.base, wire)
            assert status == 308
            where, _, query = path.partition("?")
            assert headers["location"] == f"{where}/{'?' + query if query else ''}"
            assert b"evil" not in body


def test_what_bears_secrets_is_kept_by_no_cache(outside: OutsideClients) -> None:
    login, password = outside.person()
    content = json.dumps({"user": login, "password": password}).encode()
    _, headers, body = ask(outside.base, sized("/api/v1/session", content))
    assert headers["cache-control"] == "no-store"
    credential = f"Authorization: Bearer {json.loads(body)['token']}"
    assert ask(outside.base, sized("/api/v1/tickets", b"", credential))[1]["cache-control"] == "no-store"
    for path in ("/api/v1/feed-keys", "/api/v1/alerts", "/api/v1/sites"):
        wire = f"GET {path} HTTP/1.1\r\nHost: x\r\n{credential}\r\nConnection: close\r\n\r\n".encode()
        assert ask(outside.base, wire)[1]["cache-control"] == "no-store"


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]).encode()


def test_strangers_learn_only_whether_it_is_ready_and_soon(outside: OutsideClients, short: Gateways) -> None:
    credential = f"Authorization: Bearer {outside.token(name=f'looks-{outside.run}')}"
    base = short.apis[0]
    for path in ("/readyz", "/monitoring/health/"):
        assert json.loads(ask(base, get(path), source="127.0.0.9")[2]) == {"ready": True}
    assert "directory" in json.loads(ask(base, get("/readyz", credential))[2])["checks"]
    with outside.frozen("directory"):
        time.sleep(1.1)  # the previous result is kept for one second
        started_s = time.monotonic()
        status, _, body = ask(base, get("/readyz"), source="127.0.0.9")
        assert time.monotonic() - started_s < 3
    assert (status, json.loads(body)) == (503, {"ready": False})


def statuses(
    base: str, wire: bytes, count: int, *, source: str = "127.0.0.1"
) -> list[tuple[int, dict[str, str]]]:
    return [ask(base, wire, source=source)[:2] for _ in range(count)]


def test_a_user_has_so_many_requests_and_another_has_its_own(
    outside: OutsideClients, short: Gateways
) -> None:
    base = short.apis[0]
    eager, other = (
        f"Authorization: Bearer {outside.token(name=f'{n}-{outside.run}')}" for n in ("eager", "other")
    )
    answers = statuses(base, get("/api/v1/console", eager), 30)
    assert [status for status, _ in answers[:20]] == [200] * 20
    refused = [headers for status, headers in answers if status == 429]
    assert refused
    assert all(1 <= int(headers["retry-after"]) <= 10 for headers in refused)
    assert statuses(base, get("/api/v1/console", other), 1)[0][0] == 200
    outside.until(lambda: statuses(base, get("/api/v1/console", eager), 1)[0][0] == 200)


@pytest.mark.parametrize(
    ("wire", "source"),
    [
        (sized("/api/v1/session", b"{}"), "127.0.0.21"),
        (sized("/api/v1/session/refresh", b"{}"), "127.0.0.22"),
        (get("/a/unknown"), "127.0.0.23"),
        (get("/readyz"), "127.0.0.24"),
        (get("/api/v1/alerts", "Authorization: Bearer x"), "127.0.0.25"),
        (get("/api/v1/alerts"), "127.0.0.26"),
        (sized("/api/v1/session", b"{}", "X-Forwarded-For: 203.0.113.1"), "127.0.0.1"),
    ],
)
def test_an_address_without_a_token_has_so_many_requests(short: Gateways, wire: bytes, source: str) -> None:
    base = short.apis[0]
    found = [status for status, _ in statuses(base, wire, 40, source=source)]
    assert found[0] != 429
    assert 429 in found
    another = wire.replace(b"203.0.113.1", b"203.0.113.2")
    assert statuses(base, another, 1, source="127.0.0.1" if another != wire else "127.0.0.99")[0][0] != 429


def test_an_address_has_so_many_connections(short: Gateways) -> None:
    base = short.apis[0]
    held = [connect(base, source="127.0.0.31") for _ in range(6)]
    seventh = connect(base, source="127.0.0.31")
    assert rest(seventh).startswith(b"HTTP/1.1 429 ")
    assert ask(base, get("/healthz"), source="127.0.0.32")[0] == 200
    for sock in (*held, seventh):
        sock.close()


def test_behind_a_proxy_it_is_the_named_address_that_has_so_many(
    outside: OutsideClients, short: Gateways
) -> None:
    feed = short.bases[0]

    def opened(name: str, address: str) -> WebsocketPeer:
        token = outside.token(name=f"{name}-{outside.run}")
        return WebsocketPeer(feed, token, headers=(f"X-Forwarded-For: {address}",))

    held = [opened(f"held-{number}", "203.0.113.31") for number in range(6)]
    assert all(peer.head.startswith("HTTP/1.1 101") for peer in held)
    assert opened("beyond", "203.0.113.31").head.startswith("HTTP/1.1 429")
    other = opened("other", "203.0.113.32")
    assert other.head.startswith("HTTP/1.1 101")
    for peer in (*held, other):
        peer.close()


@pytest.mark.parametrize(
    "begin",
    [
        post("/api/v1/session", b"{", "Content-Length: 60000"),
        post("/api/v1/session", b"5\r\nab", "Transfer-Encoding: chunked"),
        post("/api/v1/session", b"0\r\n", "Transfer-Encoding: chunked"),
        post("/api/v1/session", b"", "Content-Length: 5", "Expect: 100-continue"),
        post("/a/unknown", b"x", "Content-Length: 9"),
    ],
    ids=lambda begin: repr(begin[-40:]),
)
def test_a_body_that_does_not_come_ends_the_connection(short: Gateways, begin: bytes) -> None:
    sock = connect(short.apis[0], source="127.0.0.41")
    started_s = time.monotonic()
    sock.sendall(begin)
    found = rest(sock)
    assert time.monotonic() - started_s < 8
    assert b" 408 " in found or begin.startswith(b"POST /a/")
    sock.close()


def test_an_answer_that_is_not_taken_ends_the_connection(short: Gateways) -> None:
    sock = connect(short.apis[0], source="127.0.0.51", receive_bytes=4096)
    sock.settimeout(60)
    gone = threading.Event()

    def send() -> None:
        try:
            while True:
                sock.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        except OSError:
            gone.set()

    threading.Thread(target=send, daemon=True).start()
    assert gone.wait(60)
    sock.close()


def refs() -> Iterator[tuple[str, Any]]:
    yield "[" * 900 + "]" * 900, None
    yield '{"a": [1, 2.5, null, "x"]}', {"a": [1, 2.5, None, "x"]}
    yield "123456789012345678901234567890", 123456789012345678901234567890
    yield '"\\u0000"', "\0"


@pytest.mark.parametrize(("ref", "decoded"), refs(), ids=lambda value: str(value)[:20])
def test_a_frames_ref_comes_back_as_it_is(outside: OutsideClients, ref: str, decoded: Any) -> None:
    screen = outside.screen(name=f"ref-{outside.run}-{len(ref)}")
    screen._socket.send('{"type": "dance", "ref": ' + ref + "}")
    _, frame = screen.wait("error")
    assert decoded is None or frame["ref"] == decoded
    screen.close()


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "heartbeat", "ref": ' + "[" * 8000 + "]" * 8000 + "}",
        '{"type": "heartbeat", "ref": ' + '{"a":' * 2500 + "1" + "}" * 2500 + "}",
        '{"type": "acknowledge_alert", "alert_id": "a\\u0000"}',
        '{"type": "acknowledge_alert", "alert_id": "x", "note": "\\ud800"}',
        '{"type": "resume", "since": 99999999999999999999999}',
        '{"type": "resume", "since": -1}',
        '{"type": "subscribe_client", "client_id": 99999999999999999999}',
        '{"type": "resume", "since": 9223372036854775808}',
        "[" * 16000,
    ],
    ids=lambda text: text[:60],
)
def test_a_frame_that_is_nonsense_is_answered_and_the_session_goes_on(
    outside: OutsideClients, text: str
) -> None:
    screen = outside.screen(name=f"nonsense-{outside.run}-{len(text)}")
    screen.wait("snapshot")
    screen._socket.send(text)
    screen.wait("error")
    screen.send(type="heartbeat")
    screen.wait("heartbeat")
    screen.close()
