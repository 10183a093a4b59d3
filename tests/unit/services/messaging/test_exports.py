"""Tests that the exports of `services.messaging` are imported when they are used."""

import subprocess
import sys

import pytest

from services import messaging


def test_every_name_that_is_offered_has_its_file_and_is_there() -> None:
    assert sorted(messaging._FILE_OF) == sorted(messaging.__all__)
    for name in messaging.__all__:
        assert getattr(messaging, name) is not None


def test_a_name_that_is_not_offered_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        messaging.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("process", "unwanted"),
    [
        (
            "gateway.mqtt.service",
            ["sqlalchemy", "redis", "werkzeug.serving", "requests", "eventlet.support.greendns"],
        ),
        ("gateway.noc.service", ["sqlalchemy", "requests", "eventlet.support.greendns"]),
        ("gateway.noc.api.service", ["sqlalchemy", "requests", "eventlet.support.greendns"]),
        ("ops.watchdog.service", ["shapely", "apprise", "phonenumbers", "eventlet.support.greendns"]),
    ],
)
def test_a_process_does_not_load_what_it_never_uses(process: str, unwanted: list[str]) -> None:
    code = f"import ops.run, {process}, sys; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_starts_a_stack_does_not_load_what_runs_in_it() -> None:
    unwanted = ["eventlet", "sqlalchemy", "nameko", "prometheus_client", "redis"]
    code = f"import ops.commands.stack.stack, sys; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
