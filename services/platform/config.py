"""Reader of `config.yaml`: substitutes variables, checks types, names the faulty setting."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from services.contracts.errors import Misconfigured, Refused
from services.contracts.retention_classes import RetentionDays
from services.platform.files.text_files import text_of

SECRETS = frozenset(
    {
        "JWT_SECRET",
        "MQTT_BROKER_PASSWORD",
        "MQTT_ADMIN_PASSWORD",
        "MQTT_WATCHDOG_PASSWORD",
        "AMQP_URI",
        "REDIS_URL",
        "DATABASE_URL",
        "VIGIL_OWNER_DATABASE_URL",
        "VIGIL_SUPERUSER_DATABASE_URL",
        "SMTP_URL",
        "ALERT_URL_RECIPIENTS",
        "VIGIL_WEBHOOK_SECRET",
    }
)
"""Variables whose value may come from a file, which the variable NAME_FILE names.

Those of SMS providers may, too: each provider declares its own.

CHANNELS_ENCRYPTION_KEY_FILE is not one of these. It is a setting of its own, because that file is
watched while Vigil runs.
"""
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::(?P<default>[^}]*))?\}")


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    port: int
    username: str
    password: str
    admin_username: str
    admin_password: str
    ca_file: str
    topic_prefix: str
    client_id: str
    instance: str
    shared_group: str
    shared_session_expiry_s: int
    leaving: bool
    keepalive_s: int
    session_expiry_s: int


class SourceLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    per_s: Annotated[float, msgspec.Meta(gt=0)]
    burst: Annotated[int, msgspec.Meta(ge=1)]


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_payload_bytes: int
    max_depth: int
    max_clock_ahead_s: float
    max_clock_age_s: float
    batch_max_messages: int
    batch_max_bytes: int
    batch_max_age_s: float
    batch_light_messages: int
    batch_light_age_s: float
    batches_in_flight: int
    receive_maximum_bulk: int
    receive_maximum_alert: int
    source_limit_bulk: SourceLimit
    source_limit_alert: SourceLimit
    source_backlog: Annotated[int, msgspec.Meta(ge=1)]
    first_press_s: Annotated[float, msgspec.Meta(gt=0)]
    owntracks: bool
    retained_sweep_s: float


class AmqpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    uri: str
    publish_deadline_s: float
    rpc_timeout_s: float
    retry_delays_s: list[int]
    queue_max_bytes: int
    delivery_limit: int
    heartbeat_s: int
    shards: Annotated[int, msgspec.Meta(ge=1, le=64)]


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    key_prefix: str


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    owner_url: str
    connect_timeout_s: int
    statement_timeout_s: float
    lock_timeout_s: float
    dedup_window_days: int
    process: str = ""
    """The process whose roles are taken, set by `ops.run`. Empty: those of operators' commands."""


class FeedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    encryption: Literal["fernet", "none", "off"]
    encryption_keys: str
    encryption_keys_file: str
    max_frames: int
    positions_shortest_interval_s: float
    positions_interval_s: float


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1)]
    window_s: Annotated[float, msgspec.Meta(gt=0)]


class NocSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    port: int
    server_host: str
    feed_port: int
    api_port: int
    handshake_timeout_s: Annotated[float, msgspec.Meta(gt=0)]
    heartbeat_interval_s: float
    idle_timeout_s: float
    stall_timeout_s: Annotated[float, msgspec.Meta(gt=0)]
    max_frame_bytes: int
    outbox_max_frames: int
    outbox_max_bytes: int
    sockets_per_user: Annotated[int, msgspec.Meta(ge=1)]
    sockets_per_tenant: Annotated[int, msgspec.Meta(ge=1)]
    client_messages: Annotated[int, msgspec.Meta(ge=1)]
    client_messages_window_s: Annotated[float, msgspec.Meta(gt=0)]
    client_frames: Annotated[int, msgspec.Meta(ge=1)]
    client_bytes: Annotated[int, msgspec.Meta(ge=1)]
    body_timeout_s: Annotated[float, msgspec.Meta(gt=0)]
    answer_timeout_s: Annotated[float, msgspec.Meta(gt=0)]
    connections: Annotated[int, msgspec.Meta(ge=1)]
    connections_per_address: Annotated[int, msgspec.Meta(ge=1)]
    user_requests: RateLimit
    address_requests: RateLimit
    open_requests: RateLimit
    provider_requests: RateLimit
    password_checks: Annotated[int, msgspec.Meta(ge=1)]
    password_queue: Annotated[int, msgspec.Meta(ge=0)]
    password_wait_s: Annotated[float, msgspec.Meta(gt=0)]
    heavy_requests: Annotated[int, msgspec.Meta(ge=1)]
    heavy_queue: Annotated[int, msgspec.Meta(ge=0)]
    heavy_wait_s: Annotated[float, msgspec.Meta(gt=0)]
    allowed_origins: str
    metrics_allowed_ips: str
    trusted_proxies: str
    jwt_secret: str
    jwt_jwks_url: str
    jwt_issuer: str
    jwt_audience: str
    token_lifetime_s: int
    token_max_age_s: Annotated[int, msgspec.Meta(ge=60)]
    session_lifetime_s: int
    login_failures: int
    login_window_s: int
    ticket_lifetime_s: int
    map_style_url: str
    map_pmtiles_file: str

    def port_of(self, service: str) -> tuple[int, str]:
        """Return the port on which an HTTP service listens behind HAProxy, and the variable that sets it."""
        return {
            "noc_gateway": (self.feed_port, "VIGIL_FEED_PORT"),
            "noc_api": (self.api_port, "VIGIL_API_PORT"),
        }[service]


class StormSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alerts: int
    window_s: float
    quiet_s: float


class AlertsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: dict[str, Any]
    storm: StormSettings
    shelve_max_s: float
    press_again_s: Annotated[float, msgspec.Meta(ge=0)]
    evidence_key_file: str


Above0 = Annotated[float, msgspec.Meta(gt=0)]
AtLeast0 = Annotated[float, msgspec.Meta(ge=0)]
AtLeast1 = Annotated[int, msgspec.Meta(ge=1)]


class LocationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accuracy_default_m: Above0
    accuracy_floor_m: Above0
    scatter_fixes: Annotated[int, msgspec.Meta(ge=4, le=64)]
    scatter_window_s: Above0
    max_speed_mps: Above0
    max_jump_m: Above0
    relocate_fixes: AtLeast1
    relocate_s: AtLeast0
    confirm_fixes: AtLeast1
    confirm_weight: AtLeast0
    confirm_s: Above0
    margin_cap_radii: Above0
    repeat_interval_s: Above0
    settle_s: Above0
    silence_limit_s: AtLeast0
    device_silence_limit_s: AtLeast0
    sensor_silence_limit_s: AtLeast0
    system_silence_limit_s: AtLeast0
    alert_silence_limit_s: AtLeast0 = 86_400


class NotificationsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email_recipients: str
    sms_recipients: str
    push_recipients: str
    url_recipients: str
    public_url: str
    smtp_url: str
    fcm_credentials_file: str
    fcm_server_key: str
    fcm_api_url: str
    webhook_secret: str
    webhook_private: bool
    webhook_ports: list[Annotated[int, msgspec.Meta(ge=1, le=65535)]]
    call_deadline_s: float
    calls_at_once: int
    url_calls_at_once: Annotated[int, msgspec.Meta(ge=1)]
    url_calls_of_tenant: Annotated[int, msgspec.Meta(ge=1)]
    url_calls_of_destination: Annotated[int, msgspec.Meta(ge=1)]
    first_retry_s: float
    longest_retry_s: float
    attempts: int
    failover_after: int
    circuit_failures: int
    circuit_reset_s: float
    rate_limit: RateLimit
    digest_at: str
    link_lifetime_s: int
    providers: dict[str, str | dict[str, str]] = {}
    """The other keys of the section: settings that SMS providers declare."""


class RetentionSettings(RetentionDays, frozen=True, forbid_unknown_fields=True, kw_only=True):
    run_hour: Annotated[int, msgspec.Meta(ge=0, le=23)]
    weeks_ahead: Annotated[int, msgspec.Meta(ge=2, le=50)]
    shift_tolerance_s: Annotated[float, msgspec.Meta(ge=0, le=7200)]


class WatchdogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tenant_id: int
    interval_s: float
    deadline_s: float
    certificates: str
    mqtt_username: str
    mqtt_password: str


class BackupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    directory: str
    keep: int


class SupervisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stall_timeout_s: float
    work_timeout_s: float


class LoggingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration; `config.yaml` explains the fields and units."""

    environment: Literal["development", "production"]
    registration: Literal["open", "closed"]
    default_tenant_id: int
    mqtt: MqttSettings
    gateway: GatewaySettings
    amqp: AmqpSettings
    redis: RedisSettings
    database: DatabaseSettings
    feed: FeedSettings
    noc: NocSettings
    workers: dict[str, int]
    connections: dict[str, int]
    rules: list[dict[str, Any]]
    alerts: AlertsSettings
    location: LocationSettings
    notifications: NotificationsSettings
    retention: RetentionSettings
    watchdog: WatchdogSettings
    backup: BackupSettings
    supervision: SupervisionSettings
    logging: LoggingSettings


def substitute(node: Any, environ: Mapping[str, str], secrets: Collection[str] = SECRETS) -> Any:
    """Put environment variables into a parsed YAML tree.

    A scalar that is one whole `${NAME}` takes YAML's type of the value: `8000` becomes a number
    only where the configuration wants one. Text around a variable stays text.

    Args:
        secrets: the variables whose value may come from a file.

    Raises:
        Misconfigured: A variable is not set; the message names it.
    """
    if isinstance(node, dict):
        return {key: substitute(value, environ, secrets) for key, value in node.items()}
    if isinstance(node, list):
        return [substitute(value, environ, secrets) for value in node]
    if not isinstance(node, str):
        return node

    def value_of(match: re.Match[str]) -> str:
        value = value_or_file(match["name"], environ, secrets)
        value = match["default"] if value is None else value
        if value is None:
            raise Misconfigured(
                f"config.yaml wants the environment variable {match['name']}, which is not set"
            )
        return value

    return VARIABLE.sub(value_of, node)


def value_or_file(name: str, environ: Mapping[str, str], secrets: Collection[str] = SECRETS) -> str | None:
    """Return the value of a variable; None when it is not set.

    The value of a secret may be the content of the file that NAME_FILE names. Of the two variables,
    an empty one counts as not set, because environment files list every name.

    Raises:
        Misconfigured: Both variables are set, or the file cannot be read.
    """
    file = environ.get(f"{name}_FILE") if name in secrets else None
    if not file:
        return environ.get(name)
    if environ.get(name):
        raise Misconfigured(f"{name} and {name}_FILE are both set; leave one of them out")

    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"{name} is to come from {name}_FILE, and {file} cannot be read: {error};"
            f" give the file to the user that runs Vigil, or set {name}"
        ) from error


def parse(text: str, environ: Mapping[str, str]) -> Config:
    """Make a `Config` of YAML text.

    Raises:
        Misconfigured: The text is not valid; the message says which field, and what it should be.
    """
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Misconfigured(f"config.yaml is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return msgspec.convert(_filled(tree, environ), Config, strict=False)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"config.yaml: {error}") from error


def _filled(tree: Any, environ: Mapping[str, str]) -> Any:
    """Return the tree with its variables filled in, and the settings of providers apart.

    The settings of providers are the keys of `notifications` that are no fields of it. Each may
    come from a file.
    """
    section = tree.get("notifications") if isinstance(tree, dict) else None
    if not isinstance(section, dict):
        return substitute(tree, environ)

    own = set(NotificationsSettings.__struct_fields__) - {"providers"}
    of_providers = {key: value for key, value in section.items() if key not in own}
    named = {match["name"] for match in VARIABLE.finditer(str(of_providers))}
    known = {key: value for key, value in section.items() if key in own}
    filled = substitute({**tree, "notifications": known}, environ)

    filled["notifications"]["providers"] = substitute(of_providers, environ, named)
    return filled


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file that `VIGIL_CONFIG` names, else `config.yaml` beside the packages.

    Raises:
        Misconfigured: The file cannot be read, or is not valid.
    """
    env = os.environ if environ is None else environ
    path = path or Path(env.get("VIGIL_CONFIG") or Path(__file__).resolve().parents[2] / "config.yaml")
    try:
        text = text_of(path.read_bytes())
    except (OSError, Refused) as error:
        raise Misconfigured(f"the configuration file {path} cannot be read: {error}") from error
    return parse(text, env)
