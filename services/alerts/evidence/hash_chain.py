"""Hash chain of timeline rows: each row seals the one before it, so any later change shows. Pure.

    hash = sha256(prev_hash || sha256(canonical)), the first prev_hash is 32 zero bytes

The database writes the chain (migration 0004). This module checks it. A link without its content
has the digest of the content instead. A chain proves nothing about rows before its first link.
Without the head, it proves nothing about rows after its last link.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

import msgspec

GENESIS = bytes(32)


class ChainContent(msgspec.Struct, frozen=True, kw_only=True):
    """Content that a link seals: the row of the timeline without its place in the chain."""

    tenant_id: int
    alert_id: str
    at: datetime
    action: str
    status: str
    by: str
    note: str


class ChainLink(msgspec.Struct, frozen=True, kw_only=True):
    """One place of the chain, with its `content` or with the `digest` of a hidden content."""

    seq: int
    prev_hash: bytes
    hash: bytes
    content: ChainContent | None = None
    digest: bytes | None = None
    erased: bool = False


class ChainHead(msgspec.Struct, frozen=True):
    """Place and hash of the last link, noted beside the chain."""

    seq: int
    hash: bytes


class ChainFaultKind(StrEnum):
    ALTERED = "altered"
    MISSING = "missing"
    REORDERED = "reordered"
    FOREIGN = "foreign tenant"


class ChainFault(msgspec.Struct, frozen=True):
    """Fault of a chain: its place, its kind, and a text for users."""

    seq: int
    wrong: ChainFaultKind
    detail: str

    def __str__(self) -> str:
        return f"seq {self.seq}: {self.wrong}: {self.detail}"


def time_text(at: datetime) -> str:
    """Return a time in UTC with microseconds. The same moment is always the same text.

    The text always has 27 characters.
    """
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def canonical(seq: int, content: ChainContent) -> bytes:
    """Return the bytes that a link seals.

    They are the same as those of `vigil_timeline_canonical` in the database.
    """
    fields = [
        seq,
        content.tenant_id,
        content.alert_id,
        time_text(content.at),
        content.action,
        content.status,
        content.by,
        content.note,
    ]

    # Half of a surrogate pair cannot come from the database. In a forged file it must not end the
    # check.
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def digest_of(link: ChainLink) -> bytes:
    """Return the digest of a link's content: computed from the content when the link shows it."""
    if link.content is not None:
        return sha256(canonical(link.seq, link.content)).digest()
    return link.digest or b""


def linked(prev_hash: bytes, digest: bytes) -> bytes:
    return sha256(prev_hash + digest).digest()


class ChainVerifier:
    """Check of a chain, link by link, so that a chain of any length can be checked.

    Each `step` returns the faults of its link.
    """

    def __init__(self, *, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self.first: ChainLink | None = None
        self.last: ChainLink | None = None
        self.count = 0
        self.erased = 0

    def step(self, link: ChainLink) -> list[ChainFault]:
        faults = [*self._place(link), *self._seal(link)]
        self.first = self.first or link
        if self.last is None or link.seq > self.last.seq:
            self.last = link
        self.count += 1
        self.erased += link.erased
        return faults

    def end(self, head: ChainHead | None) -> list[ChainFault]:
        """Return a fault when the chain does not end where the head says.

        A tenant that never had an alert has neither chain nor head.
        """
        if head is None:
            return (
                []
                if self.last is None
                else [ChainFault(self.last.seq, ChainFaultKind.MISSING, "the head is not there")]
            )

        if self.last is None:
            return [] if head.seq == 0 else [_missing(1, head.seq)]
        if self.last.seq < head.seq:
            return [_missing(self.last.seq + 1, head.seq)]
        if self.last.seq > head.seq:
            return [ChainFault(self.last.seq, ChainFaultKind.ALTERED, f"the head is at seq {head.seq} only")]
        if self.last.hash != head.hash:
            return [
                ChainFault(head.seq, ChainFaultKind.ALTERED, "the head has another hash than the last link")
            ]

        return []

    def _place(self, link: ChainLink) -> Iterator[ChainFault]:
        """Yield a fault when the link is in the wrong place, or does not seal the one before it."""
        last = self.last
        if last is None:
            if link.seq < 1:
                yield ChainFault(link.seq, ChainFaultKind.REORDERED, "a chain begins at seq 1")
            elif link.seq == 1 and link.prev_hash != GENESIS:
                yield ChainFault(1, ChainFaultKind.ALTERED, "the first link does not begin with zeros")
        elif link.seq <= last.seq:
            yield ChainFault(link.seq, ChainFaultKind.REORDERED, f"it stands after seq {last.seq}")
        elif link.seq > last.seq + 1:
            yield _missing(last.seq + 1, link.seq - 1)
        elif link.prev_hash != last.hash:
            yield ChainFault(link.seq, ChainFaultKind.ALTERED, f"it does not seal seq {last.seq} as that is")

    def _seal(self, link: ChainLink) -> Iterator[ChainFault]:
        content = link.content
        if content is not None and content.tenant_id != self._tenant_id:
            yield ChainFault(
                link.seq,
                ChainFaultKind.FOREIGN,
                f"it is of tenant {content.tenant_id}, not {self._tenant_id}",
            )
        if linked(link.prev_hash, digest_of(link)) != link.hash:
            yield ChainFault(link.seq, ChainFaultKind.ALTERED, "its content is not what its hash seals")


def verify(links: Iterable[ChainLink], *, tenant_id: int, head: ChainHead | None = None) -> list[ChainFault]:
    """Return all faults of a chain, in order; none when nothing was changed.

    Without a head, the end of the chain is not checked.
    """
    verifier = ChainVerifier(tenant_id=tenant_id)
    faults = [fault for link in links for fault in verifier.step(link)]
    return faults + (verifier.end(head) if head is not None else [])


def _missing(first: int, last: int) -> ChainFault:
    which = f"seq {first}" if first == last else f"seq {first} to {last}"
    return ChainFault(
        first, ChainFaultKind.MISSING, f"{which} not there, and no erasure of an alert accounts for it"
    )
