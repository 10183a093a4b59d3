"""Faults of a configuration that production must not start with. Pure.

Each fault is one sentence, with the variable and the remedy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.contracts.errors import Misconfigured
from services.feed.encryption import EVIDENCE_KEY_FILE, FEED_KEY_FILE, master_keys
from services.notifications.channels.provider import is_begun, text_of
from services.notifications.channels.sms_providers import SMS_PROVIDERS, needed_variables
from services.platform.config import Config
from services.platform.secret_strength import has_known_password, is_known_password, is_weak_key, is_weak_text
from services.platform.server_lists import amqp_nodes

LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
WIDEST_NETWORK = 65_536
ENCRYPTED = re.compile(r"\bsslmode=(require|verify-ca|verify-full)\b")
MIN_DISTINCT = 10
MIN_BROKER_PASSWORD_LENGTH = 20
"""Shortest password for a broker login, in characters.

Mosquitto does not count wrong passwords, and these logins work on its public listener
(docs/adr/0045).
"""
GUESSABLE = (
    f"is weak: it needs {MIN_BROKER_PASSWORD_LENGTH} random characters, because the broker counts no wrong ones;"
    " make one with: openssl rand -base64 24"
)

WEAK_KEY = "{name}: {which} is weak: it was not made at random; make one with {remedy}"
Files = Mapping[str, bytes]
"""Content of the key files that settings name, by variable (`services.feed.keyring.read_key_files`)."""


def problems(config: Config, *, files: Files, secrets: Collection[str] | None = None) -> list[str]:
    """Return the faults that keep this configuration from production; empty when there are none.

    Args:
        config: The configuration.
        files: Content of the key files by variable.
        secrets: The variables of the secrets that a process needs; None: all of them.
    """
    checks: dict[str, Callable[[Config], Iterator[str]]] = {
        "CHANNELS_ENCRYPTION_KEY": lambda config: _feed(config, files),
        "VIGIL_EVIDENCE_KEY_FILE": lambda config: _evidence(config, files),
        "JWT_SECRET": _tokens,
        "DATABASE_URL": _database,
        "AMQP_URI": _rabbitmq,
        "REDIS_URL": _redis,
        "MQTT_BROKER_PASSWORD": _mqtt,
    }

    wanted = [check for name, check in checks.items() if secrets is None or name in secrets]
    return [problem for check in (*wanted, _registration) for problem in check(config)]


def shortcomings(config: Config, environ: Mapping[str, str], modes: Mapping[str, int]) -> list[str]:
    """Return what an installation should have besides; Vigil starts without it.

    `modes`: secret files and their permissions.
    """
    return [
        *_outside(config),
        *_edge(config, environ),
        *_networks(config),
        *_transport(config),
        *_channels(config),
        *_providers(config),
        *_kept(environ),
        *_files(modes),
    ]


def _outside(config: Config) -> Iterator[str]:
    url = config.notifications.public_url
    if not url:
        yield "VIGIL_PUBLIC_URL is missing: messages have no link that acknowledges; set https://..."
    elif urlsplit(url).scheme != "https":
        yield f"VIGIL_PUBLIC_URL is {url}: links, passwords and tokens would travel in the clear; put TLS before it"

    for origin in filter(None, (part.strip() for part in config.noc.allowed_origins.split(","))):
        if urlsplit(origin).scheme != "https":
            yield f"VIGIL_ALLOWED_ORIGINS has {origin}: name https origins only"

    if config.notifications.webhook_private:
        yield "VIGIL_WEBHOOK_PRIVATE is true: tenants' webhooks reach this network; leave it out unless you need that"


def _edge(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the faults of the edge: TLS, and the addresses of clients behind a proxy.

    TLS ends at HAProxy, or at the operator's own proxy before it. Behind both, each client keeps
    its address.
    """
    if not environ.get("VIGIL_EDGE_CERTIFICATE") and not environ.get("VIGIL_EDGE_PROXIES"):
        yield (
            "VIGIL_EDGE_CERTIFICATE is missing: HAProxy has no HTTPS; name a PEM file with certificate, chain and key"
            " (`vigil edge certificate` makes one), or the proxy that has it in VIGIL_EDGE_PROXIES"
        )

    if not _is_loopback(config.noc.server_host) and not config.noc.trusted_proxies:
        yield (
            f"VIGIL_TRUSTED_PROXIES is missing: the processes listen on {config.noc.server_host}, and all clients"
            " behind HAProxy would count as one; name HAProxy's address"
        )


def _networks(config: Config) -> Iterator[str]:
    lists = {
        "PROMETHEUS_ALLOWED_IPS": (
            config.noc.metrics_allowed_ips,
            "strangers could read the metrics; name Prometheus alone",
        ),
        "VIGIL_TRUSTED_PROXIES": (
            config.noc.trusted_proxies,
            "any client could claim another address; name the proxy alone",
        ),
    }
    for variable, (text, harm) in lists.items():
        for network in filter(None, (part.strip() for part in text.split(","))):
            try:
                parsed = ipaddress.ip_network(network, strict=False)
            except ValueError:
                yield f"{variable} has {network}, which is not a network; for example 10.0.0.5/32"
                continue
            if parsed.num_addresses > WIDEST_NETWORK and not parsed.is_private:
                yield f"{variable} has {network}: {harm}"


def _transport(config: Config) -> Iterator[str]:
    """Yield the connections that leave this host without TLS.

    A host name without a dot is a container's, in a network within one host.
    """
    database = urlsplit(config.database.url)
    if _is_elsewhere(database.hostname) and not ENCRYPTED.search(database.query):
        yield f"DATABASE_URL goes to {database.hostname} without TLS; add ?sslmode=verify-full (or require)"
    for variable, url in (("AMQP_URI", config.amqp.uri), ("REDIS_URL", config.redis.url)):
        parsed = urlsplit(url)
        if _is_elsewhere(parsed.hostname) and parsed.scheme not in ("amqps", "rediss"):
            yield f"{variable} goes to {parsed.hostname} without TLS; use {parsed.scheme}s://"


def _channels(config: Config) -> Iterator[str]:
    settings = config.notifications
    sms = any(is_begun(provider, settings.providers) for provider in SMS_PROVIDERS)
    if not (settings.smtp_url or sms or settings.fcm_credentials_file):
        yield (
            "SMTP_URL, FCM_CREDENTIALS_FILE and the settings of an SMS provider are all missing: nobody outside the"
            f" control room is notified; for SMS set {needed_variables()}"
        )


def _kept(environ: Mapping[str, str]) -> Iterator[str]:
    if not environ.get("VIGIL_BACKUP_DIR"):
        yield "VIGIL_BACKUP_DIR is missing: nothing is backed up; name a directory on another disk"
    grafana = environ.get("GF_SECURITY_ADMIN_PASSWORD")
    if grafana is not None and is_known_password(grafana):
        yield "GF_SECURITY_ADMIN_PASSWORD is a default; make one with: openssl rand -base64 24"


def _files(modes: Mapping[str, int]) -> Iterator[str]:
    for file, mode in modes.items():
        if mode & 0o006:
            yield f"{file} may be read or written by every user of the machine; chmod 0600 (or 0640) {file}"


def _feed(config: Config, files: Files) -> Iterator[str]:
    feed = config.feed
    if feed.encryption != "fernet":
        yield f"NOC_FEED_ENCRYPTION is {feed.encryption}: the feed would travel in the clear; leave it out"

    name = FEED_KEY_FILE if feed.encryption_keys_file else "CHANNELS_ENCRYPTION_KEY"
    if feed.encryption_keys_file and name not in files:
        yield f"{name}: {feed.encryption_keys_file} cannot be read; give it to the user that runs Vigil"
        return

    try:
        keys = master_keys(files[name] if feed.encryption_keys_file else feed.encryption_keys)
    except Misconfigured as error:
        yield str(error)
        return

    if not keys:
        yield f"{name} is missing or holds no key; make one with `vigil keys generate`"

    for position, key in enumerate(keys):
        if is_weak_key(key):
            yield WEAK_KEY.format(name=name, which=f"key {position + 1}", remedy="`vigil keys generate`")


def _evidence(config: Config, files: Files) -> Iterator[str]:
    """Yield the fault of an evidence key that is weak.

    A missing file is made at its first use. A file without a key is refused by its reader.
    """
    try:
        key = load_pem_private_key(files[EVIDENCE_KEY_FILE], password=None)
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
        return

    if isinstance(key, Ed25519PrivateKey) and is_weak_key(key.private_bytes_raw()):
        yield WEAK_KEY.format(
            name=EVIDENCE_KEY_FILE,
            which=config.alerts.evidence_key_file,
            remedy="`vigil alert export`, once the file is moved away",
        )


def _tokens(config: Config) -> Iterator[str]:
    noc = config.noc
    if not noc.jwt_secret and not noc.jwt_jwks_url:
        yield "JWT_SECRET is missing; make one with: openssl rand -base64 48 (or set JWT_JWKS_URL)"
    elif noc.jwt_secret and is_weak_text(noc.jwt_secret):
        yield "JWT_SECRET is weak: it needs 32 random characters; make one with: openssl rand -base64 48"

    if noc.jwt_jwks_url:
        url = urlsplit(noc.jwt_jwks_url)
        if url.scheme != "https" and not _is_loopback(url.hostname):
            yield "JWT_JWKS_URL is not https: an attacker on the network could insert keys"
        if not noc.jwt_issuer:
            yield "JWT_ISSUER is missing; with JWT_JWKS_URL it names the issuer of accepted tokens"


def _providers(config: Config) -> Iterator[str]:
    settings = config.notifications
    urls = [
        (setting.variable, text_of(settings.providers, setting))
        for provider in SMS_PROVIDERS
        if is_begun(provider, settings.providers)
        for setting in provider.settings
        if setting.kind == "url"
    ]

    if settings.fcm_credentials_file:
        urls.append(("FCM_API_URL", settings.fcm_api_url))

    for variable, address in urls:
        url = urlsplit(address)
        if url.scheme != "https" and not _is_loopback(url.hostname):
            yield f"{variable} is not https: no message goes there, because passwords would travel in the clear"


def _database(config: Config) -> Iterator[str]:
    if has_known_password(config.database.url):
        yield "DATABASE_URL has a default or no password; give the services' login one of its own"
    if config.database.owner_url and has_known_password(config.database.owner_url):
        yield "VIGIL_OWNER_DATABASE_URL has a default or no password; give the owner one of its own"
    if config.database.owner_url and config.database.owner_url == config.database.url:
        yield (
            "DATABASE_URL and VIGIL_OWNER_DATABASE_URL are the same: services must not own the tables;"
            " make a login that is a member of vigil_tenant, vigil_ingest and vigil_login"
        )


def _rabbitmq(config: Config) -> Iterator[str]:
    if any(has_known_password(node) for node in amqp_nodes(config.amqp.uri)):
        yield "AMQP_URI has a default or no password; `rabbitmqctl add_user` makes a user of its own"


def _redis(config: Config) -> Iterator[str]:
    if has_known_password(config.redis.url):
        yield "REDIS_URL has a default or no password: every program of the machine could read and write what is there"


def _mqtt(config: Config) -> Iterator[str]:
    mqtt = config.mqtt
    if not mqtt.ca_file and not _is_loopback(mqtt.host):
        yield f"MQTT to {mqtt.host} is plain, beyond this machine; set MQTT_CA_FILE for TLS"
    if not mqtt.username or is_known_password(mqtt.password, login=mqtt.username):
        yield "MQTT_BROKER_USERNAME or MQTT_BROKER_PASSWORD is missing or a default; the broker must know the gateway"
    elif _is_guessable(mqtt.password):
        yield f"MQTT_BROKER_PASSWORD {GUESSABLE}"
    if mqtt.admin_password and _is_guessable(mqtt.admin_password):
        yield f"MQTT_ADMIN_PASSWORD {GUESSABLE}"


def _registration(config: Config) -> Iterator[str]:
    if config.registration == "open":
        yield "VIGIL_REGISTRATION is open: any stranger would become a source; set it to closed"


def _is_guessable(password: str) -> bool:
    return len(password) < MIN_BROKER_PASSWORD_LENGTH or len(set(password)) < MIN_DISTINCT


def _is_elsewhere(host: str | None) -> bool:
    return "." in (host or "") and not _is_loopback(host)


def _is_loopback(host: str | None) -> bool:
    return bool(LOOPBACK.fullmatch(host or ""))
