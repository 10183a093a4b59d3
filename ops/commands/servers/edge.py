"""`vigil edge`: the files that HAProxy reads."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from ops.environment import apply_environment
from ops.servers.edge import certificate as edge_certificate
from services.platform import config


@click.group()
def edge() -> None:
    """The HTTP edge's own files."""


@edge.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--authority",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where ca.pem and ca-key.pem are kept; made unless they are there.",
)
@click.option(
    "--host", help="The name of the control room; left out, the one in VIGIL_PUBLIC_URL, else localhost."
)
def certificate(file: Path, authority: Path, host: str | None) -> None:
    """Keep the HTTP edge's certificate in FILE.

    FILE has certificate, chain and key. A certificate that the operator brought stays. One of
    Vigil's own authority is made again a month before its end, or for another name. Restart HAProxy
    then.
    """
    apply_environment()
    host = host or urlsplit(config.load().notifications.public_url).hostname or "localhost"
    kept = edge_certificate.keep(file, authority=authority, host=host)
    click.echo(
        f"{file} {kept.value}" if kept is not edge_certificate.KeepOutcome.MADE else f"made {file} for {host}"
    )
