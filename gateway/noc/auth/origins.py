"""The origins whose pages may use the live feed and get tickets for it. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from services.platform.config import Config

DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str | None:
    """Return the origin of a URL as browsers write it; None when it has none.

    An origin has no default port and no path, and is in lower case.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not host:
        return None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def allowed_origins(config: Config) -> list[str]:
    """Return VIGIL_ALLOWED_ORIGINS, and the console's own origin when VIGIL_PUBLIC_URL is https."""
    listed = [part.strip() for part in config.noc.allowed_origins.split(",") if part.strip()]
    own = origin_of(config.notifications.public_url)
    return [*listed, own] if own and own.startswith("https:") else listed
