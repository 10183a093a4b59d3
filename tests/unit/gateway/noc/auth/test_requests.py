import io

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from gateway.noc.auth import requests
from services.contracts.errors import Forbidden, TooLarge
from services.messaging.http_server.client_address import NetworkList

PROXY = NetworkList("10.0.0.1")


def request(**headers: str) -> Request:
    return Request(EnvironBuilder(base_url="http://noc.example:8000", headers=headers).get_environ())


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://noc.example",
        "http://noc.example:8001",
        "https://noc.example:8000",
        "http://sub.noc.example:8000",
        "http://noc.example:8000.evil.example",
        "http://evil.example#http://noc.example:8000",
        "HTTP://NOC.EXAMPLE:8000",
        "http://Noc.example:8000",
        "http://noc.example:8000/",
        "http://user@noc.example:8000",
        "https://desk.example.evil.example",
        "https://DESK.example",
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        requests.check_origin(request(Origin=origin), allowed=["https://desk.example"], trusted=PROXY)


def test_our_own_page_an_allowed_one_and_a_program_are_let_in() -> None:
    requests.check_origin(request(Origin="http://noc.example:8000"), allowed=[], trusted=PROXY)
    requests.check_origin(
        request(Origin="https://desk.example"), allowed=["https://desk.example"], trusted=PROXY
    )
    requests.check_origin(request(), allowed=[], trusted=PROXY)


def from_peer(peer: str, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request({**request(**named).environ, "REMOTE_ADDR": peer})


def test_a_trusted_proxy_says_whether_it_was_tls() -> None:
    for peer, said, scheme in (
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTPS", "https"),
        ("10.0.0.1", "gopher", "http"),
        ("10.0.0.1", "https, http", "http"),
        ("10.0.0.1", "", "http"),
        ("203.0.113.9", "https", "http"),
        ("", "https", "http"),
    ):
        assert requests.scheme_of(from_peer(peer, X_Forwarded_Proto=said), trusted=PROXY) == scheme
    page = {"Origin": "https://noc.example:8000", "X_Forwarded_Proto": "https"}
    requests.check_origin(from_peer("10.0.0.1", **page), allowed=[], trusted=PROXY)
    with pytest.raises(Forbidden):
        requests.check_origin(from_peer("203.0.113.9", **page), allowed=[], trusted=PROXY)


def test_what_a_proxy_passed_on_that_is_not_trusted_is_noticed() -> None:
    for header in ("X_Forwarded_For", "Forwarded"):
        for value in ("203.0.113.9", "for=203.0.113.9", ""):
            assert requests.is_from_unknown_proxy(from_peer("127.0.0.1", **{header: value}), trusted=PROXY)
            assert not requests.is_from_unknown_proxy(from_peer("10.0.0.1", **{header: value}), trusted=PROXY)
    assert not requests.is_from_unknown_proxy(from_peer("127.0.0.1"), trusted=PROXY)


def test_the_address_is_the_peers_or_whom_a_trusted_proxy_names() -> None:
    headers = {"X-Forwarded-For": "10.9.9.9, 203.0.113.9"}
    proxied = Request({**EnvironBuilder(headers=headers).get_environ(), "REMOTE_ADDR": "10.0.0.1"})
    assert requests.client_address(proxied, trusted=NetworkList("10.0.0.1")) == "203.0.113.9"
    assert requests.client_address(proxied, trusted=NetworkList("")) == "10.0.0.1"


def test_the_token_and_the_ticket_are_found_where_they_may_be() -> None:
    assert requests.bearer(request(Authorization="bearer abc ")) == "abc"
    assert requests.bearer(request(Authorization="Basic abc")) is None
    assert requests.bearer(request()) is None
    offered = request(**{"Sec-WebSocket-Protocol": "vigil.noc.v1, ticket.1.xyz"})
    assert requests.offered_ticket(offered) == "1.xyz"
    assert requests.offered_ticket(request()) is None


def with_body(content: bytes, *, says_length: bool = True) -> Request:
    environ = EnvironBuilder(method="POST", input_stream=io.BytesIO(content)).get_environ()
    environ["wsgi.input_terminated"] = True
    environ.pop("CONTENT_LENGTH", None)
    if says_length:
        environ["CONTENT_LENGTH"] = str(len(content))
    return Request(environ)


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_a_body_within_the_limit_is_read(size: int, says_length: bool) -> None:
    asked = with_body(b"x" * size, says_length=says_length)
    assert requests.body_of(asked, max_bytes=10) == b"x" * size


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("size", [11, 5000])
def test_a_body_beyond_the_limit_is_refused_by_name(size: int, says_length: bool) -> None:
    with pytest.raises(TooLarge, match="10"):
        requests.body_of(with_body(b"x" * size, says_length=says_length), max_bytes=10)
