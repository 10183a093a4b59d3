"""`vigil broker`: all files that Vigil's own Mosquitto reads, on any machine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.mqtt import access_control
from ops.environment import apply_environment, write_private
from ops.servers import mosquitto
from services.contracts.errors import Misconfigured
from services.platform import config
from services.platform.config import Config

HEALTH_USER = "vigil-health"
PORTS = {"mqtt": 1883, "mqtts": 8883, "mqtts_certificate": 8884}


@click.group()
def broker() -> None:
    """The MQTT broker's own files."""


@broker.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    help="A name or address that clients reach the broker by; repeat it.",
)
@click.option("--listen", default="0.0.0.0", show_default=True, help="Where the TLS listeners listen.")
@click.option("--port", default=PORTS["mqtt"], show_default=True, help="Plain, on the loopback address only.")
@click.option("--tls-port", default=PORTS["mqtts"], show_default=True, help="TLS with name and password.")
@click.option(
    "--certificate-port",
    default=PORTS["mqtts_certificate"],
    show_default=True,
    help="TLS with a client certificate.",
)
@click.option(
    "--authority",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep ca.pem and ca-key.pem here, where the broker cannot read the key.",
)
@click.option(
    "--trust",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Put the authority's certificate here too, for clients (MQTT_CA_FILE).",
)
@click.option("--plugin", default="", help="Path of mosquitto_dynamic_security.so where the broker runs.")
def write(
    directory: Path,
    hosts: Sequence[str],
    listen: str,
    port: int,
    tls_port: int,
    certificate_port: int,
    authority: Path | None,
    trust: Path | None,
    plugin: str,
) -> None:
    """Write the broker's files into DIRECTORY.

    These are mosquitto.conf, rights, certificates and Vigil's own users. Another run keeps sources,
    keys and certificates that are still good. It takes over changed passwords
    (MQTT_BROKER_PASSWORD, MQTT_ADMIN_PASSWORD, MQTT_WATCHDOG_PASSWORD). Restart the broker then.
    """
    apply_environment()
    settings = config.load()
    directory = directory.absolute()
    file = mosquitto.write_configuration(
        directory,
        ports={"mqtt": port, "mqtts": tls_port, "mqtts_certificate": certificate_port},
        people={**_people(settings), HEALTH_USER: (_health_password(directory), access_control.HEALTH)},
        prefix=settings.mqtt.topic_prefix,
        anonymous=False,
        tls_host=listen,
        hosts=hosts,
        authority=authority,
        plugin_file=plugin or str(mosquitto.plugin()),
    )

    if trust:
        trust.parent.mkdir(parents=True, exist_ok=True)
        trust.write_bytes((directory / "tls" / "ca.pem").read_bytes())

    click.echo(f"wrote {file}")


def _people(settings: Config) -> dict[str, tuple[str, str]]:
    mqtt, watchdog = settings.mqtt, settings.watchdog
    people = {
        watchdog.mqtt_username: (watchdog.mqtt_password, access_control.WATCHDOG),
        mqtt.username: (mqtt.password, access_control.GATEWAY),
        mqtt.admin_username: (mqtt.admin_password, access_control.ADMIN),
    }

    for variable, value in (
        ("MQTT_BROKER_USERNAME", mqtt.username),
        ("MQTT_BROKER_PASSWORD", mqtt.password),
        ("MQTT_ADMIN_PASSWORD", mqtt.admin_password),
        ("MQTT_WATCHDOG_PASSWORD", watchdog.mqtt_password),
    ):
        if not value:
            raise Misconfigured(
                f"{variable} is not set; the broker must know the gateway, its administrator and the watchdog"
            )

    return people


def _health_password(directory: Path) -> str:
    """Return the password of the health check, and make it when there is none.

    It is kept in a file in the form of mosquitto_sub's options: `XDG_CONFIG_HOME=DIRECTORY/health
    mosquitto_sub ...`.
    """
    file = directory / "health" / "mosquitto_sub"
    if file.exists():
        return file.read_text().split()[-1]
    password = secrets.token_urlsafe(24).replace("-", "_")
    write_private(file, f"-u {HEALTH_USER}\n-P {password}\n")
    return password
