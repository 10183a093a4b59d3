"""Identity of a message: it decides if two deliveries are the same message. Pure.

A key is 16 bytes. A message without an identity of its own gets a key at its receipt
(docs/adr/0030).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from gateway.mqtt.decoding.topics import Topic
from services.contracts.families import Family

WINDOW_S = 5.0
"""Equal bytes of a source on one topic within this time of the first are one message."""
REMEMBERED = 50_000
"""Number of sources, and of message ids, that one lane remembers."""


class _Last(NamedTuple):
    digest: bytes
    key: bytes
    first_at: datetime


class RecentMessages:
    """Memory of a lane: the last message of each source, and the bytes behind each message id.

    The memory is bounded, and a restart loses it. It reduces duplicates and adds flags, and nothing
    depends on it.
    """

    def __init__(self, *, size: int = REMEMBERED) -> None:
        self._size = size
        self._last: OrderedDict[str, _Last] = OrderedDict()
        # There are two halves. When the newer half is full it becomes the older half, and the old
        # older half is dropped. To delete the oldest entries of one dictionary one by one costs a
        # walk over the slots of earlier deletions.
        self._keys: dict[int, bytes] = {}
        self._older_keys: dict[int, bytes] = {}

    def key_of(
        self,
        source_id: str,
        topic: str,
        payload: bytes,
        *,
        at: datetime,
        may_repeat: bool,
        make: Callable[[], bytes],
    ) -> bytes:
        """Return the last message's key when this message repeats it, else a key from `make`.

        A message repeats the last message of its source when it `may_repeat` and has equal bytes on
        the same topic within the window. Any other message of the source between them, on any
        topic, makes them two messages. An example is an alarm, its end, and the same alarm again.
        """
        same = digest(topic.encode("utf-8", "surrogatepass") + b"\0" + payload)
        last = self._last.pop(source_id, None)
        if (
            may_repeat
            and last is not None
            and last.digest == same
            and 0 <= (at - last.first_at).total_seconds() <= WINDOW_S
        ):
            self._last[source_id] = last
            return last.key

        if len(self._last) >= self._size:
            self._last.popitem(last=False)

        key = make()
        self._last[source_id] = _Last(same, key, at)
        return key

    def another(self, source_id: str) -> None:
        """Record a message with its own identity.

        The next message of the source repeats nothing before it.
        """
        self._last.pop(source_id, None)

    def is_reused(self, source_id: str, msg_id: str, key: bytes) -> bool:
        """Return True when the source has used this id before, with other bytes or another kind."""
        # The dictionary holds only numbers and bytes, so the garbage collector does not scan it.
        name = hash((source_id, msg_id))
        before = self._keys.get(name) or self._older_keys.get(name)
        if before != key:
            if len(self._keys) >= self._size // 2:
                self._older_keys, self._keys = self._keys, {}
            self._keys[name] = key
        return before is not None and before != key


def digest(payload: bytes) -> bytes:
    """Return the 16-byte hash of a payload's bytes."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def own_key(
    topic_text: str, topic: Topic | None, payload: bytes, *, msg_id: str | None, proves: bool, scope: str = ""
) -> bytes | None:
    """Return the key of a message with an identity of its own: an id, or a time that `proves` it.

    With an id, the key also covers the kind, the source and the bytes. Counters restart after a
    reboot, and an id is only as unique as the device makes it. Without an id, the key covers the
    topic and the bytes.

    Returns:
        The key, or None when the message has no identity of its own.
    """
    if msg_id is not None and topic is not None:
        kind = topic.detail.lower() if topic.family is Family.ALERT else topic.detail
        named = scope + "\0".join((topic.family, kind, topic.source_id, msg_id, ""))
        return digest(named.encode("utf-8", "surrogatepass") + payload)
    return digest(topic_text.encode() + b"\0" + payload) if proves else None


def made_key(
    source_id: str,
    topic_text: str,
    payload: bytes,
    make: Callable[[], bytes],
    recent: RecentMessages | None,
    *,
    at: datetime,
    may_repeat: bool,
) -> bytes:
    """Return the key of a message without an identity.

    It is the key of the message that this one repeats, by `recent`, else a new key.
    """
    if recent is None:
        return make()
    return recent.key_of(source_id, topic_text, payload, at=at, may_repeat=may_repeat, make=make)
