"""Each problem is one message that names the variable; a sound configuration has none."""

import base64
import os

import pytest

from services import config
from services.deploy import problems

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
    "MQTT_BROKER_PASSWORD": "Hs82jsk2Kd",
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
        ("VIGIL_REGISTRATION", "open"),
    ],
)
def test_each_problem_is_named_with_its_variable(variable: str, value: str) -> None:
    changed = {variable: value} | ({"JWT_ISSUER": "x"} if variable == "JWT_JWKS_URL" else {})
    [problem] = found(**changed)
    assert variable in problem or ("MQTT" in problem and "MQTT" in variable)


def test_all_problems_are_said_at_once() -> None:
    assert len(problems(config.load(environ={"VIGIL_ENV": "production", "VIGIL_REGISTRATION": "open"}))) >= 6
