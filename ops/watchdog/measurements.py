"""Measures of an installation besides its messages.

They cover disk, clocks, certificates, partitions and backups.

`vigil health` judges them, and the watchdog exports them to Prometheus.
"""

from __future__ import annotations

import shutil
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from sqlalchemy import text

from ops.servers import mqtt_connection
from ops.watchdog.sources import login_of_checks
from services.contracts.errors import Unavailable
from services.platform.config import Config
from services.platform.database import Database

CLOCK = text("SELECT extract(epoch FROM clock_timestamp())")
SIZE = text("SELECT pg_database_size(current_database())")
PARTITIONS = text("SELECT table_name, default_rows, horizon FROM vigil_partition_report()")
LAST_SUCCESS = "last-success"
TIMEOUT_S = 5.0


class PartitionedTable(NamedTuple):
    """A partitioned table.

    Attributes:
        table: its name.
        default_rows: number of rows that fit no partition, counted up to 10,000.
        horizon: time until which partitions are made ahead.
    """

    table: str
    default_rows: int
    horizon: datetime | None


def free_share(home: Path) -> float:
    """Return the free share, 0 to 1, of the file system that holds `home`."""
    usage = shutil.disk_usage(home if home.exists() else Path("/"))
    return usage.free / usage.total


def clock_offset_s(database: Database) -> float:
    """Return this machine's clock minus PostgreSQL's, in seconds, without half of the round trip.

    Raises:
        Unavailable: PostgreSQL does not answer.
    """
    with database.across() as connection:
        asked_s = time.time()
        theirs_s = float(connection.execute(CLOCK).scalar_one())
        return (asked_s + time.time()) / 2 - theirs_s


def database_size_bytes(database: Database) -> int:
    with database.across() as connection:
        return int(connection.execute(SIZE).scalar_one())


def partitions(database: Database) -> list[PartitionedTable]:
    """Return the partitioned tables. Raises `Unavailable`."""
    with database.across() as connection:
        return [PartitionedTable(*row) for row in connection.execute(PARTITIONS)]


def certificates(config: Config, home: Path) -> Iterator[tuple[str, datetime]]:
    """Yield (name, end) of the certificates that Vigil's parts present to each other.

    They are files of the home, and the certificate that the broker presents.
    """
    files = {
        path.stem: path
        for path in sorted((home / "mosquitto" / "tls").glob("*.pem"))
        if "key" not in path.name
    }

    if config.mqtt.ca_file:
        files["mqtt-ca"] = Path(config.mqtt.ca_file)

    for word in filter(None, (word.strip() for word in config.watchdog.certificates.split(","))):
        host, colon, port = word.rpartition(":")
        if colon and port.isdigit():
            yield word, _shown_at(host, int(port))
        else:
            files[word] = Path(word)

    for name, path in files.items():
        for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
            yield name, certificate.not_valid_after_utc

    if config.mqtt.ca_file:
        yield "mqtt-broker", _shown_by_broker(config)


def _shown_at(host: str, port: int) -> datetime:
    """Return the end of the certificate that is presented at an address, by any issuer."""
    try:
        pem = ssl.get_server_certificate((host, port), timeout=TIMEOUT_S)
    except OSError as error:
        raise Unavailable(f"no certificate is shown at {host}:{port}: {error}") from error
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc


def _shown_by_broker(config: Config) -> datetime:
    mqtt = config.mqtt
    username, password = login_of_checks(config)
    sock: Any = mqtt_connection.connect(mqtt, "vigil-certificate", username=username, password=password)

    try:
        shown = sock.getpeercert()
    finally:
        sock.close()

    if not shown:
        raise Unavailable("the MQTT broker shows no certificate")

    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


def backup_directory(config: Config, home: Path) -> Path:
    """Return the directory of the backups."""
    return Path(config.backup.directory) if config.backup.directory else home / "backups"


def last_backup(directory: Path) -> datetime | None:
    """Return the time of the newest verified backup, or None when there is none.

    A backup is verified by a restore.
    """
    path = directory / LAST_SUCCESS
    return datetime.fromisoformat(path.read_text().strip()) if path.exists() else None
