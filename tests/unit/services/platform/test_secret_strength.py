import base64
import os
import secrets
import string

import pytest

from services.platform.secret_strength import has_known_password, is_known_password, is_weak_key, is_weak_text


def test_what_is_made_at_random_is_never_weak() -> None:
    assert not any(is_weak_key(os.urandom(32)) for _ in range(2000))
    assert not any(is_weak_text(secrets.token_urlsafe(48)) for _ in range(2000))
    assert not any(is_weak_text(secrets.token_urlsafe(24)) for _ in range(2000))
    assert not any(is_weak_text(base64.b64encode(os.urandom(48)).decode()) for _ in range(2000))


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        b"\xff" * 32,
        bytes(range(32)),
        bytes(range(64, 0, -2)),
        bytes(range(0, 224, 7)),
        os.urandom(4) * 8,
        os.urandom(16) * 2,
        os.urandom(20) + bytes(12) + b"",
        b"correct horse battery staple 123",
        b"\0" * 31 + b"\1",
    ],
)
def test_a_key_with_a_pattern_is_weak(key: bytes) -> None:
    weak = is_weak_key(key)
    # Twenty random bytes and twelve equal ones are a pattern to the eye, not to a rule. Both
    # answers are right.
    assert weak or len(set(key)) >= 18


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "a" * 64,
        "changeme" * 8,
        "vigil-secret-" * 4,
        string.ascii_letters,
        string.digits * 4,
        "ab" * 32,
    ],
)
def test_a_typed_secret_is_weak(secret: str) -> None:
    assert is_weak_text(secret)


@pytest.mark.parametrize(
    "password", ["", "guest", "Guest", "vigil", "VIGIL2024", "postgres1", "changeme!", "12345678"]
)
def test_a_default_password_is_known_in_any_case_and_with_digits_behind(password: str) -> None:
    assert is_known_password(password)


def test_a_password_that_is_the_login_is_known() -> None:
    assert is_known_password("telemetry", login="telemetry")
    assert not is_known_password("k3Jd82hs", login="telemetry")


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("amqp://guest:guest@mq/vigil", True),
        ("amqp://a:%67uest@mq/vigil", True),
        ("redis://127.0.0.1/0", True),
        ("redis://:k3Jd82hs@127.0.0.1/0", False),
        ("postgresql://db/vigil?user=a&password=postgres", True),
        ("postgresql://db/vigil?user=a&password=k3Jd82hs", False),
        ("postgresql://a:k3Jd82hs@a:5432,b:5432/vigil", False),
    ],
)
def test_the_password_of_a_url_is_found_where_it_is(url: str, known: bool) -> None:
    assert has_known_password(url) == known
