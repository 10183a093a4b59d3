"""Tests of the feed over real websockets.

They cover who is let in, what comes, and how a session goes on after a loss.
"""

import json
import time
import urllib.error
import urllib.request

import pytest
import websocket

from tests.support.outside_clients import OutsideClients


def refused_with(outside: OutsideClients, *headers: str, protocols: list[str] | None = None) -> int:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(
            f"ws://{outside.base}/ws/noc/dashboard/",
            header=list(headers),
            timeout=10,
            suppress_origin=True,
            subprotocols=protocols,
        )
    return int(refused.value.status_code)


def test_nobody_gets_in_without_a_good_token_or_from_a_strange_page(outside: OutsideClients) -> None:
    good = f"Authorization: Bearer {outside.token()}"
    assert refused_with(outside) == 401
    assert refused_with(outside, "Authorization: Bearer nonsense") == 401
    host, port = outside.base.split(":")
    for origin in (
        "https://evil.example",
        "null",
        f"http://sub.{outside.base}",
        f"http://{host}:{int(port) + 1}",
        f"http://{host}",
        f"https://{outside.base}",
        f"HTTP://{outside.base}",
        f"http://{outside.base}.evil.example",
    ):
        assert refused_with(outside, good, f"Origin: {origin}") == 403
    assert refused_with(outside, protocols=["vigil.noc.v1", "ticket.unknown"]) == 401


def test_a_ticket_lets_in_once(outside: OutsideClients) -> None:
    request = urllib.request.Request(
        f"http://{outside.base}/api/v1/tickets",
        method="POST",
        headers={"Authorization": f"Bearer {outside.token()}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        ticket = json.load(answer)["ticket"]
    protocols = ["vigil.noc.v1", f"ticket.{ticket}"]
    opened = websocket.create_connection(
        f"ws://{outside.base}/ws/noc/dashboard/", subprotocols=protocols, timeout=10
    )
    assert opened.getsubprotocol() == "vigil.noc.v1"
    assert json.loads(opened.recv())["type"] == "connected"
    opened.close()
    assert refused_with(outside, protocols=protocols) == 401


def test_a_screen_that_comes_back_gets_what_it_missed_once_and_in_order(outside: OutsideClients) -> None:
    first = outside.screen()
    first.wait("snapshot")
    outside.publish(f"alert/panic/guard-{outside.run}-0", {"severity": "critical"})
    first.wait("critical_alert", lambda f: f["data"]["source_id"].endswith("-0"))
    since = first.last_id
    first.close()
    for number in range(1, 4):
        outside.publish(f"alert/panic/guard-{outside.run}-{number}", {"severity": "critical"})
    outside.until(
        lambda: (
            len(
                outside.rows(
                    "SELECT 1 FROM mqtt_device_alert WHERE source_id LIKE %s", f"guard-{outside.run}-%"
                )
            )
            == 4
        )
    )
    second = outside.screen(since=since)
    assert second.wait("connected")[1]["resumed"] is True
    frames = [second.wait("critical_alert")[1] for _ in range(3)]
    # Two alarms of two guards may overtake each other on the way to the feed. The feed's own
    # order holds.
    assert {frame["data"]["source_id"] for frame in frames} == {
        f"guard-{outside.run}-{n}" for n in range(1, 4)
    }
    ids = [frame["id"] for frame in frames]
    assert ids == sorted(set(ids))
    assert ids[0] > since


def test_a_place_that_is_no_longer_held_starts_from_a_snapshot(outside: OutsideClients) -> None:
    for since in (2**63, 12345):
        screen = outside.screen(since=since)
        assert screen.wait("connected")[1]["resumed"] is False
    assert set(screen.wait("snapshot")[1]["data"]) >= {"alerts", "positions", "devices"}
    screen.send(type="resume", since=screen.last_id or 1)
    assert screen.wait("connected")


def test_positions_come_newest_per_guard_at_most_four_frames_a_second(outside: OutsideClients) -> None:
    screen = outside.screen()
    screen.wait("snapshot")
    guard = f"guard-{outside.run}"
    for step in range(5):
        outside.publish(f"guard/{guard}/gps", {"lat": 12.9716 + step / 1e5, "lon": 77.5946, "accuracy": 5})
    sent_s = []
    while True:
        _, frame = screen.wait("positions")
        sent_s.append(frame["id"] / 1e6)
        own = [p for p in frame["data"] if p["guard_id"] == guard]
        assert len(own) <= 1
        if own and own[0]["lat"] == pytest.approx(12.9716 + 4 / 1e5):
            break
    # One frame may be delayed on its way into the feed, so that the next follows close behind it.
    assert sent_s[-1] - sent_s[0] >= 0.25 * (len(sent_s) - 2)


def test_a_token_that_runs_out_ends_the_socket_with_4401(outside: OutsideClients) -> None:
    screen = outside.screen(lifetime_s=3)
    screen.wait("snapshot")
    outside.until(lambda: screen.closed_with is not None)
    assert screen.closed_with == 4401


def test_a_viewer_sees_and_may_not_act_and_nonsense_is_answered(outside: OutsideClients) -> None:
    screen = outside.screen(role="viewer")
    screen.wait("snapshot")
    screen.send(type="acknowledge_alert", alert_id="x", ref=1)
    assert "viewer" in screen.wait("error", lambda f: f["ref"] == 1)[1]["message"]
    screen.send(type="dance", ref=2)
    assert "dance" in screen.wait("error", lambda f: f["ref"] == 2)[1]["message"]
    screen.send(type="subscribe_client", client_id=2, ref=3)
    assert "client_id" in screen.wait("error", lambda f: f["ref"] == 3)[1]["message"]
    screen.send(type="heartbeat")
    assert screen.wait("heartbeat")[1]["server_time"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x81\x82\x00\x00\x00\x00\xff\xff", 1007),  # text that is not UTF-8
        (b"\xc1\x80\x00\x00\x00\x00", 1002),  # a reserved bit
        (b"\x81\x02hi", 1002),  # a client frame without mask
        (b"\x8a\x00", 1002),  # a pong without mask
        (b"\x81\xfe" + (20_000).to_bytes(2, "big") + b"\x00" * 20_004, 1009),  # too large
    ],
)
def test_what_breaks_rfc_6455_is_closed_with_the_code_it_calls_for(
    outside: OutsideClients, raw: bytes, code: int
) -> None:
    opened = websocket.create_connection(
        f"ws://{outside.base}/ws/noc/dashboard/",
        header=[f"Authorization: Bearer {outside.token()}"],
        timeout=10,
    )
    opened.sock.sendall(raw)
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        opcode, data = opened.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            assert int.from_bytes(data[:2], "big") == code
            return
    pytest.fail("the socket was not closed")


def test_an_http_error_is_a_problem_document(outside: OutsideClients) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{outside.base}/api/v1/alerts", timeout=10)
    assert refused.value.code == 401
    assert refused.value.headers["Content-Type"] == "application/problem+json"
    assert "session" in json.load(refused.value)["detail"]
