"""The base map of the console from a local PMTiles file, read by ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from werkzeug.wrappers import Request, Response

from services.contracts.errors import NotFound, Refused
from services.platform.config import NocSettings

ROUTE = "/ground.pmtiles"
MAGIC = b"PMTiles\x03"
"""First bytes of a file of version 3 of the PMTiles specification."""
MAX_RANGE_BYTES = 4 * 1024 * 1024
"""Largest range: one tile, or one directory of tiles. A whole file would block other requests."""


def style_url(noc: NocSettings) -> str:
    """Return the URL of the console's base map; empty without a map.

    A file has priority over an address.
    """
    return ROUTE if noc.map_pmtiles_file else noc.map_style_url


def problems(noc: NocSettings) -> Iterator[str]:
    """Yield the faults of the configured file, one sentence each."""
    if not noc.map_pmtiles_file:
        return

    try:
        with Path(noc.map_pmtiles_file).open("rb") as file:
            found = file.read(len(MAGIC))
    except OSError as error:
        yield f"VIGIL_MAP_PMTILES_FILE cannot be read: {error}"
        return

    if found != MAGIC:
        yield (
            f"VIGIL_MAP_PMTILES_FILE: {noc.map_pmtiles_file} is not a PMTiles file of version 3;"
            " `pmtiles convert` makes one of MBTiles"
        )


class MapFile:
    """PMTiles file of the base map.

    Without a readable file the map has no background, and all else works.
    """

    def __init__(self, noc: NocSettings) -> None:
        self._path = Path(noc.map_pmtiles_file) if noc.map_pmtiles_file else None

    def part(self, request: Request) -> Response:
        """Return the requested range (RFC 9110, 14). Raises `NotFound`, `Refused`."""
        if self._path is None:
            raise NotFound("this installation has no map file: VIGIL_MAP_PMTILES_FILE names one")

        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                asked = request.range.range_for_length(size) if request.range else None
                if asked is None or asked[1] - asked[0] > MAX_RANGE_BYTES:
                    raise Refused(f"ask for one range within {size} bytes, of {MAX_RANGE_BYTES} at the most")
                file.seek(asked[0])
                content = file.read(asked[1] - asked[0])
                changed_ns = self._path.stat().st_mtime_ns
        except OSError as error:
            raise NotFound(f"the map file cannot be read: {error}") from error

        headers = {
            "Content-Range": f"bytes {asked[0]}-{asked[0] + len(content) - 1}/{size}",
            "Accept-Ranges": "bytes",
            "ETag": f'"{changed_ns:x}-{size:x}"',
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(content, status=206, content_type="application/vnd.pmtiles", headers=headers)
