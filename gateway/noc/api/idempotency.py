"""`Idempotency-Key`: a POST that is sent again, because its answer was lost, is answered and not done again.

Answers are kept in Redis for a day, for each person. One that is sent while the first is still at work is told so, and
so is one whose first may or may not have been done: only the caller can look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import redis

from gateway.noc.auth import Principal
from services import providers
from services.config import Config
from services.errors import Conflict, Refused, Unanswered, Unavailable

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
    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        self._redis = client
        self._prefix = prefix

    @classmethod
    def from_config(cls, config: Config) -> Idempotency:
        return cls(providers.make_redis(config), prefix=config.redis.key_prefix)

    def once(self, key: str, principal: Principal, digest: str, do: Callable[[], Answer]) -> Answer:
        """Do it, or say what was answered when it was done. Raises `Conflict`, `Refused`, `Unavailable`.

        What `do` raises is not kept: nothing was done, and it may be tried again. `Unanswered` is kept.
        """
        if not (key.isascii() and key.isprintable() and 1 <= len(key) <= MAX_KEY_LENGTH):
            raise Refused(f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")
        name = self._name(key, principal)
        try:
            mark = msgspec.json.encode(Answer(digest))
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
        answer = msgspec.json.decode(held, type=Answer)
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
            self._redis.set(name, msgspec.json.encode(answer), ex=KEPT_S)
        except redis.RedisError as error:
            raise Unavailable(f"it may be done, but Redis could not keep the answer: {error}") from error

    def _forget(self, name: str) -> None:
        try:
            self._redis.delete(name)
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error

    def _name(self, key: str, principal: Principal) -> str:
        whose = hashlib.sha256(f"{principal.login}\0{key}".encode()).hexdigest()
        return f"{self._prefix}:idempotency:{principal.tenant_id}:{whose}"


def digest_of(method: str, path: str, body: bytes) -> str:
    return hashlib.sha256(b"\0".join([method.encode(), path.encode(), body])).hexdigest()
