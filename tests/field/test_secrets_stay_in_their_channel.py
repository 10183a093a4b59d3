"""Tests of links, codes, push tokens and URLs of webhooks.

Their recipient has them, and no record shows them.
"""

from __future__ import annotations

import json
import re
import secrets
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.noc.api.operation import RANKS
from gateway.noc.api.operations.all_operations import OPERATIONS
from tests.providers import Provider
from tests.support.canaries import canary
from tests.support.customer import Customer
from tests.support.outside_clients import OutsideClients

EVERYWHERE = {
    "CRITICAL": {
        "steps": [{"after_s": 0, "channels": ["sms", "email", "push", "url"], "who": ["contacts"]}],
        "repeat_s": 600,
    }
}


@pytest.fixture
def house(outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]) -> Iterator[Customer]:
    made = Customer(outside, tmp_path, outer)
    made.set_policy(EVERYWHERE, tmp_path)
    yield made
    made.close()


def body_of(outside: OutsideClients, path: str, token: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{outside.base}{path}")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def planted(house: Customer, hook: str) -> dict[str, str]:
    """Return the secrets that only the recipients of messages may have, by kind."""
    mail, sms, push = (house.message(kind) for kind in ("smtp", "twilio", "fcm"))
    webhook = house.outside.until(lambda: [m for m in house.outer["webhook"].accepted() if m["to"] == hook])[
        0
    ]
    tokens = [
        re.search(r"/a/([\w-]{48})", text)
        for text in (mail["body"], mail["html"], str(push["data"]), webhook["raw"])
    ]
    code = re.search(r"Reply ([A-Z2-9]{4})\b", sms["body"])
    assert code
    assert all(tokens)
    found = {f"token {number}": match.group(1) for number, match in enumerate(tokens) if match}
    return {
        **{name: canary(token) for name, token in found.items()},
        "code": code.group(1),
        "push token": canary(house.addresses["push-token"]),
        "URL of the webhook": canary(hook.strip("/")),
    }


def test_no_viewer_and_no_evidence_pack_finds_a_link_a_code_a_token_or_a_url(house: Customer) -> None:
    outside = house.outside
    tenant: dict[str, Any] = {"tenant_id": house.tenant_id}
    hook = f"/hook-{secrets.token_hex(12)}"
    # Given a contact with every address, and one with a webhook alone
    desk = {"name": "Desk", "url": f"{house.outer['webhook'].url}{hook}"}
    supervisor = outside.token(role="supervisor", **tenant)
    assert outside.request("POST", "/api/v1/contacts", desk, token=supervisor)[0] == 201
    screen = outside.screen(role="viewer", **tenant)
    screen.wait("snapshot")
    # When a panic is sent by every channel
    house.press(message="two men at the gate")
    secret = planted(house, hook)
    outside.until(lambda: len([row for row in house.notifications() if row[1] == "accepted"]) >= 4)
    [(alert_id, _, _)] = house.alerts()
    noted = "SELECT count(*) FROM alert_timeline WHERE alert_id = %s AND action = 'notified'"
    outside.until(lambda: outside.rows(noted, alert_id)[0][0] >= 4)
    # Then no operation that only reads shows one of them to a viewer, nor to an admin
    places = {
        "alert_id": alert_id,
        "guard_id": house.guard,
        "device_id": house.guard,
        "source_id": house.guard,
        "site_id": "1",
        "zone_id": "1",
        "transition_id": "1",
        "letter_id": "1",
    }
    queries = {"/alerts": "?status=all", "/positions/nearest": "?lat=12&lon=77"}
    answered: dict[str, int] = {}
    for role in ("viewer", "admin"):
        token = outside.token(role=role, **tenant)
        for operation in OPERATIONS:
            if operation.method != "GET" or RANKS[operation.role] > RANKS[role]:
                continue
            path = f"/api/v1{operation.path.format(**places)}{queries.get(operation.path, '')}"
            status, text = body_of(outside, path, token)
            answered[operation.path] = status
            for name, value in secret.items():
                assert value not in text, f"{operation.path} shows {role} the {name}"
    read = [path for path, status in answered.items() if status == 200]
    assert {"/notifications", "/contacts", "/policy/preview", "/alerts/{alert_id}", "/alerts"} <= set(read)
    assert len(read) >= 20
    # And the evidence pack, which leaves the company, has none
    status, pack = outside.request("POST", f"/api/v1/alerts/{alert_id}/evidence", token=supervisor)
    assert status == 200, pack
    assert len(json.loads(pack["json"])["notifications"]) >= 4
    for name, value in secret.items():
        assert value not in json.dumps(pack), f"the pack holds the {name}"
    # And no frame, no readable column and no log has one
    frames = json.dumps(screen.seen())
    assert alert_id in frames
    rows = str(
        outside.rows(
            "SELECT to_jsonb(n) - 'recipient' - 'failover' FROM notification n WHERE alert_id = %s", alert_id
        )
    )
    logs = "".join(path.read_text(errors="replace") for path in (outside.stack.home / "log").glob("*.log"))
    for name, value in secret.items():
        assert value not in frames, name
        assert value not in rows, name
        assert name == "code" or value not in logs, name
    # And a viewer's list says which addresses are set
    contacts = outside.request("GET", "/api/v1/contacts", token=outside.token(role="viewer", **tenant))[1]
    shown = {contact["name"]: (contact["push_token"], contact["url"]) for contact in contacts}
    assert shown["Asha"] == (f"...{house.addresses['push-token'][-4:]}", None)
    assert shown["Desk"][1].startswith("http://127.0.0.1/...")


def test_a_viewer_cannot_take_an_alert_by_what_the_list_shows(house: Customer) -> None:
    house.press()
    house.message("smtp")
    house.outside.until(lambda: len(house.notifications()) >= 3)
    token = house.outside.token(role="viewer", tenant_id=house.tenant_id)
    rows = house.outside.request("GET", "/api/v1/notifications", token=token)[1]
    bodies = " ".join(row["body"] for row in rows)
    assert "[link]" in bodies
    assert "Reply ****" in bodies
    assert re.search(r"/a/[\w-]{20,}", json.dumps(rows)) is None
    assert house.alerts()[0][1] == "NEW"
