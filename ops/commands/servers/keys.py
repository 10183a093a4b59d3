"""`vigil keys`: the keys that seal the feed."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import click

from ops.environment import apply_environment, write_private
from ops.input_output.input_files import read_text
from ops.input_output.tables import as_json_option, show
from services.contracts.errors import NotFound, Refused
from services.feed import encryption
from services.feed.keyring import SETTLE_S, KeyRing
from services.platform import config
from services.platform.config import Config


@click.group()
def keys() -> None:
    """The keys that seal the feed (CHANNELS_ENCRYPTION_KEY)."""


def new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@keys.command()
def generate() -> None:
    """Print a new key, ready for CHANNELS_ENCRYPTION_KEY."""
    click.echo(new_key())


@keys.command("list")
@click.option("--tenant", type=int, help="Tenant id; the default tenant when left out.")
@as_json_option
def list_keys(tenant: int | None, as_json: bool) -> None:
    """List the ids of a tenant's keys, newest first; never the keys."""
    settings = _settings()
    tenant_id = tenant if tenant is not None else settings.default_tenant_id
    ring = KeyRing.from_config(settings)
    [sealing] = encryption.derived_keys([ring.sealing()], tenant_id)
    rows = [
        {"kid": kid, "tenant_id": tenant_id, "use": "seals and opens" if kid == sealing else "opens"}
        for kid in ring.of_tenant(tenant_id)
    ]
    show(rows, as_json=as_json)


@keys.command()
def rotate() -> None:
    """Put a new key in front. The old ones open what they sealed until `vigil keys remove`."""
    settings = _settings()
    path = settings.feed.encryption_keys_file
    if not path:
        listed = ",".join([new_key(), *filter(None, settings.feed.encryption_keys.split(","))])
        click.echo(
            "The keys are in the environment; set this for every process and restart, the NOC gateway first:"
        )
        click.echo(f"CHANNELS_ENCRYPTION_KEY={listed}")
        return

    _write(path, [new_key().encode(), *_held(path)])
    click.echo(f"a new key is in front; it seals from {SETTLE_S:g} s on, and the old ones still open")


@keys.command()
@click.argument("kid")
@click.option("--tenant", type=int, help="Tenant id that KID is of; the default tenant when left out.")
def remove(kid: str, tenant: int | None) -> None:
    """Take an old key away: what it sealed can no longer be opened by anybody."""
    settings = _settings()
    path = settings.feed.encryption_keys_file
    if not path:
        raise Refused(
            "the keys are in the environment; take the key out of CHANNELS_ENCRYPTION_KEY and restart"
        )

    tenant_id = tenant if tenant is not None else settings.default_tenant_id
    held = _held(path)

    ids = [encryption.key_id(encryption.tenant_key(base64.urlsafe_b64decode(key), tenant_id)) for key in held]
    if kid not in ids:
        raise NotFound(f"no key {kid} of tenant {tenant_id}; `vigil keys list` lists them")
    if ids.index(kid) == 0:
        raise Refused(f"{kid} is the key that seals; `vigil keys rotate` first")

    _write(path, [key for key, its_id in zip(held, ids, strict=True) if its_id != kid])
    click.echo(f"key {kid} is gone; sessions that still hold its frames start from a snapshot")


def _settings() -> Config:
    apply_environment()
    return config.load()


def _held(path: str) -> list[bytes]:
    text = read_text(Path(path)).replace("\n", ",")
    encryption.master_keys(text)  # reports what is wrong with the file before anything is written
    return [part.strip().encode() for part in text.split(",") if part.strip()]


def _write(path: str, held: list[bytes]) -> None:
    try:
        write_private(Path(path), "".join(f"{key.decode()}\n" for key in held))
    except OSError as error:
        raise Refused(
            f"{path} cannot be written to from here ({error.strerror}); where it is the host's file, write it there:"
            " docs/runbook.md, 'Rotate keys, certificates, passwords'"
        ) from error
