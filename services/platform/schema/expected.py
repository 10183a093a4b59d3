"""The schema that this version needs: `expected.json`.

`vigil migrate describe` writes this file from a new database.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from services.platform.schema.differences import Catalog

FILE = Path(__file__).with_name("expected.json")


@cache
def expected() -> Catalog:
    """Return every object of the schema with its shape."""
    return msgspec.json.decode(FILE.read_bytes(), type=dict[str, str])


def as_file(catalog: Catalog) -> str:
    """Return the file's text: one object a line, sorted, so that a change is one line."""
    return msgspec.json.format(msgspec.json.encode(dict(sorted(catalog.items()))), indent=1).decode() + "\n"
