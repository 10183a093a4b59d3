"""`Idempotency-Key`: a repeated POST gets the first answer, and is not done again.

A client repeats a POST when its answer was lost. Answers stay in Redis for a day, for each user,
and sealed: an answer is often a whole alert. The seal is bound to the user and to the key, and the
sealed answer names its request. A repeated request gets a conflict while the first one is in
progress. It also gets a conflict when nobody knows if the first one was done: only the caller can
check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import redis

from gateway.noc.auth.tokens import Principal
from services.contracts.errors import Conflict, Refused, Unanswered, Unavailable
from services.feed.keyring import KeyRing
from services.platform import redis_client
from services.platform.config import Config
from services.platform.outages import unavailable
from services.platform.sealed_values import seal, unseal

PURPOSE = "idempotency answer"
KEPT_S = 86_400
AT_WORK_S = 120
MAX_KEY_LENGTH = 255


class StoredAnswer(msgspec.Struct, frozen=True):
    """Stored answer. `digest` identifies its request: the hash of method, path and body."""

    digest: str
    status: int = 0
    body: bytes = b""
    content_type: str = "application/json"
    unknown: bool = False
    """True when the service did not answer, so that nobody knows if the request was done."""

    @property
    def done(self) -> bool:
        return self.status > 0


class IdempotencyStore:
    """Store of answers in Redis.

    `keys` seal the answers. Without keys (`NOC_FEED_ENCRYPTION=off`, development only) answers are
    stored in clear.
    """

    def __init__(self, client: redis.Redis, *, prefix: str, keys: KeyRing | None) -> None:
        self._redis = client
        self._prefix = prefix
        self._keys = keys

    @classmethod
    def from_config(cls, config: Config) -> IdempotencyStore:
        keys = KeyRing.from_config(config) if config.feed.encryption == "fernet" else None
        return cls(redis_client.make_redis(config), prefix=config.redis.key_prefix, keys=keys)

    def once(
        self, key: str, principal: Principal, digest: str, do: Callable[[], StoredAnswer]
    ) -> StoredAnswer:
        """Run `do` once for a key, and return its answer, or the stored answer of the first run.

        An exception of `do` is not stored: nothing was done, and the caller may try again. Only
        `Unanswered` is stored.

        Raises:
            Conflict: The first request is in progress, or its result is unknown or unreadable.
            Refused: The key is invalid, or it was used for another request.
            Unavailable: Redis does not answer.
        """
        if not (key.isascii() and key.isprintable() and 1 <= len(key) <= MAX_KEY_LENGTH):
            raise Refused(f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")

        name = self._name(key, principal)
        try:
            mark = self._sealed(name, StoredAnswer(digest))
            if not self._redis.set(name, mark, nx=True, ex=AT_WORK_S):
                return self._earlier(name, digest)
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}; without it no Idempotency-Key can be kept") from error

        try:
            answer = do()
        except Unanswered:
            self._keep(name, StoredAnswer(digest, unknown=True))
            raise
        except BaseException:
            self._forget(name)
            raise

        self._keep(name, answer)
        return answer

    def _earlier(self, name: str, digest: str) -> StoredAnswer:
        held = self._redis.get(name)
        if not isinstance(held, bytes):
            raise Conflict(
                "the first request with this Idempotency-Key has ended a moment ago; send the request again"
            )

        answer = self._opened(name, held)
        if answer is None:
            raise Conflict(
                "a request with this Idempotency-Key was sent before, and its answer can no longer be read: the keys"
                " were changed since; check whether it was done, and send what is missing with a new key"
            )

        if answer.digest != digest:
            raise Refused("this Idempotency-Key was used for another request; make a new one")

        if answer.unknown:
            raise Conflict(
                "whether the first request with this Idempotency-Key was done is not known, its service did not answer"
                " in time; look, and send what is missing with a new key"
            )

        if not answer.done:
            raise Conflict(
                "the first request with this Idempotency-Key is still being handled; wait for its response"
            )

        return answer

    def _keep(self, name: str, answer: StoredAnswer) -> None:
        """Store the answer. Raises `Unavailable`, and then the request may still be done.

        Without the stored answer, the mark of the first request blocks the key for only two
        minutes.
        """
        try:
            self._redis.set(name, self._sealed(name, answer), ex=KEPT_S)
        except redis.RedisError as error:
            raise Unavailable(
                f"the request may be done, but Redis could not keep the response: {error}"
            ) from error

    def _forget(self, name: str) -> None:
        try:
            self._redis.delete(name)
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def _sealed(self, name: str, answer: StoredAnswer) -> bytes:
        plain = msgspec.json.encode(answer)
        if self._keys is None:
            return plain
        return seal(self._keys.sealing(), plain, purpose=PURPOSE, name=name)

    def _opened(self, name: str, held: bytes) -> StoredAnswer | None:
        """Return the answer; None when no key opens it, as after the removal of a key."""
        plain = held if self._keys is None else unseal(self._keys.all(), held, purpose=PURPOSE, name=name)
        try:
            return None if plain is None else msgspec.json.decode(plain, type=StoredAnswer)
        except msgspec.DecodeError:
            return None  # sealed, and encryption was switched off later

    def _name(self, key: str, principal: Principal) -> str:
        whose = hashlib.sha256(f"{principal.login}\0{key}".encode()).hexdigest()
        return f"{self._prefix}:idempotency:{principal.tenant_id}:{whose}"


def digest_of(method: str, path: str, body: bytes) -> str:
    return hashlib.sha256(b"\0".join([method.encode(), path.encode(), body])).hexdigest()
