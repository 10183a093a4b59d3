"""Tests of one tenant's dead URL.

It delays no other tenant. A URL that is not allowed any more has that error on its row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.contracts.events import NotificationRequest, Target
from services.notifications.circuit_breaker import ProtectedChannel
from tests.providers import Provider
from tests.support.notifications_domain import NotificationsDomain

OpenOffice = Callable[..., AbstractContextManager[NotificationsDomain]]
PROMPT_S = 2.0
AS_CONFIGURED = {
    "call_deadline_s": 8.0,
    "first_retry_s": 1.0,
    "longest_retry_s": 60.0,
    "circuit_reset_s": 20.0,
}


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[Provider]:
    """Yield the server of the first tenant's URLs. Other tenants have those of `outer`."""
    with Provider("ntfy", directory=tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def second_tenant(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Others')")


def ask(office: NotificationsDomain, url: str, *, tenant_id: int, key: str) -> None:
    office.request("url", targets=(Target("Desk", {"url": url}),), tenant_id=tenant_id, dedup_key=key)


def took_s(office: NotificationsDomain, provider: Provider, count: int = 1) -> float:
    started_s = time.monotonic()
    office.until(lambda: len(provider.accepted()) == count, timeout_s=15)
    return time.monotonic() - started_s


def errors(office: NotificationsDomain) -> str:
    """Return the errors of messages that are not sent yet."""
    return "\n".join(row["error"] or "" for row in office.rows())


def circuits(office: NotificationsDomain) -> dict[str, ProtectedChannel]:
    return {guarded.name: guarded for guarded in office.parts.providers["url"]}


@pytest.mark.parametrize("same_service", [True, False])
def test_urls_of_one_tenant_that_hang_do_not_hold_up_another_tenants_panic(
    open_office: OpenOffice, outer: dict[str, Provider], dead: Provider, same_service: bool
) -> None:
    # Given a tenant with 40 messages to each of 3 URLs of one server that hangs.
    dead.behave("hang")
    with open_office(**AS_CONFIGURED) as office:
        for number in range(40):
            for topic in ("a", "b", "c"):
                ask(office, f"ntfy://127.0.0.1:{dead.port}/{topic}", tenant_id=1, key=f"{topic}-{number}")
        office.until(lambda: dead.requests_seen() == 2)
        # When another tenant's panic is to go to a URL of its own.
        other = outer["ntfy" if same_service else "webhook"]
        url = f"ntfy://127.0.0.1:{other.port}/theirs" if same_service else f"{other.url}/hook"
        ask(office, url, tenant_id=2, key="panic")
        # Then it is delivered at once, and the server that hangs has two calls, not all.
        assert took_s(office, other) < PROMPT_S
        assert dead.requests_seen() == 2


def test_a_url_that_fails_again_and_again_opens_its_own_circuit_only(
    open_office: OpenOffice, outer: dict[str, Provider], dead: Provider
) -> None:
    # Given a tenant whose URL answers 500 until its circuit opens.
    dead.behave("500")
    with open_office(**{**AS_CONFIGURED, "first_retry_s": 0.05, "longest_retry_s": 0.1}) as office:
        ask(office, f"ntfy://127.0.0.1:{dead.port}/a", tenant_id=1, key="a")
        office.until(lambda: circuits(office)["apprise"].open_circuits == 1)
        seen = dead.requests_seen()
        # When another tenant, and the same tenant by another URL of that service, are to be sent
        # a message.
        other = outer["ntfy"]
        ask(office, f"ntfy://127.0.0.1:{other.port}/theirs", tenant_id=2, key="panic")
        ask(office, f"ntfy://127.0.0.1:{other.port}/ours", tenant_id=1, key="another")
        # Then both are sent, and the dead URL is not called meanwhile.
        assert took_s(office, other, 2) < PROMPT_S
        assert dead.requests_seen() == seen
        assert circuits(office)["apprise"].open_circuits == 1
        # And the row of its own message has the error from the next look at it on.
        office.until(lambda: "is failing at ntfy://127.0.0.1" in errors(office))


def test_a_refusal_of_one_url_is_nobodys_fault_and_opens_nothing(
    open_office: OpenOffice, outer: dict[str, Provider]
) -> None:
    outer["webhook"].behave("refuse")
    with open_office() as office:
        for number in range(8):
            ask(office, f"{outer['webhook'].url}/hook", tenant_id=1, key=str(number))
        office.until_states(*["failed"] * 8)
        assert circuits(office)["webhook"].open_circuits == 0


FORBIDDEN: list[tuple[str, str]] = [
    ("workflows://127.0.0.1:34345/wf/sig?verify=no", "'verify'"),
    ("discord://4174216298/abcdef?template=http://127.0.0.1:1/x", "'template'"),
    ("msteams://a/b/c", "is not offered"),
    ("https://127.0.0.1/hook", "not public"),
    ("https://10.0.0.1:6379/hook", "port 6379"),
]


@pytest.mark.parametrize(("url", "words"), FORBIDDEN)
def test_a_stored_url_that_is_not_allowed_is_refused_with_the_reason_on_its_row(
    open_office: OpenOffice, url: str, words: str
) -> None:
    with open_office(webhook_private=False) as office:
        target = Target("Desk", {"url": url, "email": "desk@example.com"})
        request: NotificationRequest = office.request("url", targets=(target,))
        rows: list[dict[str, Any]] = office.until(
            lambda: [row for row in office.rows(request.alert.id) if row["state"] == "failed"]
        )
        assert words in rows[0]["error"]
        assert rows[0]["attempts"] == 1
        office.until(
            lambda: [row["channel"] for row in office.rows() if row["state"] == "accepted"] == ["email"]
        )
