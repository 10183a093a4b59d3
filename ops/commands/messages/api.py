"""`vigil api`: the documents that describe the HTTP API, MQTT and the feed."""

from __future__ import annotations

import click
import msgspec

from gateway.noc.api import asyncapi, openapi
from gateway.noc.api.operations.all_operations import OPERATIONS
from gateway.noc.api.routes import VERSION


@click.group()
def api() -> None:
    """Descriptions of the HTTP API and the feed.

    Every installation serves the same at /api/v1/.
    """


@api.command("openapi")
def write_openapi() -> None:
    """Print the HTTP API as OpenAPI 3.1."""
    _write(openapi.document(OPERATIONS, version=VERSION))


@api.command("asyncapi")
def write_asyncapi() -> None:
    """Print MQTT and the feed as AsyncAPI 3.0."""
    _write(asyncapi.document(version=VERSION))


def _write(document: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
