import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from gateway.noc import requests
from services.errors import Forbidden
from services.peers import Networks


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
        requests.check_origin(request(Origin=origin), allowed=["https://desk.example"])


def test_our_own_page_an_allowed_one_and_a_program_are_let_in() -> None:
    requests.check_origin(request(Origin="http://noc.example:8000"), allowed=[])
    requests.check_origin(request(Origin="https://desk.example"), allowed=["https://desk.example"])
    requests.check_origin(request(), allowed=[])


def test_the_address_is_the_peers_or_whom_a_trusted_proxy_names() -> None:
    headers = {"X-Forwarded-For": "10.9.9.9, 203.0.113.9"}
    proxied = Request({**EnvironBuilder(headers=headers).get_environ(), "REMOTE_ADDR": "10.0.0.1"})
    assert requests.client_address(proxied, trusted=Networks("10.0.0.1")) == "203.0.113.9"
    assert requests.client_address(proxied, trusted=Networks("")) == "10.0.0.1"


def test_the_token_and_the_ticket_are_found_where_they_may_be() -> None:
    assert requests.bearer(request(Authorization="bearer abc ")) == "abc"
    assert requests.bearer(request(Authorization="Basic abc")) is None
    assert requests.bearer(request()) is None
    offered = request(**{"Sec-WebSocket-Protocol": "vigil.noc.v1, ticket.1.xyz"})
    assert requests.offered_ticket(offered) == "1.xyz"
    assert requests.offered_ticket(request()) is None
