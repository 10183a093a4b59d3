"""Tests that each problem is one message that names the variable.

A sound configuration has none.
"""

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ops.hosting.production import problems, shortcomings
from services.contracts.errors import Misconfigured
from services.feed.keyring import KeyRing, read_key_files
from services.platform import config

SOUND = {
    "VIGIL_ENV": "production",
    "CHANNELS_ENCRYPTION_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
    "JWT_SECRET": base64.b64encode(os.urandom(48)).decode(),
    "DATABASE_URL": "postgresql://vigil_service:k3Jd82hs@db/vigil",
    "VIGIL_OWNER_DATABASE_URL": "postgresql://vigil:9sdJJ2ms@db/vigil",
    "AMQP_URI": "amqp://vigil:82jsHHd2@mq/vigil",
    "REDIS_URL": "redis://:29sjdHHw@redis/0",
    "MQTT_BROKER_ADDRESS": "mqtt.example",
    "MQTT_CA_FILE": "/etc/vigil/ca.pem",
    "MQTT_BROKER_USERNAME": "vigil-gateway",
    "MQTT_BROKER_PASSWORD": "Hs82jsk2KdQ9xv3LmPz7",
    "VIGIL_REGISTRATION": "closed",
}


def found(**changes: str) -> list[str]:
    settings = config.load(environ={**SOUND, **changes})
    return problems(settings, files=read_key_files(settings))


def test_a_sound_configuration_has_no_problem() -> None:
    assert found() == []
    assert found(MQTT_BROKER_ADDRESS="127.0.0.1", MQTT_CA_FILE="") == []
    assert found(JWT_SECRET="", JWT_JWKS_URL="https://id.example/keys", JWT_ISSUER="https://id.example") == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHANNELS_ENCRYPTION_KEY", ""),
        ("CHANNELS_ENCRYPTION_KEY", "not-a-key"),
        ("CHANNELS_ENCRYPTION_KEY", base64.urlsafe_b64encode(b"a" * 32).decode()),
        ("NOC_FEED_ENCRYPTION", "off"),
        ("NOC_FEED_ENCRYPTION", "none"),
        ("JWT_SECRET", ""),
        ("JWT_SECRET", "short"),
        ("JWT_SECRET", "changeme" * 5),
        ("JWT_SECRET", "a" * 64),
        ("JWT_JWKS_URL", "http://id.example/keys"),
        ("DATABASE_URL", "postgresql://vigil_service@db/vigil"),
        ("DATABASE_URL", "postgresql://vigil:vigil@db/vigil"),
        ("DATABASE_URL", SOUND["VIGIL_OWNER_DATABASE_URL"]),
        ("AMQP_URI", "amqp://guest:guest@mq//"),
        ("CHANNELS_ENCRYPTION_KEY", base64.urlsafe_b64encode(bytes(32)).decode()),
        ("CHANNELS_ENCRYPTION_KEY", base64.urlsafe_b64encode(bytes(range(32))).decode()),
        ("CHANNELS_ENCRYPTION_KEY", base64.urlsafe_b64encode(os.urandom(8) * 4).decode()),
        ("CHANNELS_ENCRYPTION_KEY", base64.urlsafe_b64encode(b"a passphrase that somebody typed").decode()),
        ("JWT_SECRET", "changeme-" * 5),
        ("JWT_SECRET", "abcdefghijklmnopqrstuvwxyz0123456789"),
        ("DATABASE_URL", "postgresql://db/vigil?user=vigil_service&password=postgres"),
        ("DATABASE_URL", "postgresql://vigil_service:%70ostgres@db/vigil"),
        ("VIGIL_OWNER_DATABASE_URL", "postgresql://vigil:Vigil123@db/vigil"),
        ("AMQP_URI", "amqp://vigil:82jsHHd2@mq1/vigil;amqp://guest:guest@mq2/vigil"),
        ("REDIS_URL", "redis://redis/0"),
        ("REDIS_URL", "redis://127.0.0.1/0"),
        ("REDIS_URL", "redis://telemetry:telemetry@127.0.0.1/0"),
        ("REDIS_URL", "redis+sentinel://:redis@a,b/mymaster/0"),
        ("MQTT_BROKER_PASSWORD", "vigil-gateway"),
        ("MQTT_CA_FILE", ""),
        ("MQTT_BROKER_USERNAME", ""),
        ("MQTT_BROKER_PASSWORD", "changeme"),
        ("MQTT_BROKER_PASSWORD", "Hs82jsk2Kd"),
        ("MQTT_ADMIN_PASSWORD", "Hs82jsk2Kd"),
        ("MQTT_ADMIN_PASSWORD", "changeme" * 4),
        ("VIGIL_REGISTRATION", "open"),
    ],
)
def test_each_problem_is_named_with_its_variable(variable: str, value: str) -> None:
    changed = {variable: value} | ({"JWT_ISSUER": "x"} if variable == "JWT_JWKS_URL" else {})
    [problem] = found(**changed)
    assert variable in problem or ("MQTT" in problem and "MQTT" in variable)


@pytest.mark.parametrize(
    "key", [bytes(32), b"\x07" * 32, bytes(range(1, 33)), b"0123456789abcdef" * 2, b"x" * 31 + b"y"]
)
def test_a_weak_feed_key_is_found_in_a_file_as_well(tmp_path: Path, key: bytes) -> None:
    good = base64.urlsafe_b64encode(os.urandom(32)).decode()
    file = tmp_path / "feed.keys"
    file.write_text(f"{good}\n{base64.urlsafe_b64encode(key).decode()}\n")
    [problem] = found(CHANNELS_ENCRYPTION_KEY="", CHANNELS_ENCRYPTION_KEY_FILE=str(file))
    assert "CHANNELS_ENCRYPTION_KEY_FILE: key 2 is weak" in problem
    with pytest.raises(Misconfigured, match="key 2 is weak"):
        KeyRing("", file=str(file), strict=True)
    file.write_text(good)
    assert found(CHANNELS_ENCRYPTION_KEY="", CHANNELS_ENCRYPTION_KEY_FILE=str(file)) == []
    assert len(KeyRing("", file=str(file), strict=True).all()) == 1


def test_a_feed_key_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    file = tmp_path / "feed.keys"
    for content in (None, "\n", "nonsense"):
        if content is not None:
            file.write_text(content)
        [problem] = found(CHANNELS_ENCRYPTION_KEY="", CHANNELS_ENCRYPTION_KEY_FILE=str(file))
        assert "CHANNELS_ENCRYPTION_KEY" in problem


def test_a_weak_evidence_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "evidence-key.pem"
    for seed, weak in ((b"\x01" * 32, True), (os.urandom(32), False)):
        key = Ed25519PrivateKey.from_private_bytes(seed)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        said = found(VIGIL_EVIDENCE_KEY_FILE=str(file))
        assert [line for line in said if "VIGIL_EVIDENCE_KEY_FILE" in line and "weak" in line] == said
        assert bool(said) == weak


def test_a_process_is_asked_for_its_own_secrets_only() -> None:
    bare = {"VIGIL_ENV": "production", "AMQP_URI": SOUND["AMQP_URI"]}
    settings = config.load(environ=bare)
    assert problems(settings, files={}, secrets={"AMQP_URI"}) == []
    assert len(problems(settings, files={}, secrets={"AMQP_URI", "JWT_SECRET", "DATABASE_URL"})) == 2


def test_all_problems_are_said_at_once() -> None:
    settings = config.load(environ={"VIGIL_ENV": "production", "VIGIL_REGISTRATION": "open"})
    assert len(problems(settings, files={})) >= 6


COMPLETE = {
    **SOUND,
    "VIGIL_PUBLIC_URL": "https://noc.example.com",
    "SMTP_URL": "smtp://a:b@mail.example.com:587",
    "VIGIL_BACKUP_DIR": "/var/backups/vigil",
    "VIGIL_EDGE_CERTIFICATE": "/etc/vigil/edge/certificate.pem",
}


def lacking(modes: dict[str, int] | None = None, **changes: str) -> list[str]:
    environ = {**COMPLETE, **changes}
    return shortcomings(config.load(environ=environ), environ, modes or {"/run/secrets/jwt_secret": 0o440})


def test_a_complete_installation_lacks_nothing() -> None:
    assert lacking() == []
    assert lacking(DATABASE_URL="postgresql://a:b@db.example.com/vigil?sslmode=verify-full") == []
    assert lacking(AMQP_URI="amqps://a:b@mq.example.com/vigil", REDIS_URL="rediss://:b@r.example.com/0") == []
    assert lacking(DATABASE_URL="postgresql://a:b@127.0.0.1/vigil", PROMETHEUS_ALLOWED_IPS="10.0.0.0/8") == []
    assert lacking(SMTP_URL="", TWILIO_ACCOUNT_SID="AC1", GF_SECURITY_ADMIN_PASSWORD="k2Jd92ksKd") == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VIGIL_PUBLIC_URL", ""),
        ("VIGIL_PUBLIC_URL", "http://noc.example.com"),
        ("VIGIL_ALLOWED_ORIGINS", "https://a.example.com, http://b.example.com"),
        ("VIGIL_ALLOWED_ORIGINS", "*"),
        ("VIGIL_WEBHOOK_PRIVATE", "true"),
        ("PROMETHEUS_ALLOWED_IPS", "127.0.0.1/32,0.0.0.0/0"),
        ("PROMETHEUS_ALLOWED_IPS", "::/0"),
        ("PROMETHEUS_ALLOWED_IPS", "prometheus"),
        ("VIGIL_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("VIGIL_TRUSTED_PROXIES", "10.0.0.1, ::/0"),
        ("VIGIL_TRUSTED_PROXIES", "edge"),
        ("VIGIL_EDGE_CERTIFICATE", ""),
        ("DATABASE_URL", "postgresql://a:b@db.example.com/vigil"),
        ("DATABASE_URL", "postgresql://a:b@10.0.0.5/vigil?sslmode=prefer"),
        ("AMQP_URI", "amqp://a:b@mq.example.com/vigil"),
        ("REDIS_URL", "redis://:b@10.0.0.6/0"),
        ("SMTP_URL", ""),
        ("VIGIL_BACKUP_DIR", ""),
        ("GF_SECURITY_ADMIN_PASSWORD", "admin"),
    ],
)
def test_each_shortcoming_is_named_with_its_variable(variable: str, value: str) -> None:
    [said] = lacking(**{variable: value})
    assert variable in said
    assert "b@" not in said, "a password is shown"


def test_processes_that_listen_beyond_loopback_must_know_their_proxy() -> None:
    [said] = lacking(VIGIL_SERVER_HOST="0.0.0.0")
    assert "VIGIL_TRUSTED_PROXIES" in said
    assert lacking(VIGIL_SERVER_HOST="0.0.0.0", VIGIL_TRUSTED_PROXIES="10.77.77.249/32") == []


def test_an_operators_own_proxy_may_have_the_certificate() -> None:
    assert lacking(VIGIL_EDGE_CERTIFICATE="", VIGIL_EDGE_PROXIES="127.0.0.1 ::1") == []


def test_a_provider_that_is_called_in_the_clear_is_named_unless_it_is_on_this_machine() -> None:
    for variable, used in (
        ("TWILIO_API_URL", "TWILIO_ACCOUNT_SID"),
        ("FCM_API_URL", "FCM_CREDENTIALS_FILE"),
    ):
        [said] = lacking(**{variable: "http://provider.example", used: "x"})
        assert said.startswith(f"{variable} is not https")
        assert lacking(**{variable: "http://127.0.0.1:9000", used: "x"}) == []
        assert lacking(**{variable: "http://provider.example"}) == [], "nothing is sent by it"


def test_a_secret_file_that_all_may_read_is_named() -> None:
    for mode in (0o644, 0o604, 0o602, 0o666):
        [said] = lacking({"/run/secrets/jwt_secret": mode, "/run/secrets/amqp_uri": 0o400})
        assert said.startswith("/run/secrets/jwt_secret")
    assert lacking({"/x": 0o600, "/y": 0o640}) == []
