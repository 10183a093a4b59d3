"""Tests that no reader finds a secret of anybody.

They cover readers of every role, websocket sessions, evidence, metrics and Redis itself.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.noc.api.operation import RANKS, Operation
from gateway.noc.api.operations.all_operations import OPERATIONS
from ops.local.stack import Stack
from tests.providers import Provider
from tests.support.canaries import found_in
from tests.support.outside_clients import OutsideClients
from tests.support.product_tour import LAT, LON, ProductTour

SINCE, UNTIL = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
BETWEEN = f"since={SINCE:%Y-%m-%dT%H:%M:%SZ}&until={UNTIL:%Y-%m-%dT%H:%M:%SZ}"
QUERIES = {
    "/alerts": "status=all",
    "/report": BETWEEN,
    "/policy/preview": "alert_type=PANIC",
    "/positions/nearest": f"lat={LAT}&lon={LON}&explain=true",
    "/guards/{guard_id}/track": BETWEEN,
    "/time-in-zones": BETWEEN,
    "/devices/{source_id}/readings": BETWEEN,
}
"""Query parameters that an operation needs, besides its path, to answer with content."""
GETS = [operation for operation in OPERATIONS if operation.method == "GET"]
OPEN = (
    "/healthz",
    "/readyz",
    "/monitoring/health/",
    "/metrics/export/",
    "/",
    "/wall",
    "/api/v1/openapi.json",
)
OTHERS = (*OPEN, "/api/v1/asyncapi.json", "/api/v1/console", "/console/app.js", "/a/unknown")
NO_STORE = "no-store"


@pytest.fixture(scope="module")
def tour(
    stack: Stack, providers_of_tests: dict[str, Provider], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProductTour]:
    for provider in providers_of_tests.values():
        provider.behave("accept")
        provider.forget()
    with OutsideClients(stack) as outside:
        made = ProductTour(outside, tmp_path_factory.mktemp("tour"), providers_of_tests)
        yield made
        made.house.close()


def get(outside: OutsideClients, path: str, token: str = "") -> tuple[int, bytes, Any]:
    """Return (status, content, headers) of a GET request."""
    request = urllib.request.Request(f"http://{outside.base}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def path_of(operation: Operation, tour: ProductTour) -> str:
    query = QUERIES.get(operation.path, "")
    limit = "limit=1000" if operation.paged or operation.limited else ""
    asked = "&".join(part for part in (query, limit) if part)
    return f"/api/v1{operation.path.format(**tour.places)}" + (f"?{asked}" if asked else "")


def says_code(text: bytes, codes: list[str]) -> list[str]:
    """Return the codes that a text contains. Codes are short: they count only as whole words."""
    return [code for code in codes if re.search(rb"\b" + code.encode() + rb"\b", text)]


def test_the_search_finds_each_secret_in_each_form(tour: ProductTour) -> None:
    assert len(tour.secret) >= 25
    for name, secret in {**tour.secret, **tour.personal}.items():
        assert len(secret) >= 8 or name in ("latitude", "longitude"), f"{name} is too short to be looked for"
        raw = secret.encode()
        shown = [base64.b64encode(b"x" * shift + raw + b"yz") for shift in range(3)]
        for text in (b"a%sb" % raw, raw.hex().encode(), *shown, base64.urlsafe_b64encode(raw)):
            assert found_in(text, {name: secret}) == [name]
    assert found_in(b"nothing", {**tour.secret, **tour.personal}) == []


@pytest.mark.parametrize("role", RANKS)
def test_no_operation_that_reads_shows_a_secret(tour: ProductTour, role: str) -> None:
    # Given a user of the role in the tenant, and one of everything in it
    token = tour.token(role)
    read = 0
    for operation in GETS:
        status, content, headers = get(tour.outside, path_of(operation, tour), token)
        if RANKS[operation.role] > RANKS[role]:
            assert status == 403, operation.path
            continue
        # When the user reads it, then there is content, and no secret in it
        assert status == 200, (operation.path, content)
        assert content.strip() not in (b"", b"[]", b"{}", b"null"), f"{operation.path} has nothing to show"
        assert found_in(content, tour.secret) == [], f"{operation.path} shows {role} secrets"
        assert says_code(content, tour.codes) == [], f"{operation.path} shows {role} a code"
        assert headers["Cache-Control"] == NO_STORE, operation.path
        if role == "viewer":
            assert found_in(content, tour.hidden_from_viewers) == [], operation.path
        read += 1
    assert read >= 30


@pytest.mark.parametrize("path", OTHERS)
def test_no_page_beside_the_api_shows_a_secret(tour: ProductTour, path: str) -> None:
    for token in ("", tour.token("viewer")):
        _, content, _ = get(tour.outside, path, token)
        assert content
        assert found_in(content, tour.secret) == []
        if path in OPEN and path != "/":
            assert found_in(content, tour.personal) == []


def test_metrics_name_no_person_and_no_place(tour: ProductTour) -> None:
    status, content, _ = get(tour.outside, "/metrics/export/")
    assert (status, content.count(b"\n") > 100) == (200, True)
    assert found_in(content, {**tour.personal, "word": tour.word, "guard": tour.house.guard}) == []


def test_no_frame_of_a_viewer_s_screen_shows_a_secret(tour: ProductTour) -> None:
    # Given the session that was open all the time, and one that starts from a snapshot now
    late = tour.outside.screen(role="viewer", tenant_id=tour.tenant_id)
    late.wait("snapshot")
    tour.screen.wait("positions")
    for screen in (tour.screen, late):
        frames = json.dumps(screen.seen()).encode()
        assert tour.personal["message of a guard"].encode() in frames, "they show what they are for"
        assert found_in(frames, tour.secret) == []
        assert says_code(frames, tour.codes) == []
        assert found_in(frames, tour.hidden_from_viewers) == []


def test_no_message_to_a_provider_bears_a_number_of_a_profile(tour: ProductTour) -> None:
    numbers = {name: number for name, number in tour.personal.items() if name.startswith("number of")}
    assert len(numbers) == 4
    for kind, provider in tour.outer.items():
        sent = json.dumps(provider.accepted(), default=str).encode()
        assert found_in(sent, numbers) == [], kind


def test_an_operator_sees_the_people_of_an_alert(tour: ProductTour) -> None:
    status, content, _ = get(
        tour.outside, f"/api/v1/alerts/{tour.places['alert_id']}", tour.token("operator")
    )
    assert status == 200
    assert set(found_in(content, tour.hidden_from_viewers)) == set(tour.hidden_from_viewers)


def test_no_evidence_pack_shows_a_secret(tour: ProductTour) -> None:
    pack = tour.ask("POST", f"/alerts/{tour.places['alert_id']}/evidence", role="supervisor")
    for text in (pack["json"].encode(), pack["page"].encode(), json.dumps(pack).encode()):
        assert tour.word.encode() in text
        assert found_in(text, tour.secret) == []
        assert says_code(text, tour.codes) == []


def test_answers_that_bear_secrets_stay_in_no_cache(tour: ProductTour) -> None:
    outside = tour.outside
    login, password = tour.person, tour.secret["password"]
    for method, path, body, token in (
        ("POST", "/api/v1/session", {"user": login, "password": password}, ""),
        ("POST", "/api/v1/session", {"user": login, "password": "wrong"}, ""),
        ("POST", "/api/v1/session/refresh", {"refresh_token": tour.secret["refresh token"]}, ""),
        ("POST", "/api/v1/session/refresh", {"refresh_token": "unknown"}, ""),
        ("POST", "/api/v1/tickets", {}, tour.session_token),
        ("GET", "/api/v1/feed-keys", None, tour.session_token),
        ("GET", "/api/v1/alerts", None, ""),
        ("GET", "/api/v1/alerts/unknown", None, tour.session_token),
    ):
        request = urllib.request.Request(f"http://{outside.base}{path}", method=method)
        request.data = None if body is None else json.dumps(body).encode()
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                headers = answer.headers
        except urllib.error.HTTPError as error:
            headers = error.headers
        assert headers["Cache-Control"] == NO_STORE, (method, path)
    status, link, headers = get(outside, f"/a/{tour.secret['link 0']}")
    assert (status, headers["Cache-Control"]) == (200, NO_STORE), link


def words_of_redis(stack: Stack, outside: OutsideClients) -> bytes:
    """Return all keys and values, and the file in which Redis keeps its commands."""
    client = outside.redis()
    read: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    parts: list[bytes] = []
    for key in client.scan_iter(count=1000):
        parts.append(key)
        parts += flat(read[client.type(key)](key))
    files = list((stack.home / "redis").rglob("*.aof"))
    assert files, "Redis keeps no file of its commands"
    return b"\n".join([*parts, *(file.read_bytes() for file in files)])


def flat(node: Any) -> Iterator[bytes]:
    """Yield every text within an answer of Redis."""
    if isinstance(node, dict):
        node = [part for pair in node.items() for part in pair]
    if isinstance(node, list | tuple | set):
        for part in node:
            yield from flat(part)
    elif node is not None:
        yield node if isinstance(node, bytes) else str(node).encode()


def test_redis_holds_nothing_about_people_places_or_secrets_in_clear(tour: ProductTour, stack: Stack) -> None:
    outside = tour.outside
    # Given that a tour of the product left its traces
    words = words_of_redis(stack, outside)
    for kind in (b":feed:", b":idempotency:", b":ticket:", b":login:", b":sockets:", b":feed-id:"):
        assert kind in words, f"nothing of {kind!r} is or was there"
    # And that the search finds a planted word in any form
    plain, hidden = f"plain-{tour.word}", f"hidden-{tour.word}"
    outside.redis().set("planted", plain)
    outside.redis().set("planted", msgspec.json.encode({"body": hidden.encode()}))  # as base64
    outside.redis().delete("planted")
    planted = {"plain": plain, "hidden": hidden}
    assert found_in(words_of_redis(stack, outside), planted) == ["plain", "hidden"]
    # Then the guard, the contact, the user, the place, the messages and the secrets are not found
    traces = {**tour.personal, **tour.secret, "guard": tour.house.guard, "device": tour.places["device_id"]}
    assert found_in(words, traces) == []


def test_redis_keeps_what_this_list_names_and_nothing_else(tour: ProductTour) -> None:
    """The list has Vigil's keys by kind, with their contents.

    Think about a new kind before you list it here.
    """
    held = {
        "feed": "frames, sealed under the tenant's key",
        "feed-id": "a random name of the stream",
        "feed-begun": "an id of a frame",
        "turn": "1, for a moment",
        "ticket": "a hash as the key; user and page, sealed under the ticket",
        "idempotency": "a hash as the key; an answer, sealed",
        "login": "a hash as the key; how many wrong passwords",
        "messages": "a hash as the key; times of messages",
        "sockets": "a gateway's name as the key; hashes of users, tenants, how many sockets",
        "gateways": "names of gateways and times",
    }
    names = {key.split(b":")[1].decode() for key in tour.outside.redis().scan_iter("vigil:*")}
    assert names <= set(held), names - set(held)
    assert {"feed", "feed-id", "idempotency"} <= names
