"""Check of the ledger against the tables: sent = stored + refused + dead, and no duplicates."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

from sqlalchemy import Engine, text

from bench.ledger.messages import LedgerEntry
from services.contracts.families import BATCHED

TABLES = (*(row.table for row in BATCHED), "alert_occurrence")
SHOWN = 20
QUIET_S = 15.0
LOOK_AGAIN_S = 0.25


class LedgerBalance(NamedTuple):
    """Counts of distinct messages. The lists name the first messages of each kind.

    `missing` messages were acknowledged by the broker and are nowhere: they are lost. `unconfirmed`
    counts messages that are nowhere and were never acknowledged, so nothing was promised.
    `misjudged` messages were stored and should have been refused, or the reverse.
    """

    sent: int
    stored: int
    refused: int
    dead: int
    duplicates: int
    missing: list[str]
    doubled: list[str]
    unconfirmed: int = 0
    misjudged: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        accounted = self.stored + self.refused + self.dead + self.unconfirmed
        return self.sent == accounted and not (self.duplicates or self.missing or self.misjudged)


def weigh(
    entries: Sequence[LedgerEntry],
    *,
    stored: Mapping[str, int],
    refused: Mapping[str, int],
    dead: Set[str],
    unacknowledged: Set[str] = frozenset(),
) -> LedgerBalance:
    """Return the balance of a ledger and the findings. Pure.

    The findings are the rows for each msg_id, and the msg_ids in dead letters.
    """
    missing, doubled, misjudged, unconfirmed = [], [], [], 0
    for entry in entries:
        name = entry.msg_id
        found = stored.get(name, 0) + refused.get(name, 0) + (name in dead)
        if found == 0 and name in unacknowledged:
            unconfirmed += 1
        elif found == 0:
            missing.append(name)
        elif found > 1:
            doubled.append(name)
        elif name not in dead and entry.refused != (name in refused):
            misjudged.append(name)

    return LedgerBalance(
        sent=len(entries),
        stored=len(stored),
        refused=len(refused),
        dead=len(dead),
        duplicates=len(doubled),
        missing=missing[:SHOWN],
        doubled=doubled[:SHOWN],
        unconfirmed=unconfirmed,
        misjudged=misjudged[:SHOWN],
    )


def check(
    entries: Sequence[LedgerEntry],
    engine: Engine,
    *,
    run: str,
    dead_bodies: Callable[[], list[bytes]] = list,
    unacknowledged: Set[str] = frozenset(),
    tables: Sequence[str] = TABLES,
) -> LedgerBalance:
    """Return the balance of every message of a run."""
    return weigh(
        entries,
        stored=_stored(engine, run, tables),
        refused=_refused(engine, run),
        dead={found for body in dead_bodies() for found in ids_in(body, run)},
        unacknowledged=unacknowledged,
    )


def overtaken(
    entries: Sequence[LedgerEntry], engine: Engine, *, run: str, tables: Sequence[str] = TABLES
) -> list[str]:
    """Return the messages that were stored after a later message of their source and topic.

    They are in the order sent. The order of storing is that of the transactions. Within one
    transaction, messages have no order except their times.
    """
    transactions: dict[str, int] = {}
    with engine.connect() as connection:
        for table in tables:
            query = text(f"SELECT msg_id, xmin::text::bigint FROM {table} WHERE msg_id LIKE :run")  # noqa: S608
            found = connection.execute(query, {"run": f"{run}-%"})
            transactions |= {row.msg_id: row.xmin for row in found}
    return out_of_order(entries, transactions)


def out_of_order(entries: Sequence[LedgerEntry], transactions: Mapping[str, int]) -> list[str]:
    """Return messages whose transaction came after that of a later message of their topic. Pure."""
    first_after: dict[str, int] = {}
    found = []
    for entry in reversed(entries):
        number = transactions.get(entry.msg_id)
        if number is None:
            continue
        if number > first_after.get(entry.topic, number):
            found.append(entry.msg_id)
        first_after[entry.topic] = min(number, first_after.get(entry.topic, number))

    return found[::-1]


def wait(
    entries: Sequence[LedgerEntry],
    engine: Engine,
    *,
    run: str,
    dead_bodies: Callable[[], list[bytes]] = list,
    unacknowledged: Set[str] = frozenset(),
    quiet_s: float = QUIET_S,
    during: Callable[[], None] = lambda: None,
    tables: Sequence[str] = TABLES,
) -> LedgerBalance:
    """Repeat `check` until every message is found, or nothing changes for `quiet_s` seconds."""
    changed_s, before = time.monotonic(), None
    while True:
        balance = check(
            entries, engine, run=run, dead_bodies=dead_bodies, unacknowledged=unacknowledged, tables=tables
        )

        # A message that was never acknowledged may still arrive. Only a quiet time shows that it
        # does not.
        if balance.holds and not balance.unconfirmed:
            return balance
        if balance != before:
            changed_s, before = time.monotonic(), balance
        if time.monotonic() - changed_s > quiet_s:
            return balance

        during()
        time.sleep(LOOK_AGAIN_S)  # the interval at which the tables are counted


def ids_in(body: bytes, run: str) -> list[str]:
    """Return the msg_ids of a run that occur in some bytes."""
    return [match.decode() for match in re.findall(rb"%s-[0-9]+" % re.escape(run.encode()), body)]


def _stored(engine: Engine, run: str, tables: Sequence[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    with engine.connect() as connection:
        for table in tables:
            query = text(f"SELECT msg_id, count(*) FROM {table} WHERE msg_id LIKE :run GROUP BY msg_id")  # noqa: S608
            for msg_id, count in connection.execute(query, {"run": f"{run}-%"}):
                found[msg_id] += count
    return found


def _refused(engine: Engine, run: str) -> Counter[str]:
    query = text(
        "SELECT payload FROM rejected_message WHERE position(convert_to(:run, 'UTF8') IN payload) > 0"
    )
    with engine.connect() as connection:
        bodies = [bytes(row[0]) for row in connection.execute(query, {"run": f'"{run}-'})]
    return Counter(found for body in bodies for found in ids_in(body, run))
