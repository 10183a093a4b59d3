"""The console's files, and the content policy for the browser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from werkzeug.security import safe_join
from werkzeug.wrappers import Response

from services.contracts.errors import NotFound
from services.platform.config import NocSettings

FILES = Path(__file__).resolve().parents[3] / "console"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Served content types. Other files are not served: the package lists are in the same folder."""


class ConsoleFiles:
    def __init__(self, noc: NocSettings) -> None:
        self._headers = {
            "Content-Security-Policy": content_policy(noc.map_style_url),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }

    def file(self, name: str) -> Response:
        """Return a file of the console. Raises `NotFound`."""
        path = safe_join(str(FILES), name)
        content_type = CONTENT_TYPES.get(Path(path or "").suffix)
        if path is None or content_type is None or not Path(path).is_file():
            raise NotFound(f"no console file {name!r}")
        return Response(Path(path).read_bytes(), content_type=content_type, headers=self._headers)


def content_policy(map_style_url: str) -> str:
    """Return the content security policy of the console.

    Scripts, styles and workers come only from the console's own files. The configured map is the
    only other origin. The files that the map's style names (tiles, glyphs, sprites) must come from
    the origin of the style.
    """
    parts = urlsplit(map_style_url)
    elsewhere = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; "
        f"img-src 'self' data:{elsewhere}; connect-src 'self'{elsewhere}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
