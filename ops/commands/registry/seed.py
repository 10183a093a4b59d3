"""`vigil seed`: the first data of a development stack."""

from __future__ import annotations

import secrets

import click

from ops.environment import apply_environment, home, write_private
from services.contracts.errors import Refused
from services.directory.registry.store import DirectoryStore
from services.directory.users import passwords
from services.directory.zones.store import ZoneStore
from services.platform import config
from services.platform.database import Database

SITE = {"lat": 12.9716, "lon": 77.5946}
RADIUS_M = 500


@click.command()
def seed() -> None:
    """Fill an empty development database.

    With a tenant, a site with its zone, and users who can log in.
    """
    apply_environment()
    settings = config.load()
    if settings.environment == "production":
        raise Refused("seeding is for development; in production use `vigil tenant add` and `vigil user add`")

    database = Database(settings, name="seed", pool_size=1, as_owner=True)
    store = DirectoryStore(database)
    tenant_id = settings.default_tenant_id
    if store.list_rows("user", tenant_id=tenant_id, limit=1):
        click.echo("there are users already; nothing to do")
        return

    plant(store, ZoneStore(database), tenant_id)
    for role in ("admin", "operator"):
        add_person(store, tenant_id, role)

    click.echo("seeded tenant, site, zone and two users")


def plant(store: DirectoryStore, zones: ZoneStore, tenant_id: int) -> None:
    """Add the tenant with its site and zone, where an interrupted seed did not add them."""
    tenants = store.list_rows("tenant", tenant_id=None, limit=100_000)
    if tenant_id not in {tenant["tenant_id"] for tenant in tenants}:
        store.add("tenant", tenant_id=tenant_id, name="Demo Guarding")

    sites = store.list_rows("site", tenant_id=tenant_id, limit=1)
    site_id = (
        sites[0]["site_id"]
        if sites
        else store.add("site", tenant_id=tenant_id, name="Bengaluru HQ", time_zone="Asia/Kolkata", **SITE)
    )

    if not zones.list_zones(tenant_id=tenant_id, limit=1):
        area = {"type": "Point", "coordinates": [SITE["lon"], SITE["lat"]]}
        fields = {"name": "HQ perimeter", "site_id": site_id, "area": area, "radius_m": RADIUS_M}
        zones.add(fields, tenant_id=tenant_id, by="seed")


def add_person(store: DirectoryStore, tenant_id: int, role: str) -> None:
    """Add a user, with login and password in a private file of the home.

    `vigil up` shows the operator's file and the administrator's.
    """
    password = secrets.token_urlsafe(9)
    login = f"{role}@demo"
    name = "login.txt" if role == "operator" else f"login-{role}.txt"
    write_private(home() / name, f"user {login}\npassword {password}\n")
    hashed = passwords.hash_password(password)
    store.add("user", tenant_id=tenant_id, login=login, name=f"Demo {role}", role=role, password_hash=hashed)
