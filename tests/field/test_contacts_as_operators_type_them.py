"""Tests of contacts as operators type them.

Phones that cannot exist are refused. Secrets are written, and never read back.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

REFUSED = (
    ("+4407911123456", "+447911123456"),
    ("+490301234567", "+49301234567"),
    ("+9109876543210", "+919876543210"),
    ("+910000000000", "country code 91"),
    ("+9198765432100", "country code 91"),
    ("+861380013800", "country code 86"),
    ("+11234567890", "country code 1"),
    ("9876543210", "+919876543210"),
    ("00919876543210", "+919876543210"),
    ("+91 98765 43210", "+919876543210"),
    ("tel:+919876543210", "+919876543210"),
    ("＋９１９８７６５４３２１０", "+919876543210"),
)
TAKEN = ("+919876543210", "+447911123456", "+4930123456", "+390612345678", "+2250101234567", "+14155550100")


class Desk:
    """Contacts of a tenant of its own.

    Contacts of tenant 1 would be notified of the alerts of every later test.
    """

    def __init__(self, outside: OutsideClients) -> None:
        self._outside = outside
        tenant_id = secrets.randbelow(1_000_000) + 3_000_000
        run_vigil(outside.env, "tenant", "add", str(tenant_id), f"Contacts {tenant_id}")
        roles = ("viewer", "supervisor", "admin")
        self._tokens = {role: outside.token(role=role, tenant_id=tenant_id) for role in roles}

    def ask(self, method: str, path: str, body: Any = None, *, role: str = "supervisor") -> tuple[int, Any]:
        return self._outside.request(method, f"/api/v1{path}", body, token=self._tokens[role])

    def contact(self, name: str, role: str = "viewer") -> dict[str, Any]:
        status, rows = self.ask("GET", "/contacts?limit=1000", role=role)
        assert status == 200
        [found] = [row for row in rows if row["name"] == name]
        return dict(found)


@pytest.fixture
def desk(outside: OutsideClients) -> Desk:
    return Desk(outside)


def test_a_phone_that_cannot_exist_is_refused_with_the_right_form(desk: Desk) -> None:
    for phone, said in REFUSED:
        status, answer = desk.ask("POST", "/contacts", {"name": f"c-{secrets.token_hex(4)}", "phone": phone})
        assert (status, said in str(answer)) == (400, True), (phone, answer)
    for phone in TAKEN:
        status, answer = desk.ask("POST", "/contacts", {"name": f"c-{secrets.token_hex(4)}", "phone": phone})
        assert status == 201, (phone, answer)


def test_a_secret_of_a_contact_is_written_and_never_read_back(desk: Desk, outside: OutsideClients) -> None:
    name, token, path = (
        f"c-{secrets.token_hex(4)}",
        canary(secrets.token_hex(20)),
        canary(secrets.token_hex(20)),
    )
    url = f"https://hooks.example.com/services/{path}"
    stored = "SELECT push_token, url, phone, note FROM contact WHERE name = %s"
    # Given a contact with a push token and a webhook
    assert desk.ask("POST", "/contacts", {"name": name, "push_token": token, "url": url})[0] == 201
    # Then no user reads them back, whatever their role
    for role in ("viewer", "supervisor", "admin"):
        row = desk.contact(name, role)
        assert (row["push_token"], row["url"]) == (f"...{token[-4:]}", "https://hooks.example.com/...")
    # And a change of another field keeps them, also when a form sends back what it was shown
    assert desk.ask("PATCH", f"/contacts/{name}", {"phone": "+919876543210"})[0] == 204
    shown = {key: desk.contact(name)[key] for key in ("push_token", "url", "phone", "email", "language")}
    assert desk.ask("PATCH", f"/contacts/{name}", {**shown, "note": "night shift"})[0] == 204
    assert outside.rows(stored, name) == [(token, url, "+919876543210", "night shift")]
    # And null removes one, a wrong one is refused, and a contact without any address is refused
    assert desk.ask("PATCH", f"/contacts/{name}", {"push_token": None})[0] == 204
    assert desk.contact(name)["push_token"] is None
    assert desk.ask("PATCH", f"/contacts/{name}", {"phone": "+4407911123456"})[0] == 400
    assert desk.ask("PATCH", f"/contacts/{name}", {"phone": None, "url": None})[0] == 400
    assert desk.ask("PATCH", f"/contacts/{name}", {"name": "x"})[0] == 400
    assert desk.ask("PATCH", f"/contacts/{name}-x", {"note": "x"})[0] == 404
    assert desk.ask("PATCH", f"/contacts/{name}", {"note": "x"}, role="viewer")[0] == 403
    assert outside.rows(stored, name) == [(None, url, "+919876543210", "night shift")]
