"""Tests of users who log in, stay logged in and are logged out, and of thieves.

The thieves have passwords, tokens and tickets.
"""

import hashlib
import secrets
import time

import pytest
import websocket

from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients


def log_in(outside: OutsideClients, login: str, password: str) -> dict[str, str]:
    status, session = outside.request("POST", "/api/v1/session", {"user": login, "password": password})
    assert status == 200, session
    canary(session["token"])
    canary(session["refresh_token"])
    return dict(session)


def socket_status(outside: OutsideClients, *, protocols: list[str] | None = None, **headers: str) -> int:
    """Return 101 when the socket is let in, else the status of the refusal."""
    try:
        opened = websocket.create_connection(
            f"ws://{outside.base}/ws/noc/dashboard/",
            header=[f"{name}: {value}" for name, value in headers.items()],
            subprotocols=protocols,
            suppress_origin=True,
            timeout=10,
        )
    except websocket.WebSocketBadStatusException as error:
        return int(error.status_code)
    opened.close()
    return 101


def test_a_session_goes_on_by_refresh_tokens_and_one_that_comes_twice_ends_it(
    outside: OutsideClients,
) -> None:
    session = log_in(outside, *outside.person())
    assert session["feed_keys"]
    status, second = outside.request(
        "POST", "/api/v1/session/refresh", {"refresh_token": session["refresh_token"]}
    )
    assert status == 200
    canary(second["refresh_token"])
    assert second["ends_at"] == session["ends_at"]
    assert outside.request("GET", "/api/v1/alerts?limit=1", token=second["token"])[0] == 200

    status, problem = outside.request(
        "POST", "/api/v1/session/refresh", {"refresh_token": session["refresh_token"]}
    )
    assert (status, "twice" in problem["detail"]) == (401, True)
    stolen = {"refresh_token": second["refresh_token"]}
    assert outside.request("POST", "/api/v1/session/refresh", stolen)[0] == 401
    outside.until(
        lambda: outside.request("GET", "/api/v1/alerts", token=second["token"])[0] == 401, timeout_s=5
    )


@pytest.mark.parametrize(
    "body", [{}, {"refresh_token": ""}, {"refresh_token": 5}, {"refresh_token": "x\0"}, [], "x"]
)
def test_nonsense_is_no_refresh_token(outside: OutsideClients, body: object) -> None:
    assert outside.request("POST", "/api/v1/session/refresh", body)[0] == 400
    unknown = {"refresh_token": secrets.token_urlsafe(32)}
    assert outside.request("POST", "/api/v1/session/refresh", unknown)[0] == 401


def test_who_logs_out_is_out_with_all_that_they_held(outside: OutsideClients) -> None:
    session = log_in(outside, *outside.person())
    assert outside.request("DELETE", "/api/v1/session", token=session["token"])[0] == 204
    assert (
        outside.request("POST", "/api/v1/session/refresh", {"refresh_token": session["refresh_token"]})[0]
        == 401
    )
    outside.until(
        lambda: outside.request("GET", "/api/v1/alerts", token=session["token"])[0] == 401, timeout_s=5
    )


def open_socket(outside: OutsideClients, token: str) -> websocket.WebSocket:
    opened = websocket.create_connection(
        f"ws://{outside.base}/ws/noc/dashboard/", header=[f"Authorization: Bearer {token}"], timeout=10
    )
    assert b"connected" in opened.recv_data()[1]
    return opened


def closed_with(opened: websocket.WebSocket) -> int:
    while True:
        opcode, data = opened.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(data[:2], "big")


@pytest.mark.parametrize(
    "change", [["disable"], ["role", "viewer"], ["password"]], ids=lambda words: words[0]
)
def test_whose_rights_change_is_off_within_five_seconds(outside: OutsideClients, change: list[str]) -> None:
    login, password = outside.person()
    session, other = log_in(outside, login, password), log_in(outside, *outside.person())
    opened, stays = open_socket(outside, session["token"]), open_socket(outside, other["token"])
    run_vigil(outside.env, "user", change[0], login, *change[1:])
    changed_s = time.monotonic()
    assert closed_with(opened) == (4403 if change[0] == "role" else 4401)
    assert time.monotonic() - changed_s < 5
    # The API learns of it by itself, once a second.
    outside.until(lambda: outside.request("GET", "/api/v1/alerts", token=session["token"])[0] == 401)
    assert time.monotonic() - changed_s < 5
    assert (
        outside.request("POST", "/api/v1/session/refresh", {"refresh_token": session["refresh_token"]})[0]
        == 401
    )
    stays.send('{"type":"heartbeat"}')
    while b"heartbeat" not in stays.recv_data()[1]:
        pass
    if change == ["disable"]:
        assert outside.request("POST", "/api/v1/session", {"user": login, "password": password})[0] == 401
        run_vigil(outside.env, "user", "enable", login)
        back = log_in(outside, login, password)["token"]
        outside.until(lambda: outside.request("GET", "/api/v1/alerts", token=back)[0] == 200, timeout_s=5)


def test_a_password_cannot_be_guessed_for_long_and_others_may_go_on(outside: OutsideClients) -> None:
    login, password = outside.person()
    other = outside.person()
    guesses = [{"user": login, "password": canary(f"wrong-{n}-{secrets.token_hex(4)}")} for n in range(8)]
    answers = [outside.request("POST", "/api/v1/session", guess) for guess in guesses]
    assert [status for status, _ in answers] == [401] * 5 + [429] * 3
    assert "try again in 60 s" in answers[-1][1]["detail"]
    assert outside.request("POST", "/api/v1/session", {"user": login, "password": password})[0] == 429
    log_in(outside, *other)
    unknown = {"user": f"nobody-{outside.run}", "password": "x"}
    status, problem = outside.request("POST", "/api/v1/session", unknown)
    assert (status, problem["detail"]) == (401, answers[0][1]["detail"])


def test_a_ticket_is_good_once_for_its_page_and_its_moment(outside: OutsideClients) -> None:
    own = f"http://{outside.base}"

    def ticket(**headers: str) -> list[str]:
        status, made = outside.request("POST", "/api/v1/tickets", {}, token=outside.token(), **headers)
        assert status == 200
        return ["vigil.noc.v1", f"ticket.{canary(made['ticket'])}"]

    once = ticket(Origin=own)
    assert socket_status(outside, protocols=once, Origin=own) == 101
    assert socket_status(outside, protocols=once, Origin=own) == 401
    assert socket_status(outside, protocols=ticket(Origin=own), Origin="https://evil.example") == 403
    assert socket_status(outside, protocols=ticket(Origin=own)) == 401
    assert socket_status(outside, protocols=ticket(), Origin="null") == 403
    assert socket_status(outside, protocols=ticket()) == 101
    altered = ticket()
    assert socket_status(outside, protocols=[altered[0], altered[1].replace("ticket.1.", "ticket.2.")]) == 401
    assert (
        outside.request("POST", "/api/v1/tickets", {}, token=outside.token(), Origin="https://evil.example")[
            0
        ]
        == 403
    )


def test_a_ticket_that_waited_too_long_is_refused(outside: OutsideClients) -> None:
    _, made = outside.request("POST", "/api/v1/tickets", {}, token=outside.token())
    client = outside.redis()
    key = f"vigil:ticket:1:{hashlib.sha256(made['ticket'].encode()).hexdigest()}"
    assert 25 < client.ttl(key) <= 30
    client.pexpire(key, 1)
    outside.until(lambda: not client.exists(key))
    assert socket_status(outside, protocols=["vigil.noc.v1", f"ticket.{made['ticket']}"]) == 401


def test_keys_are_given_to_their_tenant_only(outside: OutsideClients) -> None:
    status, found = outside.request("GET", "/api/v1/feed-keys", token=outside.token(tenant_id=31))
    assert (status, found["feed_keys"]) == (200, outside.ring.of_tenant(31))
    assert (
        outside.request("GET", "/api/v1/feed-keys?client_id=1", token=outside.token(tenant_id=31))[0] == 403
    )
    platform = outside.token(tenant_id=31, role="platform")
    assert outside.request("GET", "/api/v1/feed-keys?client_id=1", token=platform)[0] == 200
    assert outside.request("GET", "/api/v1/feed-keys?client_id=x", token=platform)[0] == 400
