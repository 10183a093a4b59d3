"""Tests of HAProxy as shipped for production, in front of the real processes.

They cover who asks, what is ended, and what gets through.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops.servers.edge import certificate
from tests.support.haproxy import HOST, Edge, Recorder, closed_within, edge, parsed, request, rest
from tests.support.noc_processes import Gateways, gateways
from tests.support.outside_clients import OutsideClients
from tests.support.rfc6455_client import PING, WebsocketPeer, client_frame

SHORT = {"http-request": "1s", "client": "2s"}
MANY = 20
STRANGER = "127.0.0.9"
"""A loopback address that may not read metrics: only 127.0.0.1 may."""


@pytest.fixture(scope="module")
def noc(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    """Yield the processes behind HAProxy.

    noc_api ends a stalled body after 3 s plus 1 s for each 8 KiB.
    """
    limits = {"metrics_allowed_ips": "127.0.0.1", "handshake_timeout_s": 3}
    with gateways(request.getfixturevalue("stack"), api=True, **limits) as made:
        yield made


@pytest.fixture(scope="module")
def shipped(noc: Gateways, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    directory = tmp_path_factory.mktemp("edge") / "shipped"
    with edge(directory, feed=noc.bases[0], api=noc.apis[0], VIGIL_CONNECTIONS_PER_ADDRESS="100") as made:
        yield made


@pytest.fixture(scope="module")
def hasty(noc: Gateways, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Yield the same edge with shorter times."""
    directory = tmp_path_factory.mktemp("edge") / "hasty"
    with edge(directory, feed=noc.bases[0], api=noc.apis[0], times=SHORT) as made:
        yield made


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


@pytest.fixture(scope="module")
def recorded(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Yield an edge in front of a server that keeps what it receives."""
    directory = tmp_path_factory.mktemp("edge") / "recorded"
    made_of = {"feed": recorder.address, "api": recorder.address}
    with edge(directory, **made_of, VIGIL_EDGE_PROXIES="127.0.0.31 127.0.0.32/32") as made:
        yield made


def login(user: str, *headers: str) -> bytes:
    body = json.dumps({"user": user, "password": "wrong"}).encode()
    return request("POST", "/api/v1/session", "Content-Type: application/json", *headers, body=body)


# --- Who asks ---


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/export/",
        "/metrics/export",
        "/metrics/export/?x=y",
        "//metrics/export/",
        "/./metrics/export/",
        "/x/../metrics/export/",
        "/%6detrics/export/",
        "/metrics%2Fexport/",
        "/METRICS/export/",
        "/metrics/export/;a=b",
        f"http://{HOST}/metrics/export/",
        "/ws/../metrics/export/",
    ],
)
@pytest.mark.parametrize(
    "claim", ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1"]
)
def test_no_claim_and_no_spelling_shows_the_metrics_to_a_stranger(
    shipped: Edge, path: str, claim: str
) -> None:
    for tls in (True, False):
        status, _, body = shipped.get(path, claim, source=STRANGER, tls=tls)
        assert status in (308, 400, 403, 404), status
        assert b"# HELP" not in body


def test_metrics_are_for_who_watches_and_comes_directly(shipped: Edge) -> None:
    assert b"# HELP" in shipped.get("/metrics/export/", tls=False)[2]
    # When a proxy on this machine is not named, all its clients seem to come from this machine.
    assert shipped.get("/metrics/export/", "X-Forwarded-For: 203.0.113.9", tls=False)[0] == 403
    assert shipped.get("/metrics/export/", "Forwarded: for=203.0.113.9", tls=False)[0] == 403


def test_the_processes_refuse_a_stranger_where_haproxy_would_not(noc: Gateways, tmp_path: Path) -> None:
    settings = {"VIGIL_EDGE_METRICS_FROM": "0.0.0.0/0 ::/0"}
    with edge(tmp_path / "open", feed=noc.bases[0], api=noc.apis[0], **settings) as open_edge:
        status, _, body = open_edge.get("/metrics/export/", source=STRANGER)
        assert (status, b"PROMETHEUS_ALLOWED_IPS" in body) == (403, True)
        status, _, body = open_edge.get("/readyz", "X-Forwarded-For: 127.0.0.1", source=STRANGER)
        assert (status, json.loads(body)) == (200, {"ready": True})
        assert open_edge.get("/metrics/export/")[0] == 200


def test_a_log_in_counts_for_its_own_address_whatever_it_claims(shipped: Edge) -> None:
    user = f"{secrets.token_hex(4)}@test"
    found = [
        shipped.ask(login(user, f"X-Forwarded-For: 203.0.113.{n}"), source="127.0.0.11")[0] for n in range(8)
    ]
    assert found == [401] * 5 + [429] * 3
    # Other clients do not suffer for it.
    assert shipped.ask(login(user), source="127.0.0.12")[0] == 401


def test_a_page_of_the_control_room_is_let_in_and_no_other(shipped: Edge, outside: OutsideClients) -> None:
    credential = f"Authorization: Bearer {outside.token()}"

    def ticket(origin: str, *more: str, tls: bool = True) -> int:
        wire = request("POST", "/api/v1/tickets", credential, f"Origin: {origin}", *more)
        return shipped.ask(wire, tls=tls)[0]

    assert ticket(f"https://{HOST}") == 200
    assert ticket(f"http://{HOST}", tls=False) == 200
    for origin in (f"http://{HOST}", "https://evil.example", f"https://{HOST}.evil.example", "null"):
        assert ticket(origin) == 403, origin
    assert ticket(f"https://{HOST}", "X-Forwarded-Proto: https", tls=False) == 403
    assert ticket(f"http://{HOST}", "X-Forwarded-Proto: http") == 403


def test_what_is_passed_on_says_who_asked_and_nothing_that_the_sender_wrote_of_that(
    recorded: Edge, recorder: Recorder
) -> None:
    lies = [
        *("X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2", "X-Forwarded-Proto: gopher"),
        *("X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "Forwarded: for=10.0.0.3", "X-Real-IP: 10.0.0.4"),
        *("Via: 1.1 evil", "Proxy: http://evil", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=9"),
        *(
            "TE: trailers",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "Connection: X-Forwarded-For, upgrade",
        ),
    ]
    wire = "\r\n".join(["GET /api/v1/lies HTTP/1.1", "Host: NOC.Example.COM", *lies, "", ""]).encode()
    sock = recorded.connect(source=STRANGER)
    sock.sendall(wire)
    assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
    sock.close()
    [passed_on] = [got.decode() for got in recorder.got if b"/api/v1/lies" in got]
    lines = passed_on.split("\r\n")
    headers = [line.lower() for line in lines[1:] if line]
    assert sorted(line for line in headers if line.startswith(("x-forwarded", "host"))) == [
        f"host: {HOST}",
        f"x-forwarded-for: {STRANGER}",
        "x-forwarded-proto: https",
    ]
    assert not any(
        "evil" in line or "10.0.0." in line or "h2c" in line or "upgrade" in line for line in headers
    )
    names = {line.partition(":")[0] for line in headers}
    assert names <= {"host", "x-forwarded-for", "x-forwarded-proto", "connection", "http2-settings"}


def test_a_named_proxy_is_believed_and_each_of_its_requests_has_its_own_address(
    recorded: Edge, recorder: Recorder
) -> None:
    sock = recorded.connect(source="127.0.0.31", tls=False)
    told = {"/api/v1/one": "203.0.113.7", "/api/v1/two": "203.0.113.8", "/api/v1/none": ""}
    for path, address in told.items():
        named = [f"X-Forwarded-For: 198.51.100.1, {address}", "X-Forwarded-Proto: https"] if address else []
        sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {HOST}", *named, "", ""]).encode())
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
    sock.close()
    for path, address in told.items():
        [got] = [got.decode() for got in recorder.got if f"GET {path} ".encode() in got]
        assert f"x-forwarded-for: {address or '127.0.0.31'}\r\n" in got
        assert f"x-forwarded-proto: {'https' if address else 'http'}\r\n" in got
    assert recorded.get("/metrics/export/", "X-Forwarded-For: 203.0.113.7", source="127.0.0.31")[0] == 403
    # A proxy that is not named is not trusted.
    recorded.get("/api/v1/three", "X-Forwarded-For: 203.0.113.9", source="127.0.0.33", tls=False)
    [got] = [got for got in recorder.got if b"/api/v1/three" in got]
    assert b"x-forwarded-for: 127.0.0.33\r\n" in got


# --- What has an end ---

HALF = f"POST /api/v1/session HTTP/1.1\r\nHost: {HOST}\r\n".encode()


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b""),
        (b"GET /healthz HT", b""),
        (HALF, b""),
        (HALF + b"X: ", b"y"),
        (HALF, b"X-A: b\r\n"),
        (HALF + b"Content-Length: 2000\r\n\r\n{", b""),
        (HALF + b"Content-Length: 2000\r\n\r\n", b"x"),
        (HALF + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", b""),
        (HALF + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HALF + b"Transfer-Encoding: chunked\r\n\r\n", b"1"),
        (HALF + b"Content-Length: 60000\r\n\r\n" + b"x" * 30_000, b""),
        (b"GET /ws/noc/dashboard/ HTTP/1.1\r\n", b"X: y\r\n"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_half_sent_request_ends_in_time(hasty: Edge, begin: bytes, drip: bytes, tls: bool) -> None:
    sock = hasty.connect(source=f"127.0.1.{hash((begin, drip)) % 200 + 1}", tls=tls)
    sock.sendall(begin)
    found = closed_within(sock, drip=drip, seconds=15)
    sock.close()
    assert found is not None, "still open"
    assert not found or parsed(found)[0] in (400, 408, 413), found[:100]


def test_a_handshake_of_tls_that_does_not_come_ends_in_time(hasty: Edge) -> None:
    for begin in (b"", b"\x16\x03\x01\x02\x00\x01"):
        sock = hasty.connect(source="127.0.0.41", tls=False, port="https")
        sock.sendall(begin)
        assert closed_within(sock, drip=b"", seconds=8) == b""
        sock.close()


def test_a_head_beyond_measure_is_refused(hasty: Edge) -> None:
    for wire in (
        request("GET", "/healthz", *(f"X-{number}: y" for number in range(300))),
        request("GET", "/healthz", f"X: {'y' * 40_000}"),
        request("GET", "/" + "y" * 40_000),
    ):
        assert hasty.ask(wire, source="127.0.0.42")[0] in (400, 414, 431)


def test_an_address_has_so_many_connections_and_another_has_its_own(
    recorder: Recorder, tmp_path: Path
) -> None:
    made_of = {"feed": recorder.address, "api": recorder.address}
    with edge(tmp_path / "few", **made_of, VIGIL_CONNECTIONS_PER_ADDRESS=str(MANY)) as limited:
        source = "127.0.0.51"
        held = []
        for number in range(MANY + 10):
            try:
                held.append(limited.connect(source=source, tls=number % 2 == 0))
            except OSError:  # closed before TLS began
                assert number >= MANY
        # A refused connection is closed at once. The others wait for a request.
        open_ones = [sock for sock in reversed(held) if closed_within(sock, drip=b"", seconds=0.2) is None]
        assert MANY - 2 <= len(open_ones) <= MANY
        assert limited.get("/api/v1/x", source="127.0.0.52")[0] == 200
        for sock in held:
            sock.close()


def test_an_address_has_so_many_requests_and_is_told_when_to_come_again(
    recorder: Recorder, tmp_path: Path
) -> None:
    made_of = {"feed": recorder.address, "api": recorder.address}
    with edge(tmp_path / "rate", **made_of, VIGIL_ADDRESS_REQUESTS="30") as limited:
        answers = [limited.get("/api/v1/x", f"X-Forwarded-For: 203.0.113.{n}")[:2] for n in range(40)]
        assert [status for status, _ in answers[:30]] == [200] * 30
        refused = answers[-1]
        assert (refused[0], refused[1]["retry-after"]) == (429, "5")
        assert refused[1]["content-type"] == "application/problem+json"
        assert limited.get("/api/v1/x", source="127.0.0.61")[0] == 200


def test_an_address_has_so_many_log_ins_and_other_requests_and_addresses_go_on(
    recorder: Recorder, tmp_path: Path
) -> None:
    made_of = {"feed": recorder.address, "api": recorder.address}
    with edge(tmp_path / "log-ins", **made_of, VIGIL_OPEN_REQUESTS="5") as limited:
        log_in = request("POST", "/api/v1/session", body=b"{}")
        statuses = [limited.ask(log_in)[0] for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert limited.get("/api/v1/session")[0] == 200
        assert limited.ask(log_in, source="127.0.0.62")[0] == 200


# --- What has two readings ---

BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*headers: str, body: bytes) -> bytes:
    lines = ["POST /api/v1/two-readings HTTP/1.1", f"Host: {HOST}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    "wire",
    [
        post("Content-Length: 5", "Content-Length: 6", body=BEHIND),
        post("Content-Length: 5, 6", body=BEHIND),
        post("Content-Length: +5", body=BEHIND),
        post("Content-Length: 5_0", body=BEHIND),
        post("Content-Length: 0x5", body=BEHIND),
        post("Content-Length: -1", body=BEHIND),
        post("Content-Length: 99999999999999999999", body=BEHIND),
        post("Content-Length : 5", body=BEHIND),
        post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding : chunked", "Content-Length: 5", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding:\x0bchunked", "Content-Length: 5", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", body=b"zz\r\nabc\r\n0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", body=b"-1\r\nabc\r\n0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", body=b"3 \x01\r\nabc\r\n0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", body=b"0\r\n\r\n" + BEHIND).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        post("Host: other", body=b""),
        post("Bad Name: x", body=b""),
        post(": x", body=b""),
        post("Connection: close", body=b"").replace(b"Host: " + HOST.encode() + b"\r\n", b""),
        post("Connection: close", body=b"").replace(HOST.encode(), b"a@b"),
        post("Connection: close", body=b"").replace(HOST.encode(), b"a/b"),
        post("Connection: close", body=b"").replace(b"/api/v1/two-readings", b"http://other/api"),
        post("Connection: close", body=b"").replace(b"/api/v1/two-readings", b"/api /v1"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_what_has_two_readings_is_refused_and_reaches_nobody(
    recorded: Edge, recorder: Recorder, wire: bytes, tls: bool
) -> None:
    before = len(recorder.got)
    answer = exchanged(recorded, wire, tls=tls)
    assert parsed(answer)[0] == (422 if b"gzip" in wire else 400), answer
    assert answer.count(b"HTTP/1.") == 1
    assert recorder.got[before:] == []


@pytest.mark.parametrize(
    "wire",
    [
        post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + BEHIND),
        post("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n" + BEHIND),
    ],
)
def test_a_length_beside_chunks_is_dropped_and_nothing_behind_is_a_request(
    recorded: Edge, recorder: Recorder, wire: bytes
) -> None:
    """RFC 9112, section 6.3: a chunked body is read in chunks, and the connection ends after it."""
    before = len(recorder.got)
    answer = exchanged(recorded, wire, tls=True)
    assert answer.count(b"HTTP/1.") == 1
    [passed_on] = recorder.got[before:]
    assert b"content-length" not in passed_on.lower()
    assert b"smuggled" not in passed_on


def stalled(made: Edge, source: str) -> socket.socket:
    """Return a connection that has sent only the first half of a body."""
    sock = made.connect(source=source, tls=False)
    sock.sendall(HALF + b"Content-Length: 60000\r\n\r\n" + b"x" * 30_000)
    return sock


def test_bodies_that_stand_still_take_no_place_of_requests_that_are_here(shipped: Edge) -> None:
    # Given: as many stalled bodies as there are places, ten from each address.
    held = [stalled(shipped, f"127.0.2.{number // 10 + 1}") for number in range(100)]
    # Then: an eleventh from one address is refused. One from another address waits for a place
    # in vain.
    sock = stalled(shipped, "127.0.2.1")
    assert parsed(rest(sock))[0] == 429
    late = stalled(shipped, "127.0.2.11")
    # And: a complete request is answered meanwhile.
    assert shipped.ask(login("nobody@test"), source="127.0.2.1")[0] == 401
    assert shipped.get("/", source="127.0.2.12")[0] == 200
    assert parsed(rest(late))[0] == 503
    for held_one in (*held, sock, late):
        held_one.close()


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "TRACK", "DEBUG", "PROPFIND"])
def test_a_method_that_vigil_does_not_know_reaches_nobody(
    recorded: Edge, recorder: Recorder, method: str
) -> None:
    before = len(recorder.got)
    assert recorded.ask(request(method, "/api/v1/x"))[0] in (400, 405)
    assert recorder.got[before:] == []


def exchanged(made: Edge, wire: bytes, *, tls: bool) -> bytes:
    sock = made.connect(tls=tls)
    sock.sendall(wire)
    if tls:
        # The sender is done: the bytes that HAProxy still waits for will not come.
        sock.settimeout(3)
    else:
        sock.shutdown(socket.SHUT_WR)
    try:
        return rest(sock)
    finally:
        sock.close()


# --- What gets through ---


def test_a_silent_websocket_outlives_the_time_of_requests(hasty: Edge, outside: OutsideClients) -> None:
    sock = hasty.connect(source="127.0.0.71")
    peer = WebsocketPeer(HOST, outside.token(), headers=(f"Origin: https://{HOST}",), sock=sock)
    assert peer.head.startswith("HTTP/1.1 101")
    peer.wait("snapshot")
    # When: a request that stands still as long as the websocket does has been ended.
    slow = hasty.connect(source="127.0.0.72")
    slow.sendall(HALF + b"Content-Length: 60000\r\n\r\n" + b"x" * 30_000)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(closed_within, slow, drip=b"", seconds=15)
        while not ended.done():
            # after a large snapshot our server pings, and wants an answer
            peer.answer_pings(for_s=0.2)
        assert ended.result() is not None
    slow.close()
    # Then: the websocket answers.
    peer.send(client_frame(PING, b"there?"))
    assert peer.pong() == b"there?"
    peer.close()


@pytest.mark.long
def test_a_websocket_that_answers_pings_outlives_every_time_of_the_shipped_file(
    shipped: Edge, outside: OutsideClients
) -> None:
    sock = shipped.connect(source="127.0.0.73")
    peer = WebsocketPeer(HOST, outside.token(), sock=sock)
    peer.answer_pings(for_s=100)  # `timeout tunnel` is 90 s
    peer.close()


def test_a_page_of_another_origin_has_no_websocket(shipped: Edge, outside: OutsideClients) -> None:
    for origin, status in ((f"https://{HOST}", "101"), ("https://evil.example", "403")):
        sock = shipped.connect()
        peer = WebsocketPeer(HOST, outside.token(), headers=(f"Origin: {origin}",), sock=sock)
        assert peer.head.startswith(f"HTTP/1.1 {status}")
        peer.close()


def test_tls_is_new_and_browsers_are_told_to_keep_to_it(shipped: Edge) -> None:
    assert "max-age" in shipped.get("/healthz")[1]["strict-transport-security"]
    assert "strict-transport-security" not in shipped.get("/healthz", tls=False)[1]
    for version, works in (("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{shipped.ports['https']}", version]
        done = subprocess.run(
            [*command, "-cipher", "DEFAULT:@SECLEVEL=0"],
            input=b"",
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert (b"Cipher is (NONE)" not in done.stdout) == works, version


def test_http_2_is_spoken(shipped: Edge) -> None:
    curl = shutil.which("curl")
    assert curl
    where = f"https://{HOST}:{shipped.ports['https']}"
    command = [curl, "-sS", "--http2", "-k", "--resolve", f"{HOST}:{shipped.ports['https']}:127.0.0.1"]
    body = ["-H", "Content-Type: application/json", "-d", '{"user": "nobody@test", "password": "x"}']
    for path, more, status in (("/healthz", [], "200"), ("/api/v1/session", body, "401")):
        done = subprocess.run(
            [*command, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", *more, where + path],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert done.stdout == f"2 {status}"


def test_plain_http_is_sent_on_to_tls_and_takes_no_password(shipped: Edge) -> None:
    status, headers, _ = shipped.get("/a/token?x=y", tls=False, port="redirect")
    assert (status, headers["location"]) == (308, f"https://{HOST}/a/token?x=y")
    evil = request("GET", "/", host="evil.example")
    assert shipped.ask(evil, tls=False, port="redirect")[1]["location"] == f"https://{HOST}/"
    for target in (".evil.example", "@evil.example/", "//evil.example/", "evil.example", "*"):
        sent_on = shipped.get(target, tls=False, port="redirect")
        assert sent_on[0] == 400 or urlsplit(sent_on[1]["location"]).hostname == HOST, target
    assert shipped.ask(login("asha"), tls=False, port="redirect")[0] == 403


def test_while_a_process_is_away_people_get_a_page_and_programs_a_problem(
    noc: Gateways, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        with edge(tmp_path / "away", feed=noc.bases[0], api=nobody) as alone:
            deadline_s = time.monotonic() + 20
            while b"<!doctype html>" not in (page := alone.get("/", "Accept: text/html,*/*"))[2]:
                assert time.monotonic() < deadline_s
            assert (page[0], page[1]["retry-after"]) == (503, "5")
            status, headers, body = alone.get("/api/v1/alerts")
            assert (status, headers["retry-after"]) == (503, "5")
            assert json.loads(body)["status"] == 503
            # HAProxy itself is well, and so is the other process.
            assert alone.get("/edge/healthz")[0] == 200
            assert alone.get("/ws/noc/dashboard/")[0] != 503


@pytest.mark.parametrize(
    ("wire", "backend"),
    [
        (post("Content-Length: 5", "Connection: close", body=b"x" * 5), "api"),
        (post("Content-Length: 0", "Connection: close", body=b""), "api"),
        (post("Connection: close", body=b""), "api"),
        (post("Content-Length: 12000", "Connection: close", body=b"x" * 12_000), "api"),
        (post("Content-Length: 60000", "Connection: close", body=b"x" * 60_000), "uploads"),
        # The head takes so much of the buffer that the body does not fit.
        (
            post(f"X: {'y' * 8000}", "Content-Length: 12000", "Connection: close", body=b"x" * 12_000),
            "uploads",
        ),
        (post("Transfer-Encoding: chunked", "Connection: close", body=b"1\r\nx\r\n0\r\n\r\n"), "uploads"),
    ],
    ids=lambda part: repr(part)[:60],
)
def test_what_is_not_all_here_has_places_of_its_own(recorded: Edge, wire: bytes, backend: str) -> None:
    before = len(places(recorded))
    status = recorded.ask(wire, tls=False)[0]
    assert status == 200
    deadline_s = time.monotonic() + 10
    while len(found := places(recorded)) == before:
        assert time.monotonic() < deadline_s
    assert found[-1]["backend"] == backend


def places(made: Edge) -> list[dict[str, str]]:
    """Return the log lines of requests."""
    return [
        json.loads(line)
        for line in made.log.read_text().splitlines()
        if line.startswith("{") and line.endswith("}")
    ]


def test_no_secret_of_a_request_is_in_the_log(recorded: Edge) -> None:
    secret = secrets.token_urlsafe(16)
    for path in (
        f"/a/{secret}",
        f"/a/{secret}/more?{secret}",
        f"/%61/{secret}",
        f"//a/{secret}",
        f"/ws/noc/dashboard/?token={secret}",
        f"/api/v1/alerts?q={secret}",
        f"/api/v1/providers/twilio/status/{secret}",
        f"/{secret}",
        f"/x y/{secret}",
    ):
        recorded.get(
            path, f"Authorization: Bearer {secret}", f"Referer: https://x/a/{secret}", f"Cookie: {secret}"
        )
    marker = f"/api/v1/{secrets.token_hex(6)}"
    recorded.get(marker)
    deadline_s = time.monotonic() + 10
    while marker.replace("/", "\\/") not in (text := recorded.log.read_text()):
        assert time.monotonic() < deadline_s
    assert secret not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert {"event", "client", "status", "place", "took_ms"} <= set(lines[-1])
    assert {line["place"] for line in lines} >= {"/a/...", "/api/v1/alerts", "/ws/noc/dashboard", marker}


def test_haproxy_shows_its_own_numbers_on_a_port_of_their_own(shipped: Edge) -> None:
    body = shipped.get("/metrics", tls=False, port="numbers")[2]
    assert b'haproxy_backend_http_responses_total{proxy="api"' in body
    assert shipped.get("/healthz", tls=False, port="numbers")[0] == 403
    assert shipped.get("/metrics", source=STRANGER)[0] == 404


def test_the_certificate_is_for_the_control_room(tmp_path: Path, shipped: Edge) -> None:
    sock = shipped.connect()
    names = dict(sock.getpeercert()["subjectAltName"])  # type: ignore[attr-defined]
    sock.close()
    assert names == {"DNS": HOST}
    file = tmp_path / "certificate.pem"
    certificate.keep(file, authority=tmp_path, host=HOST)
    assert file.stat().st_mode & 0o077 == 0
