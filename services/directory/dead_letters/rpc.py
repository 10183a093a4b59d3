"""Dead letters over RPC: a tenant's own for its admins, all of them for users of the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import text

from services.contracts.errors import NotFound, Refused
from services.contracts.pagination import check_limit, check_tenant
from services.directory.dead_letters.ownership import belongs, owners_of
from services.messaging import dead_letter_queue
from services.messaging.dead_letter_queue import QueuedDeadLetter
from services.platform.config import Config
from services.platform.database import Database

log = structlog.get_logger(__name__)

LOOKED_AT = 10_000
"""Number of dead letters that are searched for a tenant's own."""
MAX_LISTED = 1_000
# An id that a guard of one tenant shares with a device of another belongs to neither.
OWNERS = text(
    "SELECT source_id, min(tenant_id) AS tenant_id FROM (SELECT device_id AS source_id, tenant_id FROM device"
    " UNION ALL SELECT guard_id, tenant_id FROM guard) s WHERE source_id = ANY(:ids)"
    " GROUP BY source_id HAVING min(tenant_id) = max(tenant_id)"
)


class DeadLetters:
    """Events that the services gave up on. Each stays until a person decides."""

    def __init__(self, config: Config, database: Database) -> None:
        self._uri = config.amqp.uri
        self._again_after_s = min(config.amqp.retry_delays_s)
        self._database = database

    def oldest(self, tenant_id: int | None) -> list[QueuedDeadLetter]:
        """Return dead letters, oldest first; those of all tenants when `tenant_id` is None.

        Raises:
            Unavailable: the message bus does not answer.
        """
        letters = dead_letter_queue.oldest_dead_letters(self._uri, limit=LOOKED_AT)
        if tenant_id is None:
            return letters
        mine = self._of(letters, tenant_id)
        return [letter for letter in letters if mine(letter)]

    def find(self, letter_id: str, tenant_id: int | None) -> QueuedDeadLetter:
        """Return a dead letter. Raises `NotFound`, also for one of another tenant."""
        for letter in self.oldest(tenant_id):
            if letter.id == letter_id:
                return letter
        raise NotFound(f"no dead letter {letter_id[:100]!r}; list the dead letters to see the valid ids")

    def settle(self, letter_id: str, tenant_id: int | None, *, again: bool) -> None:
        """Send a dead letter to its queue again, or discard it.

        Raises `NotFound`, `Unavailable`.
        """
        letter = self.find(letter_id, tenant_id)
        # Two dead letters share an id when one was sent again and failed again. Settle only the one
        # that was judged.
        found = dead_letter_queue.settle(
            self._uri, lambda other: other == letter, again_after_s=self._again_after_s if again else None
        )
        if not found:
            raise NotFound(
                f"dead letter {letter_id[:100]!r} was settled by another person a moment ago; list"
                " the dead letters again"
            )

    def _of(self, letters: Iterable[QueuedDeadLetter], tenant_id: int) -> Callable[[QueuedDeadLetter], bool]:
        spoken = {id(letter): owners_of(letter.queue, letter.body) for letter in letters}
        ids = sorted({source for said in spoken.values() for source in said.sources})
        with self._database.across() as connection:
            owners = {row.source_id: row.tenant_id for row in connection.execute(OWNERS, {"ids": ids})}
        return lambda letter: belongs(spoken[id(letter)], tenant_id, owners)


class DeadLetterRpc:
    """Calls about dead letters, as the directory service serves them.

    `across` means all tenants, with dead letters of unknown tenants. It is for users of the
    platform only.
    """

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    def list_dead_letters(
        self, *, tenant_id: int, limit: int = 100, across: bool = False
    ) -> list[dict[str, Any]]:
        """Return dead letters, oldest first. None is removed."""
        check_limit(limit, most=MAX_LISTED)
        return [_shown(letter) for letter in self._letters.oldest(_whose(tenant_id, across))[:limit]]

    def get_dead_letter(self, *, tenant_id: int, letter_id: str, across: bool = False) -> dict[str, Any]:
        """Return one dead letter with the history of its tries and its decoded body.

        Raises `NotFound`.
        """
        letter = self._letters.find(letter_id, _whose(tenant_id, across))
        try:
            body = msgspec.msgpack.decode(letter.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body = letter.body
        return {**_shown(letter), "history": letter.history, "body": body}

    def retry_dead_letter(self, *, tenant_id: int, letter_id: str, by: str, across: bool = False) -> None:
        """Send a dead letter back to the queue that it came from. Raises `NotFound`."""
        self._letters.settle(letter_id, _whose(tenant_id, across), again=True)
        log.warning("dead_letter_retried", letter_id=letter_id, by=by, tenant_id=tenant_id)

    def discard_dead_letter(self, *, tenant_id: int, letter_id: str, by: str, across: bool = False) -> None:
        """Discard a dead letter for good. Raises `NotFound`."""
        self._letters.settle(letter_id, _whose(tenant_id, across), again=False)
        log.warning("dead_letter_discarded", letter_id=letter_id, by=by, tenant_id=tenant_id)


def _whose(tenant_id: object, across: object) -> int | None:
    checked = check_tenant(tenant_id)
    if not isinstance(across, bool):
        raise Refused("across must be true or false")
    return None if across else checked


def _shown(letter: QueuedDeadLetter) -> dict[str, Any]:
    last = letter.history[-1] if letter.history else {}
    spoken = owners_of(letter.queue, letter.body)
    return {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason,
        "error": last.get("error", ""),
        "tries": len(letter.history),
        "last_tried_at": datetime.fromtimestamp(last["at"], UTC) if "at" in last else None,
        "bytes": len(letter.body),
        "sources": sorted(spoken.sources)[:20],
    }
