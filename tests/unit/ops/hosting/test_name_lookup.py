"""Tests that host names are looked up while the hub runs."""

from __future__ import annotations

import socket
from typing import Any

import eventlet
import pytest
from eventlet import patcher

from ops.hosting.name_lookup import NameLookups, is_known

_threading: Any = patcher.original("threading")
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class Resolver:
    """A name server that answers when the test lets it."""

    def __init__(self) -> None:
        self.answers = _threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> Any:
        self.asked.append(host)
        if not self.answers.wait(10):
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
        return FOUND


@pytest.mark.parametrize("host", [None, "", "localhost", "127.0.0.1", "::1", "fe80::1%eth0"])
def test_an_address_is_known_without_a_name_server(host: str | None) -> None:
    assert is_known(host)


@pytest.mark.parametrize("host", ["rabbitmq", "example.com", "1.2.3", b"example.com"])
def test_a_name_is_not(host: str | bytes) -> None:
    assert not is_known(host)


def test_the_hub_turns_while_a_name_is_looked_up() -> None:
    resolver = Resolver()
    asking = eventlet.spawn(NameLookups(resolver.getaddrinfo).getaddrinfo, "rabbitmq", 5672)
    with eventlet.Timeout(5):
        while not resolver.asked:
            eventlet.sleep(0.01)
    assert not asking.dead
    resolver.answers.set()
    with eventlet.Timeout(5):
        assert asking.wait() == FOUND


def test_what_hangs_leaves_threads_for_others_and_its_room_is_free_again_once_it_ended() -> None:
    resolver = Resolver()
    lookups = NameLookups(resolver.getaddrinfo, most=1)
    with eventlet.Timeout(0.2, False):
        lookups.getaddrinfo("rabbitmq", 5672)
    with pytest.raises(socket.gaierror, match="too many"):
        lookups.getaddrinfo("redis", 6379)
    resolver.answers.set()
    with eventlet.Timeout(5):
        while lookups._free == 0:
            eventlet.sleep(0.01)
    assert lookups.getaddrinfo("redis", 6379) == FOUND


def test_the_error_of_the_system_comes_through() -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(socket.gaierror, match="not known"):
        NameLookups(refuse).getaddrinfo("nowhere.invalid", 1)
