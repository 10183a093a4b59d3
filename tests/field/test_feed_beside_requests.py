"""Tests that the live feed shares no process with the API.

Whatever is requested from the API, frames come on time.
"""

from __future__ import annotations

import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.noc_processes import API, FEED, FRONT, Gateways, gateways
from tests.support.outside_clients import FeedSession, OutsideClients
from tests.support.rfc6455_client import WebsocketPeer
from tests.torture.attacks.honest import Honest, p

PANIC_S = 0.5
LOADED = 5
"""Factor on the time of the slowest panic before.

On a machine that is busy already, a panic may take so many times as long.
"""
TENANT = 4471
"""A tenant of these tests alone. Its snapshot is small, and no other test's sockets count."""
USUAL = {"connections_per_address": 200, "user_requests": {"count": 600, "window_s": 10}}
WAITING = 60


@pytest.fixture(scope="module")
def one(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), api=True, **USUAL) as made:
        yield made


@pytest.fixture
def honest(outside: OutsideClients, one: Gateways, request: pytest.FixtureRequest) -> Iterator[Honest]:
    made = Honest(outside, one, request.node.name[-24:].replace("_", "-"))
    yield made
    made.close()


def in_time(beside: list[float], alone: list[float]) -> None:
    assert p(beside, 0.99) <= max(PANIC_S, LOADED * max(alone)), (beside, alone)


def get(path: str, token: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "", ""]
    return "\r\n".join(lines).encode()


def answers_through_haproxy(one: Gateways) -> bool:
    """Return whether HAProxy has found that the API is up."""
    try:
        with urllib.request.urlopen(f"http://{one.fronts[0]}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def open_peer(outside: OutsideClients, one: Gateways, name: str) -> WebsocketPeer:
    return WebsocketPeer(one.fronts[0], outside.token(name=f"{name}-{outside.run}", tenant_id=TENANT))


def test_a_panic_is_on_the_screen_in_time_while_the_api_refuses_what_is_too_much(
    outside: OutsideClients, honest: Honest
) -> None:
    # Given the time that a panic takes on this machine now
    alone = honest.work(2.0)

    # When users together ask for more than the API can do, and one of them for more than its share
    tokens = [outside.token(name=f"flood-{n}-{outside.run}", role="viewer") for n in range(3)]
    beside = honest.work(4.0, attack="zeros_of_many_users", token=",".join(tokens))

    # Then the API refuses the excess, and the feed is not affected
    answers = beside.attack["answers"]
    assert answers.get("429", 0) + answers.get("503", 0) > 0, answers
    in_time(beside.panics, alone.panics)


def test_a_panic_is_on_the_screen_in_time_and_new_screens_open_while_the_api_answers_nothing(
    outside: OutsideClients, one: Gateways, honest: Honest
) -> None:
    # Given an API that hangs, and requests that wait for it
    alone = [honest.panic() for _ in range(5)]
    token = outside.token(name=f"waits-{outside.run}")
    host, port = one.fronts[0].split(":")
    with one.frozen(API):
        waiting = [socket.create_connection((host, int(port)), timeout=10) for _ in range(WAITING)]
        for sock in waiting:
            sock.sendall(get("/api/v1/sites", token))

        # When panics come
        beside = [honest.panic() for _ in range(10)]

        # Then they reach the session in time, and a user with a token gets a new session
        in_time(beside, alone)
        fresh = open_peer(outside, one, "fresh")
        fresh.wait("snapshot")
        fresh.close()
    for sock in waiting:
        sock.close()
    outside.until(lambda: answers_through_haproxy(one), timeout_s=30)


def test_a_screen_stays_open_when_the_api_dies(
    outside: OutsideClients, one: Gateways, honest: Honest
) -> None:
    one.kill(0, API)
    honest.panic()
    outside.until(lambda: not one.is_ready(0, API), timeout_s=30)
    honest.panic()
    outside.until(lambda: one.is_ready(0, API), timeout_s=60)
    honest.panic()
    outside.until(lambda: answers_through_haproxy(one), timeout_s=30)


def test_log_in_and_api_go_on_when_the_feed_hangs(outside: OutsideClients, one: Gateways) -> None:
    login, password = outside.person()
    with one.frozen(FEED):
        at_front = outside.at(one.fronts[0])
        body = {"user": login, "password": password}
        status, session = at_front.request("POST", "/api/v1/session", body)
        assert status == 200
        assert at_front.request("GET", "/api/v1/sites", token=session["token"])[0] == 200


def test_when_haproxy_dies_it_comes_back_and_a_screen_resumes_where_it_was(
    outside: OutsideClients, one: Gateways
) -> None:
    # Given a session that has seen a panic
    at_front = outside.at(one.fronts[0])
    token = outside.token(name=f"resumes-{outside.run}")
    screen = FeedSession(at_front, since=None, token=token, tenant_id=1)
    screen.wait("snapshot")
    first, second = (f"guard-{outside.run}-{n}" for n in ("first", "second"))
    outside.publish(f"alert/panic/{first}", {"message": "help"})
    screen.wait("critical_alert", lambda frame: frame["data"]["source_id"] == first)

    # When HAProxy is killed, and a panic comes meanwhile
    one.kill(0, FRONT)
    outside.publish(f"alert/panic/{second}", {"message": "help"})
    outside.until(lambda: not one.is_ready(0, FRONT), timeout_s=30)
    outside.until(lambda: one.is_ready(0, FRONT), timeout_s=30)

    # Then the session that comes back gets the panic, from the place where it was
    again = FeedSession(at_front, since=screen.last_id, token=token, tenant_id=1)
    assert again.wait("connected")[1]["resumed"] is True
    again.wait("critical_alert", lambda frame: frame["data"]["source_id"] == second)
    again.close()
    screen.close()


def test_each_process_serves_its_own_paths_only(outside: OutsideClients) -> None:
    token = outside.token(name=f"paths-{outside.run}")
    for base, path in (
        (outside.feed, "/api/v1/sites"),
        (outside.feed, "/readyz"),
        (outside.feed, "/metrics/export/"),
        (outside.api, "/ws/noc/dashboard/"),
        (outside.base, "/ws/healthz"),
        (outside.base, "/ws/../api/v1/sites"),
    ):
        status, problem = outside.at(base).request("GET", path, token=token)
        assert (status, problem["status"]) == (404, 404), (base, path)


def test_of_heavy_requests_few_are_done_at_once_and_light_ones_go_on(
    outside: OutsideClients, one: Gateways
) -> None:
    # Given an alerts service that takes its time over evidence
    at_front = outside.at(one.fronts[0])
    token = outside.token(name=f"exports-{outside.run}", role="supervisor", tenant_id=TENANT)
    nobody = "0198c0de-0000-7000-8000-000000000000"
    with outside.frozen("alerts"), ThreadPoolExecutor(12) as pool:
        # When one tenant asks for evidence a dozen times at once
        exports = [
            pool.submit(at_front.request, "POST", f"/api/v1/alerts/{nobody}/evidence", token=token)
            for _ in range(12)
        ]

        # Then most requests are refused before they reach the service, and light requests
        # are answered
        refused = outside.until(
            lambda: [e for e in exports if e.done() and e.result()[0] == 429], timeout_s=8
        )
        assert at_front.request("GET", "/api/v1/zones", token=token)[0] == 200
    outside.until(lambda: all(export.done() for export in exports))
    found = Counter(export.result()[0] for export in exports)
    assert refused
    assert found[429] >= 8, found
    assert found[404] + found[503] == 12 - found[429], found
