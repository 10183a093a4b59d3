import base64
import json
import time

import jwt
import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from gateway.noc import auth
from gateway.noc.auth import Tokens
from services.errors import Forbidden, Misconfigured

SECRET = "s" * 40
GOOD = {"iss": "vigil", "aud": "vigil-noc", "sub": "ann", "jti": "1", "tenant": 1, "role": "operator"}


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: object) -> str:
    now = int(time.time())
    claims = {"iat": now, "exp": now + 60, **GOOD, **changes}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm=algorithm)


def request(**headers: str) -> Request:
    return Request(EnvironBuilder(base_url="http://noc.example:8000", headers=headers).get_environ())


def test_a_token_that_was_made_here_is_believed() -> None:
    tokens = Tokens(SECRET)
    principal = tokens.check(tokens.make(name="ann", tenant_id=7, role="viewer", lifetime_s=60))
    assert (principal.name, principal.tenant_id, principal.role) == ("ann", 7, "viewer")


@pytest.mark.parametrize("claim", auth.CLAIMS)
def test_a_token_without_a_claim_is_refused(claim: str) -> None:
    with pytest.raises(Forbidden):
        Tokens(SECRET).check(signed(**{claim: None}))


@pytest.mark.parametrize(
    "changes",
    [{"aud": "other"}, {"iss": "other"}, {"exp": 1}, {"role": "king"}, {"tenant": "1"}],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Forbidden):
        Tokens(SECRET).check(signed(**changes))


def test_no_other_algorithm_and_no_other_secret_is_believed() -> None:
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    body = signed().split(".")[1]
    for token in (f"{none}.{body}.", signed(secret="x" * 40), signed(algorithm="HS512"), "garbage", ""):
        with pytest.raises(Forbidden):
            Tokens(SECRET).check(token)


def test_a_weak_secret_stops_the_start_and_names_the_variable() -> None:
    with pytest.raises(Misconfigured, match="JWT_SECRET"):
        Tokens("short")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://noc.example",
        "http://noc.example:8001",
        "https://noc.example:8000",
        "http://sub.noc.example:8000",
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        auth.check_origin(request(Origin=origin), allowed=[])


def test_our_own_page_an_allowed_one_and_a_program_are_let_in() -> None:
    auth.check_origin(request(Origin="http://noc.example:8000"), allowed=[])
    auth.check_origin(request(Origin="https://desk.example"), allowed=["https://desk.example"])
    auth.check_origin(request(), allowed=[])


def test_metrics_are_for_the_listed_networks_only() -> None:
    auth.check_peer("127.0.0.1", networks="127.0.0.1/32, 10.0.0.0/8")
    auth.check_peer("10.1.2.3", networks="127.0.0.1/32, 10.0.0.0/8")
    with pytest.raises(Forbidden):
        auth.check_peer("192.168.1.1", networks="127.0.0.1/32, 10.0.0.0/8")


def test_a_viewer_may_not_act() -> None:
    with pytest.raises(Forbidden):
        auth.Principal("v", 1, "viewer", 0).must_handle_alerts()
