"""What may be measured of an installation besides its messages: disk, clocks, certificates, partitions, backups.

Used by `vigil health`, which judges it, and by the watchdog, which shows it to Prometheus.
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

from ops import line
from ops.watchdog.sources import login_of_checks
from services.config import Config
from services.errors import Unavailable
from services.providers import Database

CLOCK = text("SELECT extract(epoch FROM clock_timestamp())")
SIZE = text("SELECT pg_database_size(current_database())")
PARTITIONS = text("SELECT table_name, default_rows, horizon FROM vigil_partition_report()")
LAST_SUCCESS = "last-success"
TIMEOUT_S = 5.0


class Partitions(NamedTuple):
    """A partitioned table: rows that no partition wanted (counted up to 10,000), and until when it is made ahead."""

    table: str
    default_rows: int
    horizon: datetime | None


def free_share(home: Path) -> float:
    """Free share, 0 to 1, of the file system that holds `home`."""
    usage = shutil.disk_usage(home if home.exists() else Path("/"))
    return usage.free / usage.total


def clock_offset_s(database: Database) -> float:
    """This machine's clock less PostgreSQL's, in seconds; half of the round trip is taken off. Raises `Unavailable`."""
    with database.across() as connection:
        asked_s = time.time()
        theirs_s = float(connection.execute(CLOCK).scalar_one())
        return (asked_s + time.time()) / 2 - theirs_s


def database_size_bytes(database: Database) -> int:
    with database.across() as connection:
        return int(connection.execute(SIZE).scalar_one())


def partitions(database: Database) -> list[Partitions]:
    """Raises `Unavailable`."""
    with database.across() as connection:
        return [Partitions(*row) for row in connection.execute(PARTITIONS)]


def certificates(config: Config, home: Path) -> Iterator[tuple[str, datetime]]:
    """(name, end) of those that the parts show each other: files of the home, and what the broker shows."""
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
    """The end of what is shown there, whoever signed it."""
    try:
        pem = ssl.get_server_certificate((host, port), timeout=TIMEOUT_S)
    except OSError as error:
        raise Unavailable(f"no certificate is shown at {host}:{port}: {error}") from error
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc


def _shown_by_broker(config: Config) -> datetime:
    mqtt = config.mqtt
    username, password = login_of_checks(config)
    sock: Any = line.connect(mqtt, "vigil-certificate", username=username, password=password)
    try:
        shown = sock.getpeercert()
    finally:
        sock.close()
    if not shown:
        raise Unavailable("the MQTT broker shows no certificate")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


def backup_directory(config: Config, home: Path) -> Path:
    """Where backups are."""
    return Path(config.backup.directory) if config.backup.directory else home / "backups"


def last_backup(directory: Path) -> datetime | None:
    """When the newest backup was made that was also restored for proof; None: never."""
    path = directory / LAST_SUCCESS
    return datetime.fromisoformat(path.read_text().strip()) if path.exists() else None
