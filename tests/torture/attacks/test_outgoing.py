"""Tests of tenants' URLs as a weapon.

No byte reaches a server inside, and one tenant's dead URLs delay no other tenant.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress

import apprise
import eventlet
import pytest
from sqlalchemy import Engine

from services.contracts.events import Target
from services.notifications.channels import SendFailed
from services.notifications.channels.apprise import AppriseChannel, _guard
from services.outgoing.apprise_urls import SERVICES
from services.outgoing.client import OutgoingClient
from services.outgoing.rules import tenant
from tests.providers import Provider
from tests.support.notifications_domain import NotificationsDomain
from tests.torture.attacks.figures import Figure, Figures
from tests.torture.attacks.honest import Measured

OpenOffice = Callable[..., AbstractContextManager[NotificationsDomain]]


class Inside:
    """A server on loopback that should never get a connection."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Serve until the end.

        Only this thread may close the listener.

        A descriptor that is waited for must not become another socket's.
        """
        with self._listener:
            while not self._closing:
                peer, _ = self._listener.accept()
                if not self._closing:
                    self.heard.append(b"(a connection)")
                peer.close()

    def close(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()


@pytest.fixture
def inside() -> Iterator[Inside]:
    made = Inside()
    yield made
    made.close()


URLS = [
    "workflows://127.0.0.1:{port}/wf/sig?verify=no", "workflows://127.0.0.1:{port}/wf/sig", "workflow://localhost:{port}/a/b",
    "workflow://logic.azure.com@127.0.0.1:{port}/a/b", "workflow://127.0.0.1:{port}#.logic.azure.com/a/b",
    "discord://webhookid/webhooktoken?template=http://127.0.0.1:{port}/x",
    "discord://webhookid/webhooktoken?avatar_url=http://127.0.0.1:{port}/x&avatar=yes",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template=http://127.0.0.1:{port}/x",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general?template=http%3A%2F%2F127.0.0.1%3A{port}%2Fx",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ,json://127.0.0.1:{port}/",
    "tgram://123456789:abcdefg_hijklmnop/12315544/?template=http://127.0.0.1:{port}/x",
    "ntfy://127.0.0.1:{port}/topic", "ntfys://127.0.0.1:{port}/topic?verify=no", "ntfys://localhost:{port}/topic",
    "ntfys://2130706433:{port}/topic", "ntfys://[::1]:{port}/topic", "ntfys://127.0.0.2:{port}/topic",
    "ntfys://ntfy.sh/topic?attach=http://127.0.0.1:{port}/x", "rocket://u:p@127.0.0.1:{port}/#room",
    "rockets://u:p@127.0.0.1:{port}/#room?avatar=http://127.0.0.1:{port}/", "zulip://bot@127.0.0.1:{port}/token/a",
    "zulip://bot@acme.127.0.0.1:{port}/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/general", "json://127.0.0.1:{port}/",
    "jsons://127.0.0.1:{port}/", "form://127.0.0.1:{port}/", "xml://127.0.0.1:{port}/", "apprise://127.0.0.1:{port}/token",
    "mattermost://127.0.0.1:{port}/token", "gotify://127.0.0.1:{port}/token", "mqtt://127.0.0.1:{port}/topic",
    "mailto://u:p@127.0.0.1:{port}?smtp=127.0.0.1", "https://127.0.0.1:{port}/", "http://127.0.0.1:{port}/",
    "https://localhost.:{port}/", "https://[::ffff:127.0.0.1]:{port}/", "https://2130706433:{port}/",
    "HTTPS://127.0.0.1:{port}/", "hTTp://127.0.0.1:{port}/",
]  # fmt: skip


def test_no_url_of_a_tenant_reaches_a_server_inside(open_office: OpenOffice, inside: Inside) -> None:
    with open_office(webhook_private=False, webhook_ports=[443, inside.port]) as office:
        for number, form in enumerate(URLS):
            url = form.format(port=inside.port)
            office.request("url", targets=(Target("Desk", {"url": url}),), dedup_key=str(number))
        rows = office.until_states(*["failed"] * len(URLS), timeout_s=60)
        assert inside.heard == []
        assert [row["recipient"] for row in rows if not row["error"]] == []


FURTHER = [
    "discord://webhookid/webhooktoken?template=http://127.0.0.1:{port}/x",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template=http://127.0.0.1:{port}/x",
    "tgram://123456789:abcdefg_hijklmnop/12315544/?template=http://127.0.0.1:{port}/x",
    "workflows://127.0.0.1:{port}/wf/sig?verify=no",
    "zulip://bot@acme.127.0.0.1:{port}/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/general",
]


@pytest.mark.parametrize("form", FURTHER)
def test_a_url_that_got_past_the_first_check_is_stopped_where_it_connects(form: str, inside: Inside) -> None:
    """The check of the URL is skipped, as if it had missed the option.

    apprise's own parser and the guarded `requests` remain.
    """
    url = form.format(port=inside.port)
    scheme = url.partition("://")[0]
    plugin = apprise.Apprise.instantiate(url)
    assert plugin is not None
    _guard(type(plugin))
    channel = AppriseChannel(OutgoingClient(tenant([443, inside.port])), deadline_s=5)
    with channel._calling(url, scheme) as call:
        assert not plugin.notify(title="s", body="t")
        assert call.made > 0
        assert isinstance(call.failure, SendFailed)
    assert inside.heard == []
    assert scheme in SERVICES


class Bad:
    """A server of a tenant's URLs that answers as `kind` says, at any address of loopback."""

    def __init__(self, kind: str) -> None:
        self.calls = 0
        self._answer: Callable[[socket.socket], None] = BAD[kind]
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=1000)  # noqa: S104 - 127.0.0.0/8 has no other form
        self.port = int(self._listener.getsockname()[1])
        self._threads = [eventlet.spawn(self._serve)]
        if kind == "nobody listens":
            self._threads.pop().kill()
            self._listener.close()

    def _serve(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            self.calls += 1
            self._threads.append(eventlet.spawn(self._answer_one, peer))

    def _answer_one(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):  # the caller may go at any time
            peer.recv(65_536)
            self._answer(peer)

    def close(self) -> None:
        for thread in self._threads:
            thread.kill()
        self._listener.close()


def _never(_peer: socket.socket) -> None:
    eventlet.sleep(120)


def _slow_head(peer: socket.socket) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX-Endless: " + b"x" * 1000:
        peer.sendall(bytes([letter]))
        eventlet.sleep(0.3)


def _slow_body(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        peer.sendall(b" ")
        eventlet.sleep(0.3)


def _endless_body(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        peer.sendall(b" " * 65_536)
        eventlet.sleep(0)


def _redirect(peer: socket.socket) -> None:
    host, port = peer.getsockname()
    peer.sendall(f"HTTP/1.1 302 Found\r\nLocation: http://{host}:{port}/again\r\n\r\n".encode())


def _reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


BAD: dict[str, Callable[[socket.socket], None]] = {
    "nobody listens": _never,
    "hangs": _never,
    "slow head": _slow_head,
    "slow body": _slow_body,
    "endless body": _endless_body,
    "redirect loop": _redirect,
    "reset": _reset,
}
MESSAGES = 300
URLS_OF_TENANT = 30
PANICS = 20
PANIC_S = 2.0


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["ntfy", "http"])
@pytest.mark.parametrize("kind", BAD)
def test_bad_urls_of_one_tenant_delay_no_panic_of_another(
    open_office: OpenOffice,
    outer: dict[str, Provider],
    engine: Engine,
    figures: Figures,
    kind: str,
    scheme: str,
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Others')")
    usual = {"call_deadline_s": 8.0, "first_retry_s": 1.0, "longest_retry_s": 60.0, "circuit_reset_s": 20.0}
    with closing(Bad(kind)) as bad, open_office(**usual) as office:

        def panic(number: int) -> float:
            url = f"ntfy://127.0.0.1:{outer['ntfy'].port}/panic"
            before, started_s = len(outer["ntfy"].accepted()), time.monotonic()
            office.request("url", targets=_desk(url), dedup_key=f"p-{number}", tenant_id=2)
            office.until(lambda: len(outer["ntfy"].accepted()) > before, timeout_s=30)
            return time.monotonic() - started_s

        # Given a tenant with hundreds of messages to bad URLs, each of a host of its own
        quiet = [panic(-number) for number in range(1, 6)]
        began_s = time.monotonic()
        for number in range(MESSAGES):
            url = f"{scheme}://127.0.0.{number % URLS_OF_TENANT + 1}:{bad.port}/t{number}"
            office.request("url", targets=_desk(url), dedup_key=f"bad-{number}", tenant_id=1)

        # When another tenant's panics go to its own URL meanwhile
        took = [panic(number) for number in range(PANICS)]
        seconds, answers = time.monotonic() - began_s, {"calls": bad.calls}

    # Then each is delivered at once
    beside = Measured(took, [], [], {"answers": answers})
    figures.note(Figure(f"{scheme} URLs: {kind}", seconds, Measured(quiet, [], [], {}), beside, None, None))
    assert bad.calls or kind == "nobody listens"
    assert max(took) < PANIC_S, took


def _desk(url: str) -> tuple[Target]:
    return (Target("Desk", {"url": url}),)
