"""`Idempotency-Key` on a real Redis: what was done is not done again, and what may have been done is not either."""

import pytest

from gateway.noc.api.idempotency import Answer, Idempotency, digest_of
from gateway.noc.auth import Principal
from services.config import Config
from services.errors import Conflict, Refused, Unanswered, Unavailable

ANN = Principal(login="ann@test", name="Ann", tenant_id=1, role="operator", expires_at=2**31, issued_at=0.0)
DIGEST = digest_of("POST", "/api/v1/groups", b"{}")


@pytest.fixture
def keys(config: Config) -> Idempotency:
    return Idempotency.from_config(config)


def raising(error: Exception) -> Answer:
    raise error


def test_the_answer_is_kept_and_it_is_done_once(keys: Idempotency) -> None:
    done: list[int] = []

    def do() -> Answer:
        done.append(1)
        return Answer(DIGEST, 201, b"{}")

    assert {keys.once("k", ANN, DIGEST, do).status for _ in range(3)} == {201}
    assert len(done) == 1
    with pytest.raises(Refused, match="another request"):
        keys.once("k", ANN, digest_of("POST", "/api/v1/groups", b"[]"), do)


@pytest.mark.parametrize("error", [Unavailable("nobody serves it"), Refused("no name"), ValueError("ours")])
def test_what_was_not_done_may_be_tried_again(keys: Idempotency, error: Exception) -> None:
    with pytest.raises(type(error)):
        keys.once("k", ANN, DIGEST, lambda: raising(error))
    assert keys.once("k", ANN, DIGEST, lambda: Answer(DIGEST, 201)).status == 201


def test_what_may_have_been_done_is_not_done_again(keys: Idempotency) -> None:
    with pytest.raises(Unanswered, match="in time"):
        keys.once("k", ANN, DIGEST, lambda: raising(Unanswered("it did not answer in time")))
    with pytest.raises(Conflict, match="not known"):
        keys.once("k", ANN, DIGEST, lambda: raising(AssertionError("done again")))
    assert keys.once("another", ANN, DIGEST, lambda: Answer(DIGEST, 201)).status == 201


def test_one_that_is_still_at_work_is_waited_for(keys: Idempotency) -> None:
    def do() -> Answer:
        with pytest.raises(Conflict, match="still at work"):
            keys.once("k", ANN, DIGEST, lambda: raising(AssertionError("done twice")))
        return Answer(DIGEST, 201)

    assert keys.once("k", ANN, DIGEST, do).status == 201
