"""Each problem is one message that names the variable; a sound configuration has none."""

import base64
import os

import pytest

from services import config
from services.deploy import problems, shortcomings

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
    return problems(config.load(environ={**SOUND, **changes}))


def test_a_sound_configuration_has_no_problem() -> None:
    assert found() == []
    assert found(MQTT_BROKER_ADDRESS="127.0.0.1", MQTT_CA_FILE="", REDIS_URL="redis://127.0.0.1/0") == []
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
        ("REDIS_URL", "redis://redis/0"),
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


def test_all_problems_are_said_at_once() -> None:
    assert len(problems(config.load(environ={"VIGIL_ENV": "production", "VIGIL_REGISTRATION": "open"}))) >= 6


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
