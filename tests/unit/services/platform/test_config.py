from pathlib import Path

import pytest

from ops.environment import PROJECT
from services.contracts.errors import Misconfigured
from services.platform import config

TEXT = (PROJECT / "config.yaml").read_text()


def test_the_shipped_configuration_is_good_without_any_environment() -> None:
    settings = config.parse(TEXT, {})
    assert settings.environment == "development"
    assert settings.amqp.retry_delays_s == [1, 5, 30, 300]


def test_environment_variables_are_put_in_with_their_types() -> None:
    settings = config.parse(TEXT, {"MQTT_BROKER_PORT": "2883", "VIGIL_ENV": "production"})
    assert settings.mqtt.port == 2883
    assert settings.environment == "production"


def test_a_wrong_value_names_its_field() -> None:
    with pytest.raises(Misconfigured, match=r"mqtt\.port"):
        config.parse(TEXT, {"MQTT_BROKER_PORT": "many"})
    with pytest.raises(Misconfigured, match="environment"):
        config.parse(TEXT, {"VIGIL_ENV": "staging"})


def test_a_variable_without_value_and_default_is_named() -> None:
    with pytest.raises(Misconfigured, match="NO_SUCH_THING"):
        config.parse(TEXT.replace("${VIGIL_ENV:development}", "${NO_SUCH_THING}"), {})


def test_an_unknown_setting_and_broken_yaml_are_refused() -> None:
    with pytest.raises(Misconfigured, match="typo"):
        config.parse(TEXT + "\ntypo: 1\n", {})
    with pytest.raises(Misconfigured, match="YAML"):
        config.parse("a: [", {})


def test_every_variable_of_the_configuration_is_in_the_example() -> None:
    example = (PROJECT / ".env.example").read_text()
    without_comments = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    missing = [
        m["name"]
        for m in config.VARIABLE.finditer(without_comments)
        if f"\n{m['name']}=" not in f"\n{example}"
    ]
    assert missing == []


def test_a_secret_comes_from_a_file_without_its_last_line_break(tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.write_text("postgresql://a:b@db/vigil\n")
    # an empty variable counts as not set
    environ = {"DATABASE_URL_FILE": str(file), "DATABASE_URL": ""}
    assert config.parse(TEXT, environ).database.url == "postgresql://a:b@db/vigil"


def test_a_secret_that_is_said_twice_or_cannot_be_read_names_both_variables(tmp_path: Path) -> None:
    file = tmp_path / "jwt"
    file.write_text("x")
    for environ in (
        {"JWT_SECRET_FILE": str(file), "JWT_SECRET": "y"},
        {"JWT_SECRET_FILE": str(tmp_path / "nowhere")},
        {"JWT_SECRET_FILE": str(tmp_path)},
    ):
        with pytest.raises(Misconfigured, match=r"JWT_SECRET .*JWT_SECRET_FILE"):
            config.parse(TEXT, environ)


def test_each_setting_of_a_provider_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t-1\n")
    environ = {"TWILIO_AUTH_TOKEN_FILE": str(file), "TWILIO_PHONE_NUMBER": "+15017122661"}
    providers = config.parse(TEXT, environ).notifications.providers
    assert (providers["twilio_auth_token"], providers["twilio_phone_number"]) == ("t-1", "+15017122661")
    assert providers["twilio_api_url"] == "https://api.twilio.com"
    with pytest.raises(Misconfigured, match="TWILIO_AUTH_TOKEN and TWILIO_AUTH_TOKEN_FILE are both set"):
        config.parse(TEXT, {**environ, "TWILIO_AUTH_TOKEN": "x"})


def test_keys_that_are_no_settings_of_notifications_go_to_the_providers() -> None:
    """A file of an older version has fewer of them. A mapping may stand for a text."""
    begin, end = TEXT.index("  # begin providers"), TEXT.index("  # end providers")
    older = TEXT[:begin] + "  twilio_auth_token: ${TWILIO_AUTH_TOKEN:}\n  a_b: {C: d}\n" + TEXT[end:]
    providers = config.parse(older, {"TWILIO_AUTH_TOKEN": "t"}).notifications.providers
    assert providers == {"twilio_auth_token": "t", "a_b": {"C": "d"}}
    with pytest.raises(Misconfigured, match="providers"):
        config.parse(TEXT[:begin] + "  a_b: [1]\n" + TEXT[end:], {})


def test_only_secrets_come_from_files() -> None:
    """MQTT_CA_FILE and others are settings of their own."""
    assert config.parse(TEXT, {"MQTT_BROKER_ADDRESS_FILE": "/nowhere"}).mqtt.host == "127.0.0.1"
    names = {match["name"] for match in config.VARIABLE.finditer(TEXT)}
    of_commands = {"VIGIL_SUPERUSER_DATABASE_URL"}
    assert names >= config.SECRETS - of_commands
    assert not {f"{name}_FILE" for name in config.SECRETS} & names
