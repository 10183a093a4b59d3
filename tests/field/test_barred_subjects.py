"""Tests of bars for subjects that are not users of Vigil.

These are an identity provider's users, and programs.
"""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ops.local.stack import Stack
from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.noc_processes import Gateways, gateways
from tests.support.outside_clients import FeedSession, OutsideClients

ISSUER = "https://id.example"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class At:
    """An `OutsideClients` whose requests go to another gateway."""

    def __init__(self, outside: OutsideClients, base: str) -> None:
        self.base = base
        self.ring = outside.ring

    request = OutsideClients.request


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Yield the address of an identity provider's keys."""
    keys = {"keys": [{**RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k1", "use": "sig"}]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(msgspec.json.encode(keys))

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()


@pytest.fixture(scope="module")
def gateway(stack: Stack, provider: str) -> Iterator[Gateways]:
    with gateways(stack, api=True, jwt_jwks_url=provider, jwt_issuer=ISSUER) as made:
        yield made


def token(subject: str, **changes: Any) -> str:
    now = time.time()
    claims = {"iss": ISSUER, "aud": "vigil-noc", "jti": "1", "tenant": 1, "role": "admin"}
    changed = {"iat": now, "exp": int(now) + 600, "sub": subject, **claims, **changes}
    claims_there = {name: value for name, value in changed.items() if value is not None}
    return canary(jwt.encode(claims_there, KEY, algorithm="RS256", headers={"kid": "k1"}))


def test_a_person_of_the_identity_provider_is_put_out_and_let_in_again(
    outside: OutsideClients, gateway: Gateways, provider: str
) -> None:
    at = At(outside, gateway.fronts[0])
    env = {**outside.env, "JWT_JWKS_URL": provider, "JWT_ISSUER": ISSUER}
    subject, other = f"auth0|{outside.run}", f"auth0|{outside.run}0"

    def status_of(given: str) -> int:
        return int(at.request("GET", "/api/v1/alerts?limit=1", token=given)[0])

    # Given two users of the provider, one with an open websocket session
    theirs, others = token(subject), token(other)
    screen = FeedSession(at, since=None, token=theirs, tenant_id=1)  # type: ignore[arg-type]
    screen.wait("snapshot")
    assert status_of(theirs) == status_of(others) == 200
    # and a token of our own for the same name
    own = outside.token(name=subject)
    # When the first user is barred
    said = run_vigil(env, "user", "bar", "--subject", subject, "--reason", "left the company")
    assert "until it is lifted" in said
    # Then neither the old token nor a new one is good, and the session is closed
    outside.until(lambda: status_of(theirs) == 401, timeout_s=5)
    outside.until(lambda: screen.closed_with, timeout_s=5)
    assert screen.closed_with == 4401
    assert status_of(token(subject)) == 401
    assert at.request("POST", "/api/v1/tickets", {}, token=token(subject))[0] == 401
    # And nobody else is barred: not the other user, not another tenant's user of that name, not a
    # program of ours
    assert status_of(others) == status_of(token(subject, tenant=2)) == status_of(own) == 200
    # And after the bar is lifted, old tokens stay void and new ones are good
    status, bars = outside.request("GET", "/api/v1/bars", token=outside.token(role="admin"))
    [bar] = [bar for bar in bars if bar["subject"] == subject]
    assert (status, bar["issuer"], bar["reason"], bar["until"]) == (200, ISSUER, "left the company", None)
    run_vigil(env, "user", "unbar", str(bar["bar_id"]))
    outside.until(lambda: status_of(token(subject)) == 200, timeout_s=5)
    assert status_of(theirs) == 401
    screen.close()


def test_a_token_of_the_identity_provider_has_an_end_a_beginning_and_a_name(
    outside: OutsideClients, gateway: Gateways
) -> None:
    at = At(outside, gateway.fronts[0])
    for changes in (
        {"exp": 4_102_444_800},
        {"exp": 1e300},
        {"exp": None},
        {"iat": None},
        {"iat": time.time() - 86_400 * 2, "exp": int(time.time()) + 60},
        {"iat": time.time() + 600},
        {"nbf": time.time() + 600},
        {"sub": ""},
        {"sub": " "},
        {"sub": None},
        {"tenant": None},
        {"role": "king"},
    ):
        given = token("ann", **changes)
        assert at.request("GET", "/api/v1/alerts", token=given)[0] == 401, changes
        with pytest.raises(Exception, match="401"):
            FeedSession(at, since=None, token=given, tenant_id=1)  # type: ignore[arg-type]


def test_a_program_is_barred_over_the_api_by_an_admin_of_its_tenant_only(outside: OutsideClients) -> None:
    name = f"exporter-{outside.run}"
    program = outside.token(name=name, role="viewer")
    body = {"subject": name, "reason": "its token was in a public repository"}

    def status_of(given: str) -> int:
        return int(outside.request("GET", "/api/v1/alerts?limit=1", token=given)[0])

    # Given that no supervisor may bar it, and a bar by another tenant's admin, which does not
    # affect it
    assert outside.request("POST", "/api/v1/bars", body, token=outside.token(role="supervisor"))[0] == 403
    foreign = outside.token(role="admin", tenant_id=77_001)
    run_vigil(outside.env, "tenant", "add", "77001", "Others")
    status, made = outside.request("POST", "/api/v1/bars", body, token=foreign)
    assert status == 201
    # When its tenant's admin bars it
    admin = outside.token(role="admin")
    status, bar = outside.request("POST", "/api/v1/bars", body, token=admin)
    assert status == 201
    # Then its token is void within seconds, and only its own admin can lift the bar
    outside.until(lambda: status_of(program) == 401, timeout_s=5)
    assert outside.request("DELETE", f"/api/v1/bars/{bar['id']}", token=foreign)[0] == 404
    assert outside.request("DELETE", f"/api/v1/bars/{bar['id']}", token=admin)[0] == 204
    outside.until(lambda: status_of(outside.token(name=name, role="viewer")) == 200, timeout_s=5)
    assert status_of(program) == 401
    assert outside.request("DELETE", f"/api/v1/bars/{bar['id']}", token=admin)[0] == 404
    # And a bar that could void no token is refused with the reason
    for wrong, words in (
        ({"subject": " "}, "subject must be"),
        ({"subject": "x", "issuer": "https://elsewhere"}, "are not believed here; vigil"),
        ({"subject": "x", "until": "2020-01-01T00:00:00Z"}, "in the future"),
        ({"subject": "x", "until": "2020-01-01T00:00:00"}, "until"),
        ({"subject": "x" * 256}, "subject"),
        ({}, "subject"),
    ):
        status, problem = outside.request("POST", "/api/v1/bars", wrong, token=admin)
        assert (status, words in problem["detail"]) == (400, True), (wrong, problem)


def test_secrets_of_commands_come_from_files_and_a_password_in_the_process_list_is_refused(
    outside: OutsideClients, tmp_path: Any
) -> None:
    login, password = f"{outside.run}@file.test", canary(f"pw-{outside.run}-secret")
    for words in (["add", login], ["password", login]):
        said = run_vigil(outside.env, "user", *words, "--password", password, check=False)
        assert "--password-file" in said
        assert password not in said
    file = tmp_path / "password"
    file.write_text(f"{password}\nsecond line\n")
    run_vigil(outside.env, "user", "add", login, "--password-file", str(file))
    body = {"user": login, "password": password}
    assert outside.request("POST", "/api/v1/session", body)[0] == 200
    run_vigil(outside.env, "user", "password", login, "--password-file", "-", given="another-one\r\n")
    assert outside.request("POST", "/api/v1/session", body)[0] == 401
    assert outside.request("POST", "/api/v1/session", {**body, "password": "another-one"})[0] == 200
    hook = canary(f"https://hooks.example.com/{outside.run}-secret")
    (tmp_path / "hook").write_text(f"{hook}\n")
    run_vigil(outside.env, "contact", "add", f"Desk {outside.run}", "--url", f"@{tmp_path / 'hook'}")
    assert outside.rows("SELECT url FROM contact WHERE name = %s", f"Desk {outside.run}") == [(hook,)]
    missing = ("contact", "add", "Nobody", "--url", f"@{tmp_path / 'missing'}")
    assert "No such file" in run_vigil(outside.env, *missing, check=False)
    assert "first line is empty" in run_vigil(
        outside.env, "user", "password", login, "--password-file", "-", given="\n", check=False
    )
