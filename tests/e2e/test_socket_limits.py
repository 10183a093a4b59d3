"""Tests of a websocket session's limits: its time, its share, and the feed that it does not read."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from services.feed.stream import FeedWriter
from services.platform import config as configuration
from tests.support.noc_processes import Gateways, gateways
from tests.support.outside_clients import OutsideClients
from tests.support.rfc6455_client import CLOSE, PING, PONG, TEXT, WebsocketPeer, client_frame, close_frame

SHORT = {
    "handshake_timeout_s": 1,
    "heartbeat_interval_s": 0.5,
    "idle_timeout_s": 2,
    "stall_timeout_s": 2,
    "sockets_per_user": 3,
    "sockets_per_tenant": 8,
    "client_messages": 10,
}
TENANT = 4408
"""A tenant of these tests alone.

No other test's sockets count, and its snapshot is so small that a client can leave it unread.
"""
ALERT = {"id": "a", "alert_type": "PANIC", "severity": "CRITICAL", "message": "x" * 900}


@pytest.fixture(scope="module")
def two(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), count=2, **SHORT) as made:
        yield made


def at(outside: OutsideClients, base: str, name: str, **claims: object) -> WebsocketPeer:
    token = outside.token(name=f"{name}-{outside.run}", tenant_id=TENANT, **claims)
    return WebsocketPeer(base, token)


def ended(peer: WebsocketPeer) -> int | None:
    """Return the close code. The peer answers pings meanwhile."""
    return peer.closed_with()[0]


def test_who_dawdles_over_the_handshake_is_put_off(outside: OutsideClients, two: Gateways) -> None:
    host, port = two.bases[0].split(":")
    for trickles in (False, True):
        sock = socket.create_connection((host, int(port)), timeout=10)
        started_s = time.monotonic()
        sock.settimeout(0.1)
        while time.monotonic() - started_s < 8:
            try:
                if trickles:
                    sock.sendall(b"G")
                if sock.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.8 < time.monotonic() - started_s < 5
        sock.close()
    at(outside, two.bases[0], "prompt").wait("snapshot")


def test_who_does_not_answer_pings_is_closed_and_who_does_stays(
    outside: OutsideClients, two: Gateways
) -> None:
    silent, alive = (at(outside, two.bases[0], name, role="viewer") for name in ("silent", "alive"))
    started_s = time.monotonic()
    while time.monotonic() - started_s < 3:
        frame = alive.frame()
        assert frame is not None
        if frame.opcode == PING:
            alive.send(client_frame(10, frame.payload))
    assert ended(silent) == 4408
    alive.send(client_frame(PING, b"here"))
    assert alive.pong() == b"here"
    alive.close()


def stay(held: list[WebsocketPeer]) -> None:
    """Answer the pings of all peers.

    A peer that answers no ping for two seconds is closed, and counts no longer.
    """
    for peer in held:
        peer.answer_pings(for_s=0.01)


def closes(outside: OutsideClients, base: str, name: str) -> int | None:
    """Return 4429 when there is no room for one more session, else None."""
    peer = at(outside, base, name)
    frame = peer.frame()
    assert frame is not None
    code = int.from_bytes(frame.payload[:2], "big") if frame.opcode == 8 else None
    peer.close()
    return code


def test_sockets_are_counted_over_all_gateways_and_those_of_a_dead_one_are_not(
    outside: OutsideClients, two: Gateways
) -> None:
    held = [at(outside, two.bases[n], "ann") for n in (0, 0, 1)]
    for peer in held:
        peer.wait("snapshot")
    assert closes(outside, two.bases[0], "ann") == 4429
    assert closes(outside, two.bases[1], "ann") == 4429
    assert closes(outside, two.bases[0], "bob") is None
    held[0].send(close_frame(1000))
    assert ended(held[0]) == 1000
    outside.until(lambda: closes(outside, two.bases[0], "ann") is None)
    two.kill(0)
    outside.until(lambda: not two.is_ready(0), timeout_s=30)
    outside.until(lambda: two.is_ready(0), timeout_s=60)
    again = [at(outside, two.bases[0], "ann") for _ in range(2)]
    for peer in again:
        peer.wait("snapshot")
    for peer in again + held:
        peer.close()


def test_a_tenant_has_so_many_sockets(outside: OutsideClients, two: Gateways) -> None:
    outside.until(lambda: closes(outside, two.bases[0], "first") is None)
    held: list[WebsocketPeer] = []
    for number in range(8):
        held.append(at(outside, two.bases[number % 2], f"user-{number}"))
        held[-1].wait("snapshot")  # the session counts only from here
        stay(held)
    for base in two.bases:
        assert closes(outside, base, "one-more") == 4429
        stay(held)
    for peer in held:
        peer.close()
    outside.until(lambda: closes(outside, two.bases[0], "one-more") is None)


def test_messages_are_counted_by_user_over_sockets_gateways_and_reconnections(
    outside: OutsideClients, two: Gateways
) -> None:
    def say(peer: WebsocketPeer, times: int) -> None:
        for number in range(times):
            peer.send(client_frame(TEXT, b'{"type": "dance", "ref": %d}' % number))
            assert peer.wait("error")["ref"] == number

    outside.until(lambda: closes(outside, two.bases[0], "cat") is None)
    here, there = (at(outside, base, "cat") for base in two.bases)
    for peer in (here, there):
        peer.wait("snapshot")
    say(here, 6)
    say(there, 4)

    def is_one_too_many(peer: WebsocketPeer) -> None:
        peer.send(client_frame(TEXT, b"{}"))
        assert ended(peer) == 4429
        peer.close()

    is_one_too_many(here)
    is_one_too_many(there)
    is_one_too_many(at(outside, two.bases[0], "cat"))
    other = at(outside, two.bases[0], "dog")
    say(other, 10)
    other.close()


def test_who_stops_reading_is_closed_and_costs_the_others_nothing(
    outside: OutsideClients, two: Gateways
) -> None:
    line = 'vigil_websocket_closed_total{code="4408"}'
    before = two.metric(1, line)
    feed = FeedWriter.from_config(configuration.load(environ=outside.env))
    stalled = [at(outside, two.bases[1], f"stalled-{n}", role="viewer") for n in range(2)]
    for peer in stalled:
        peer.wait("snapshot")
    reading = at(outside, two.bases[1], "reading", role="viewer")
    reading.wait("snapshot")
    sent, heard, stalled_s = [], [], None
    deadline_s = time.monotonic() + 30
    while two.metric(1, line) < before + 2:
        assert time.monotonic() < deadline_s, "the stalled ones are still open"
        for _ in range(200):
            sent.append(feed.publish(TENANT, "critical_alert", ALERT))
        while not heard or heard[-1] < sent[-1]:
            frame = reading.frame()
            assert frame is not None
            if frame.opcode == PING:
                reading.send(client_frame(10, frame.payload))
            elif frame.opcode == TEXT and frame.json["type"] == "critical_alert":
                heard.append(frame.json["id"])
        stalled_s = stalled_s or time.monotonic()
    assert [frame_id for frame_id in heard if frame_id in set(sent)] == sent
    assert time.monotonic() - stalled_s < 10
    reading.close()


def panic(outside: OutsideClients, name: str) -> str:
    """Raise an alert that nobody has acknowledged, and return its id."""
    source = f"guard-{outside.run}-{name}"
    outside.publish(f"alert/panic/{source}", {"message": "help"})
    query = "SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s"
    [[alert_id]] = outside.until(lambda: outside.rows(query, source))
    return str(alert_id)


def acknowledging(alert_id: str) -> bytes:
    body = {"type": "acknowledge_alert", "alert_id": alert_id, "ref": 1}
    return client_frame(TEXT, json.dumps(body).encode())


def test_who_waits_for_a_service_and_answers_pings_stays(outside: OutsideClients, two: Gateways) -> None:
    alert_id = panic(outside, "slow")
    peer = WebsocketPeer(two.bases[1], outside.token(name=f"waiting-{outside.run}"))
    peer.wait("snapshot")
    with outside.frozen("alerts"):
        peer.send(acknowledging(alert_id))
        started_s = time.monotonic()
        while time.monotonic() - started_s < 2 * SHORT["idle_timeout_s"]:
            frame = peer.frame()
            assert frame is not None and frame.opcode != CLOSE, frame
            if frame.opcode == PING:
                peer.send(client_frame(PONG, frame.payload))
    assert peer.wait("ack")["status"] == "ACKNOWLEDGED"
    peer.close()


def test_who_acknowledges_and_is_gone_has_acknowledged(outside: OutsideClients, two: Gateways) -> None:
    for number, last in enumerate((close_frame(1001), b"")):
        alert_id = panic(outside, f"gone-{number}")
        peer = WebsocketPeer(two.bases[1], outside.token(name=f"gone-{outside.run}"))
        peer.send(acknowledging(alert_id) + last)  # before the session has its first frame
        peer.sock.close()
        query = "SELECT 1 FROM mqtt_device_alert WHERE alert_id::text = %s AND status = 'ACKNOWLEDGED'"
        outside.until(lambda alert_id=alert_id, query=query: outside.rows(query, alert_id))


def test_a_snapshot_may_be_larger_than_all_that_may_wait(
    outside: OutsideClients, request: pytest.FixtureRequest
) -> None:
    with gateways(request.getfixturevalue("stack"), count=1, outbox_max_bytes=64) as one:
        for number in range(5):
            peer = at(outside, one.bases[0], f"large-{number}")
            peer.wait("connected")
            peer.wait("snapshot")
            peer.close()
