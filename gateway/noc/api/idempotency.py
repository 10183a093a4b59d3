"""`Idempotency-Key`: a POST that is sent again, because its answer was lost, is answered and not done again.

Answers are kept in Redis for a day, for each user, and sealed: an answer is often a whole alert. The seal is bound to
the user and to the key, and the sealed answer names its request. A request that is sent while the first is at work gets
a conflict. So does one whose first may or may not have been done: only the caller can look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import redis

from gateway.noc.auth import Principal
from services import redis_client
from services.config import Config
from services.errors import Conflict, Refused, Unanswered, Unavailable
from services.keyring import KeyRing
from services.outages import unavailable
from services.sealed_values import seal, unseal

PURPOSE = "idempotency answer"
KEPT_S = 86_400
AT_WORK_S = 120
MAX_KEY_LENGTH = 255


class Answer(msgspec.Struct, frozen=True):
    """What was answered, to what: `digest` is that of method, path and body."""

    digest: str
    status: int = 0
    body: bytes = b""
    content_type: str = "application/json"
    unknown: bool = False
    """Nobody answered, and nobody knows whether it was done."""

    @property
    def done(self) -> bool:
        return self.status > 0


class Idempotency:
    """`keys` seal the answers; without keys (`NOC_FEED_ENCRYPTION=off`, development only) they are kept in clear."""

    def __init__(self, client: redis.Redis, *, prefix: str, keys: KeyRing | None) -> None:
        self._redis = client
        self._prefix = prefix
        self._keys = keys

    @classmethod
    def from_config(cls, config: Config) -> Idempotency:
        keys = KeyRing.from_config(config) if config.feed.encryption == "fernet" else None
        return cls(redis_client.make_redis(config), prefix=config.redis.key_prefix, keys=keys)

    def once(self, key: str, principal: Principal, digest: str, do: Callable[[], Answer]) -> Answer:
        """Do it, or say what was answered when it was done. Raises `Conflict`, `Refused`, `Unavailable`.

        What `do` raises is not kept: nothing was done, and it may be tried again. `Unanswered` is kept.
        """
        if not (key.isascii() and key.isprintable() and 1 <= len(key) <= MAX_KEY_LENGTH):
            raise Refused(f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")
        name = self._name(key, principal)
        try:
            mark = self._sealed(name, Answer(digest))
            if not self._redis.set(name, mark, nx=True, ex=AT_WORK_S):
                return self._earlier(name, digest)
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}; without it no Idempotency-Key can be kept") from error
        try:
            answer = do()
        except Unanswered:
            self._keep(name, Answer(digest, unknown=True))
            raise
        except BaseException:
            self._forget(name)
            raise
        self._keep(name, answer)
        return answer

    def _earlier(self, name: str, digest: str) -> Answer:
        held = self._redis.get(name)
        if not isinstance(held, bytes):
            raise Conflict("the first request with this Idempotency-Key has just ended; send it again")
        answer = self._opened(name, held)
        if answer is None:
            raise Conflict(
                "a request with this Idempotency-Key was sent before, and its answer can no longer be read: the keys"
                " were changed since; look whether it was done, and send what is missing with a new key"
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
                "the first request with this Idempotency-Key is still at work; wait for its answer"
            )
        return answer

    def _keep(self, name: str, answer: Answer) -> None:
        """It may be done, whatever becomes of the note: without it the key would be refused for two minutes only."""
        try:
            self._redis.set(name, self._sealed(name, answer), ex=KEPT_S)
        except redis.RedisError as error:
            raise Unavailable(f"it may be done, but Redis could not keep the answer: {error}") from error

    def _forget(self, name: str) -> None:
        try:
            self._redis.delete(name)
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def _sealed(self, name: str, answer: Answer) -> bytes:
        plain = msgspec.json.encode(answer)
        if self._keys is None:
            return plain
        return seal(self._keys.sealing(), plain, purpose=PURPOSE, name=name)

    def _opened(self, name: str, held: bytes) -> Answer | None:
        """Return the answer; None when no key opens it, as after the removal of a key."""
        plain = held if self._keys is None else unseal(self._keys.all(), held, purpose=PURPOSE, name=name)
        try:
            return None if plain is None else msgspec.json.decode(plain, type=Answer)
        except msgspec.DecodeError:
            return None  # sealed, and encryption was switched off since

    def _name(self, key: str, principal: Principal) -> str:
        whose = hashlib.sha256(f"{principal.login}\0{key}".encode()).hexdigest()
        return f"{self._prefix}:idempotency:{principal.tenant_id}:{whose}"


def digest_of(method: str, path: str, body: bytes) -> str:
    return hashlib.sha256(b"\0".join([method.encode(), path.encode(), body])).hexdigest()
