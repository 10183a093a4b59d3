"""Databases of earlier versions, as files: each schema of the main line, with rows in every table.

`make_dump.py` writes them from the project's history. `tests/integration/test_upgrade_matrix.py`
upgrades each of them. A new revision adds the state before it: append to `STATES` and run `python
-m tests.upgrades.make_dump NAME`.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

DUMPS = Path(__file__).parent / "dumps"


class State(NamedTuple):
    """One schema of the past.

    `commit` has the migrations that made it. `lacked` describes what a later edit of those
    migrations added.
    """

    name: str
    commit: str
    revision: str
    lacked: str = ""

    @property
    def file(self) -> Path:
        return DUMPS / f"{self.name}.sql.gz"


STATES = (
    State("0001-json", "1a9e3d2", "0001", "raw_data was jsonb, which changes what a device sent"),
    State("0001", "163494e", "0001"),
    State("0002-carrier", "e0ab4c4", "0002", "device_carrier_now was unique over all tenants"),
    State("0002", "2434b46", "0002"),
    State("0003", "dba3e85", "0003"),
    State("0004", "49fcde2", "0004"),
    State("0005-first", "ec21c4a", "0005", "0003, 0004 and two columns of notification"),
    State("0005-words", "048c4e3", "0005", "0003 and 0004, which came before it later"),
    State("0005", "49fcde2", "0005"),
    State("0006", "6c86093", "0006"),
    State("0007-holds", "3e507ec", "0007", "alert_hold, alert_track and their functions"),
    State("0007", "531be25", "0007"),
    State("0008-zones", "90f4fbe", "0008", "four columns, road_heard and three indexes"),
    State("0008", "149ebea", "0008"),
    State("0009", "4ff9bd3", "0009"),
    State("0010", "4ff9bd3", "0010"),
    State("0011-empty", "1c427e3", "0011", "0009, 0010 and 0011 did nothing"),
    State("0011-alerts", "574a834", "0011", "0010 and 0011 did nothing"),
    State("0011-telemetry", "d404809", "0011", "0010 did nothing, 0011 only a part"),
    State("0011-location", "a425ac3", "0011", "0010 did nothing"),
    State("0011", "a71d8b3", "0011"),
    State("0012-conflict", "41cc720", "0012", "two registrations of one id at once were an error"),
    State("0012", "7f7d7f8", "0012"),
    State("0013", "4ff9bd3", "0013"),
    State("0014", "4ff9bd3", "0014"),
    State("0015", "4ff9bd3", "0015"),
    State("0016", "eaf9bfc", "0016"),
    State("0017", "c148f25", "0017"),
)


def script(state: State) -> str:
    """Return the SQL that makes the database of a state."""
    return gzip.decompress(state.file.read_bytes()).decode()
