"""Tests of `Idempotency-Key` on a real Redis.

A request that was done is not done again. A request that may have been done is not done
again either.
"""

from pathlib import Path

import msgspec
import pytest
from cryptography.fernet import Fernet

from gateway.noc.api.idempotency import IdempotencyStore, StoredAnswer, digest_of
from gateway.noc.auth.tokens import Principal
from services.contracts.errors import Conflict, Refused, Unanswered, Unavailable
from services.platform import redis_client
from services.platform.config import Config

ANN = Principal(login="ann@test", name="Ann", tenant_id=1, role="operator", expires_at=2**31, issued_at=0.0)
DIGEST = digest_of("POST", "/api/v1/groups", b"{}")


@pytest.fixture
def keys(config: Config) -> IdempotencyStore:
    return IdempotencyStore.from_config(config)


def raising(error: Exception) -> StoredAnswer:
    raise error


def test_the_answer_is_kept_and_it_is_done_once(keys: IdempotencyStore) -> None:
    done: list[int] = []

    def do() -> StoredAnswer:
        done.append(1)
        return StoredAnswer(DIGEST, 201, b"{}")

    assert {keys.once("k", ANN, DIGEST, do).status for _ in range(3)} == {201}
    assert len(done) == 1
    with pytest.raises(Refused, match="another request"):
        keys.once("k", ANN, digest_of("POST", "/api/v1/groups", b"[]"), do)


@pytest.mark.parametrize("error", [Unavailable("nobody serves it"), Refused("no name"), ValueError("ours")])
def test_what_was_not_done_may_be_tried_again(keys: IdempotencyStore, error: Exception) -> None:
    with pytest.raises(type(error)):
        keys.once("k", ANN, DIGEST, lambda: raising(error))
    assert keys.once("k", ANN, DIGEST, lambda: StoredAnswer(DIGEST, 201)).status == 201


def test_what_may_have_been_done_is_not_done_again(keys: IdempotencyStore) -> None:
    with pytest.raises(Unanswered, match="in time"):
        keys.once("k", ANN, DIGEST, lambda: raising(Unanswered("it did not answer in time")))
    with pytest.raises(Conflict, match="not known"):
        keys.once("k", ANN, DIGEST, lambda: raising(AssertionError("done again")))
    assert keys.once("another", ANN, DIGEST, lambda: StoredAnswer(DIGEST, 201)).status == 201


def test_one_that_is_still_at_work_is_waited_for(keys: IdempotencyStore) -> None:
    def do() -> StoredAnswer:
        with pytest.raises(Conflict, match="still being handled"):
            keys.once("k", ANN, DIGEST, lambda: raising(AssertionError("done twice")))
        return StoredAnswer(DIGEST, 201)

    assert keys.once("k", ANN, DIGEST, do).status == 201


def values_of(config: Config) -> dict[bytes, bytes]:
    """Return this installation's keys in Redis with their values."""
    client = redis_client.make_redis(config)
    return {name: client.get(name) for name in client.scan_iter(f"{config.redis.key_prefix}:*")}  # type: ignore[misc]


def test_redis_has_nothing_of_an_answer_nor_of_the_user_in_clear(
    keys: IdempotencyStore, config: Config
) -> None:
    body = b'{"message": "two men at the gate", "phone": "+919812345678"}'
    keys.once("order-66", ANN, DIGEST, lambda: StoredAnswer(DIGEST, 201, body))
    [(name, value)] = values_of(config).items()
    for secret in (b"two men", b"+9198", b"ann@test", b"order-66", DIGEST.encode(), b"application/json"):
        assert secret not in name + value
    assert keys.once("order-66", ANN, DIGEST, lambda: raising(AssertionError("twice"))).body == body


def test_an_answer_that_is_moved_to_another_user_s_name_does_not_open(
    keys: IdempotencyStore, config: Config
) -> None:
    bob = msgspec.structs.replace(ANN, login="bob@test")
    keys.once("k", ANN, DIGEST, lambda: StoredAnswer(DIGEST, 201, b"Ann's"))
    [(name, value)] = values_of(config).items()
    client = redis_client.make_redis(config)
    client.rename(name, keys._name("k", bob))
    with pytest.raises(Conflict, match="no longer be read"):
        keys.once("k", bob, DIGEST, lambda: raising(AssertionError("done again")))
    # And a value that somebody wrote into Redis in clear is not an answer of ours
    client.set(keys._name("k", bob), msgspec.json.encode(StoredAnswer(DIGEST, 200, b"forged")))
    with pytest.raises(Conflict, match="no longer be read"):
        keys.once("k", bob, DIGEST, lambda: raising(AssertionError("done again")))


def test_an_answer_outlives_a_new_key_and_is_told_of_when_its_key_is_gone(
    config: Config, tmp_path: Path
) -> None:
    file = tmp_path / "feed.keys"
    older, newer = (Fernet.generate_key().decode() for _ in range(2))
    feed = msgspec.structs.replace(config.feed, encryption_keys="", encryption_keys_file=str(file))
    rotated = msgspec.structs.replace(config, feed=feed)

    def with_keys(*lines: str) -> IdempotencyStore:
        file.write_text("\n".join(lines))
        return IdempotencyStore.from_config(rotated)

    with_keys(older).once("k", ANN, DIGEST, lambda: StoredAnswer(DIGEST, 201, b"kept"))
    again = with_keys(newer, older)
    assert again.once("k", ANN, DIGEST, lambda: raising(AssertionError("twice"))).body == b"kept"
    with pytest.raises(Conflict, match="keys were changed.*new key"):
        with_keys(newer).once("k", ANN, DIGEST, lambda: raising(AssertionError("done again")))
    assert with_keys(newer).once("another", ANN, DIGEST, lambda: StoredAnswer(DIGEST, 201)).status == 201
