"""Tests of the addresses that may watch an installation.

Requests come by proxies that it knows, and by others.
"""

from pathlib import Path

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from gateway.noc.auth.callers import Callers
from services.contracts.errors import Forbidden
from services.messaging.http_server.client_address import NetworkList
from services.platform import config

WATCHERS = NetworkList("127.0.0.1, 10.0.0.0/8")


@pytest.fixture
def callers() -> Callers:
    settings = {"JWT_SECRET": "x" * 40, "VIGIL_TRUSTED_PROXIES": "10.77.77.249/32"}
    return Callers(config.load(Path("config.yaml"), environ=settings))


def asked(peer: str, *forwarded: str) -> Request:
    headers = [("X-Forwarded-For", value) for value in forwarded]
    return Request({**EnvironBuilder(headers=headers).get_environ(), "REMOTE_ADDR": peer})


@pytest.mark.parametrize(
    ("peer", "forwarded"),
    [
        ("127.0.0.1", ()),
        ("10.0.0.5", ()),
        ("127.0.0.1", ("127.0.0.1",)),
        ("10.77.77.249", ("10.0.0.5",)),
    ],
)
def test_who_watches_is_let_in(callers: Callers, peer: str, forwarded: tuple[str, ...]) -> None:
    callers.check_watcher(asked(peer, *forwarded), allowed=WATCHERS)


@pytest.mark.parametrize(
    ("peer", "forwarded", "words"),
    [
        ("203.0.113.9", (), "PROMETHEUS_ALLOWED_IPS"),
        ("127.0.0.1", ("203.0.113.9",), "PROMETHEUS_ALLOWED_IPS"),
        ("127.0.0.1", ("10.0.0.5, 203.0.113.9",), "PROMETHEUS_ALLOWED_IPS"),
        # A proxy on an allowed address is not named: it speaks for strangers, or for nobody.
        ("10.0.0.5", ("203.0.113.9",), "VIGIL_TRUSTED_PROXIES"),
        ("10.0.0.5", ("10.0.0.5",), "VIGIL_TRUSTED_PROXIES"),
        ("10.0.0.5", ("",), "VIGIL_TRUSTED_PROXIES"),
    ],
)
def test_a_stranger_is_not_whoever_passes_the_request_on(
    callers: Callers, peer: str, forwarded: tuple[str, ...], words: str
) -> None:
    with pytest.raises(Forbidden, match=words):
        callers.check_watcher(asked(peer, *forwarded), allowed=WATCHERS)


def test_a_proxy_that_nobody_named_is_logged_once_and_its_requests_count_for_itself(
    callers: Callers, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        assert callers.address(asked("10.0.0.5", f"203.0.113.{number}")) == "10.0.0.5"
    logged = capsys.readouterr()  # commands log to the one, services to the other
    assert (logged.out + logged.err).count("unknown_proxy") == 1
