"""Tests of the commands that prepare servers elsewhere, on real servers.

A second run changes nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from ops.local import ports, servers
from ops.local.stack import Stack
from services.platform.database import DATABASE_ROLES
from tests.conftest import admin_cursor
from tests.support.commands import run_vigil
from tests.support.mqtt_device import ConnectionRefused, MqttClient

GATEWAY, ADMIN, WATCHDOG = (f"Hs82jsk2Kd-{who}" for who in ("gateway", "admin", "watchdog"))


@pytest.fixture
def fresh(servers: Stack) -> Iterator[dict[str, str]]:
    """Yield addresses of a database, an owner and a services' login that do not exist yet."""
    name = f"p{secrets.token_hex(6)}"
    address = servers.addresses()["postgres"]
    environment = {
        name: value for name, value in servers.operator_environment().items() if "DATABASE" not in name
    }
    yield {
        **environment,
        "VIGIL_HOME": str(servers.home / name),
        "VIGIL_SUPERUSER_DATABASE_URL": servers.superuser_url(),
        "VIGIL_OWNER_DATABASE_URL": f"postgresql://{name}_owner:first@{address}/{name}",
        "DATABASE_URL": f"postgresql://{name}_service:second@{address}/{name}",
    }
    with admin_cursor(servers) as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for role in (f"{name}_owner", f"{name}_service"):
            cursor.execute(f"DROP ROLE IF EXISTS {role}")


def test_a_bare_server_is_prepared_once_and_takes_the_migrations(fresh: dict[str, str]) -> None:
    assert "database p" in run_vigil(fresh, "database", "prepare")
    assert "prepared already" in run_vigil(fresh, "database", "prepare")
    assert "schema is at" in run_vigil(fresh, "migrate", "up")
    with psycopg2.connect(fresh["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        for role in DATABASE_ROLES:
            cursor.execute(f"SET ROLE {role}")
        cursor.execute("RESET ROLE")
        cursor.execute("SELECT rolcreatedb, rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False, False)
        cursor.execute("SELECT count(*) FROM pg_tables WHERE tableowner = current_user")
        assert cursor.fetchone() == (0,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DROP TABLE app_user")


def test_a_changed_password_is_carried_to_the_server(fresh: dict[str, str]) -> None:
    run_vigil(fresh, "database", "prepare")
    with (
        psycopg2.connect(fresh["VIGIL_SUPERUSER_DATABASE_URL"].replace("+psycopg2", "")) as connection,
        connection.cursor() as cursor,
    ):
        held = "SELECT rolpassword FROM pg_authid WHERE rolname LIKE %s"
        name = fresh["DATABASE_URL"].rpartition("/")[2]
        cursor.execute(held, (f"{name}_service",))
        before = cursor.fetchone()
        run_vigil(
            {**fresh, "DATABASE_URL": fresh["DATABASE_URL"].replace("second", "third")}, "database", "prepare"
        )
        cursor.execute(held, (f"{name}_service",))
        assert cursor.fetchone() != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"VIGIL_SUPERUSER_DATABASE_URL": ""}, "VIGIL_SUPERUSER_DATABASE_URL is not set"),
        ({"VIGIL_OWNER_DATABASE_URL": ""}, "VIGIL_OWNER_DATABASE_URL is not set"),
        ({"DATABASE_URL": "postgresql://a@127.0.0.1/vigil"}, "DATABASE_URL must name a login, its password"),
        ({"DATABASE_URL": "postgresql://a:b@127.0.0.1/other"}, "names the database"),
        ({"VIGIL_SUPERUSER_DATABASE_URL": "postgresql://x:y@127.0.0.1:1/x"}, "as superuser at 127.0.0.1"),
    ],
)
def test_what_is_missing_is_named(fresh: dict[str, str], changes: dict[str, str], words: str) -> None:
    said = run_vigil({**fresh, **changes}, "database", "prepare", check=False)
    assert words in said
    assert "Traceback" not in said


def test_who_is_no_superuser_is_told_so(fresh: dict[str, str], servers: Stack) -> None:
    service = servers.operator_environment()["DATABASE_URL"]
    said = run_vigil({**fresh, "VIGIL_SUPERUSER_DATABASE_URL": service}, "database", "prepare", check=False)
    assert "must name a superuser" in said


class WrittenBroker:
    """The files of `vigil broker write`, and a Mosquitto that reads them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "broker"
        self.authority = directory / "authority"
        self.trust = directory / "trust" / "ca.pem"
        chosen = ports.choose({}, prefer=False)
        self.ports = {name: chosen[name] for name in ("mqtt", "mqtts", "mqtts_certificate")}
        self.environment = {
            **os.environ,
            "VIGIL_HOME": str(directory / "home"),
            "MQTT_BROKER_ADDRESS": "127.0.0.1",
            "MQTT_BROKER_USERNAME": "vigil-gateway",
            "MQTT_BROKER_PASSWORD": GATEWAY,
            "MQTT_ADMIN_PASSWORD": ADMIN,
            "MQTT_WATCHDOG_PASSWORD": WATCHDOG,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, *hosts: str, check: bool = True, **changes: str) -> str:
        names = [part for host in hosts or ("127.0.0.1", "mqtt.example.com") for part in ("--host", host)]
        options = ["--listen", "127.0.0.1", "--authority", str(self.authority), "--trust", str(self.trust)]
        given = zip(("--port", "--tls-port", "--certificate-port"), self.ports.values(), strict=True)
        numbers = [str(part) for pair in given for part in pair]
        command = ["broker", "write", str(self.directory), *names, *options, *numbers]
        return run_vigil({**self.environment, **changes}, *command, check=check)

    def start(self) -> None:
        command = [servers.binary("mosquitto"), "-c", str(self.directory / "mosquitto.conf")]
        file = self.directory / "mosquitto.conf"
        # As root it must stay root: the user mosquitto cannot enter pytest's directories.
        user = "user root\n" if os.geteuid() == 0 else ""
        file.write_text(file.read_text().replace("sys_interval 10", "sys_interval 1") + user)
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        while not servers.answers(self.ports["mqtt"]):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)

    def over_tls(self) -> dict[str, str]:
        return {
            **self.environment,
            "MQTT_BROKER_PORT": str(self.ports["mqtts"]),
            "MQTT_CA_FILE": str(self.trust),
        }


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[WrittenBroker]:
    made = WrittenBroker(tmp_path)
    yield made
    made.stop()


def test_the_written_broker_lets_in_who_it_should_and_nobody_else(broker: WrittenBroker) -> None:
    broker.write()
    assert not (broker.directory / "tls" / "ca-key.pem").exists()
    broker.start()
    with pytest.raises(ConnectionRefused):
        MqttClient(broker.ports["mqtt"], "stranger")
    with pytest.raises(ConnectionRefused):
        MqttClient(broker.ports["mqtt"], "x", username="vigil-gateway", password="wrong")
    gateway = MqttClient(broker.ports["mqtt"], "x", username="vigil-gateway", password=GATEWAY)
    assert gateway.subscribe("alert/#")
    gateway.close()


def test_the_health_check_of_the_broker_hears_it_and_nothing_else(broker: WrittenBroker) -> None:
    broker.write()
    broker.start()
    sub = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.ports["mqtt"]), "-C", "1", "-W", "3"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(broker.directory / "health")}

    def heard(topic: str, environment: dict[str, str]) -> str:
        """Return the messages that the subscription got.

        A refused subscription ends with exit code 0 too, so only the messages count.
        """
        return subprocess.run(
            [*sub, "-t", topic], env=environment, capture_output=True, text=True, timeout=20, check=False
        ).stdout

    assert "seconds" in heard("$SYS/broker/uptime", environment)
    assert heard("$SYS/broker/uptime", {**os.environ, "HOME": "/nonexistent"}) == ""
    assert heard("$SYS/broker/version", environment) == ""
    assert heard("#", environment) == ""


def test_said_again_it_keeps_sources_keys_and_certificates_and_takes_new_passwords(
    broker: WrittenBroker,
) -> None:
    broker.write()
    rights = broker.directory / "dynamic-security.json"
    held = json.loads(rights.read_text())
    held["clients"].append({"username": "guard-1", "clientid": "guard-1", "roles": [{"rolename": "guard"}]})
    rights.write_text(json.dumps(held))
    files = [rights, broker.directory / "tls" / "server.pem", broker.authority / "ca.pem", broker.trust]
    before = [file.read_bytes() for file in files]
    broker.write()
    assert [file.read_bytes() for file in files] == before
    broker.write("mqtt2.example.com", MQTT_BROKER_PASSWORD="another")
    assert files[1].read_bytes() != before[1]
    assert files[2].read_bytes() == before[2]
    clients = {client["username"]: client for client in json.loads(rights.read_text())["clients"]}
    old = {client["username"]: client for client in held["clients"]}
    assert clients["guard-1"] == old["guard-1"]
    assert clients["vigil-gateway"] != old["vigil-gateway"]
    assert clients["vigil-admin"] == old["vigil-admin"]


def test_a_broker_without_passwords_is_not_written(broker: WrittenBroker) -> None:
    assert "MQTT_ADMIN_PASSWORD is not set" in broker.write(check=False, MQTT_ADMIN_PASSWORD="")
    assert "MQTT_WATCHDOG_PASSWORD is not set" in broker.write(check=False, MQTT_WATCHDOG_PASSWORD="")
    assert not broker.directory.exists()
