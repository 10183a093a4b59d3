"""Holds the ledger against the tables: sent = stored + refused + dead, and nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Engine, text

from bench.messages import Entry

TABLES = (
    "mqtt_guard_location",
    "mqtt_device_telemetry",
    "mqtt_sensor_reading",
    "mqtt_system_health",
    "alert_occurrence",
)
SHOWN = 20


class Balance(NamedTuple):
    """Counts of distinct messages; `missing` and `doubled` name some of them."""

    sent: int
    stored: int
    refused: int
    dead: int
    duplicates: int
    missing: list[str]
    doubled: list[str]

    @property
    def holds(self) -> bool:
        return (
            self.sent == self.stored + self.refused + self.dead and not self.duplicates and not self.missing
        )


def check(
    entries: Sequence[Entry], engine: Engine, *, run: str, dead_bodies: Callable[[], list[bytes]] = list
) -> Balance:
    """Count what became of every message of a run."""
    stored = _stored(engine, run)
    refused = _refused(engine, run)
    dead = Counter(found for body in dead_bodies() for found in set(_ids_in(body, run)))
    missing, doubled, expected_wrong = [], [], []
    for entry in entries:
        found = stored[entry.msg_id] + refused[entry.msg_id] + (dead[entry.msg_id] > 0)
        if found == 0:
            missing.append(entry.msg_id)
        elif found > 1:
            doubled.append(entry.msg_id)
        elif entry.refused != (refused[entry.msg_id] > 0):
            expected_wrong.append(entry.msg_id)
    return Balance(
        sent=len(entries),
        stored=len(stored),
        refused=len(refused),
        dead=len(dead),
        duplicates=len(doubled),
        missing=(missing + expected_wrong)[:SHOWN],
        doubled=doubled[:SHOWN],
    )


def _stored(engine: Engine, run: str) -> Counter[str]:
    found: Counter[str] = Counter()
    with engine.connect() as connection:
        for table in TABLES:
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
    return Counter(found for body in bodies for found in _ids_in(body, run))


def _ids_in(body: bytes, run: str) -> list[str]:
    return [match.decode() for match in re.findall(rb"%s-[0-9]+" % re.escape(run.encode()), body)]
