"""Message ids that never repeat. Pure.

An id is a random part of the installation, a count of starts, a random part of the start, and a
count.
"""

from __future__ import annotations

import itertools

MAX_LENGTH = 64
"""Longest `msg_id` that Vigil accepts."""


class MsgIds:
    """Ids of one start of one outbox.

    The count of starts keeps ids apart over reboots. The random part of the start keeps them apart
    when the database was copied or restored.
    """

    def __init__(self, *, installation: str, starts: int, random_part: str) -> None:
        self._prefix = f"{installation}-{starts}-{random_part}-"
        self._count = itertools.count(1)
        if len(self._prefix) > MAX_LENGTH - 16:
            raise ValueError("the installation's part of a msg_id is too long")

    def __call__(self) -> str:
        return f"{self._prefix}{next(self._count)}"
