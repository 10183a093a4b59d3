"""The watchdog's own tenant, device and guard, so that no test message notifies anybody."""

from __future__ import annotations

import json

from sqlalchemy import text

from gateway.mqtt.access_control import TEST_TOPICS
from services.contracts.retention_classes import TENANT_CLASSES
from services.platform import database
from services.platform.config import Config
from services.platform.database import transaction

ALERT_TOPIC, POSITION_TOPIC = TEST_TOPICS
DEVICE = ALERT_TOPIC.rsplit("/", 1)[1]
GUARD = POSITION_TOPIC.split("/")[1]

# No test alert notifies anybody: it is closed before the first step.
POLICY = {"UNKNOWN": {"steps": [{"after_s": 7 * 86_400, "channels": ["email"], "who": ["contacts"]}]}}
KEPT_DAYS = 2
"""Test messages are of no use once later ones have come."""
STATEMENTS = (
    "INSERT INTO tenant (tenant_id, name) VALUES (:tenant_id, 'Vigil: test messages') ON CONFLICT DO NOTHING",
    "INSERT INTO device (device_id, tenant_id, name, family, registered_by)"
    " VALUES (:device, :tenant_id, 'Vigil: watchdog', 'alert', 'watchdog') ON CONFLICT DO NOTHING",
    "INSERT INTO guard (guard_id, tenant_id, name, registered_by)"
    " VALUES (:guard, :tenant_id, 'Vigil: watchdog', 'watchdog') ON CONFLICT DO NOTHING",
    "INSERT INTO escalation_policy (tenant_id, site_id, policy, changed_by)"
    " VALUES (:tenant_id, NULL, CAST(:policy AS jsonb), 'watchdog')"
    " ON CONFLICT (tenant_id, site_id) DO UPDATE SET policy = excluded.policy",
    "INSERT INTO retention_policy (tenant_id, class, days) SELECT :tenant_id, unnest(CAST(:classes AS text[])), :days"
    " ON CONFLICT (tenant_id, class) DO UPDATE SET days = excluded.days",
)


def login(config: Config) -> dict[str, str]:
    """Return name and password at the broker.

    Without a password the name is empty too, for a broker that lets everybody in.
    """
    watchdog = config.watchdog
    return {
        "username": watchdog.mqtt_username if watchdog.mqtt_password else "",
        "password": watchdog.mqtt_password,
    }


def login_of_checks(config: Config) -> tuple[str, str]:
    """Return the name and password for checks of servers.

    They are the gateway's when its password is set. The watchdog's process knows only its own.
    """
    if config.mqtt.password:
        return config.mqtt.username, config.mqtt.password
    known_as = login(config)
    return known_as["username"], known_as["password"]


def prepare(config: Config) -> None:
    """Register the watchdog's tenant and sources, as the tables' owner.

    Harmless when they are there. Raises `Unavailable`.
    """
    values = {
        "tenant_id": config.watchdog.tenant_id,
        "device": DEVICE,
        "guard": GUARD,
        "policy": json.dumps(POLICY),
        "classes": list(TENANT_CLASSES),
        "days": KEPT_DAYS,
    }

    engine = database.make_engine(config, name="watchdog-prepare", pool_size=1, as_owner=True)
    try:
        with transaction(engine) as connection:
            for statement in STATEMENTS:
                connection.execute(text(statement), values)
    finally:
        engine.dispose()
