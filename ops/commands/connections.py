"""Databases that commands open, with the settings of the environment."""

from __future__ import annotations

from ops.environment import apply_environment
from services.platform import config
from services.platform.database import Database


def service_database() -> Database:
    """Return the database in the roles of a service: a query sees one tenant."""
    apply_environment()
    return Database(config.load(), name="cli", pool_size=1)


def owner_database() -> Database:
    """Return the database in the role of the owner: a command may change all tenants' rows."""
    apply_environment()
    return Database(config.load(), name="cli", pool_size=1, as_owner=True)
