"""Tests that sealed values open for their secret, purpose and name only."""

import secrets

import pytest

from services.platform.sealed_values import seal, unseal

SECRET, OTHER = secrets.token_bytes(32), secrets.token_bytes(32)


def test_a_value_opens_with_any_of_the_secrets_that_is_the_right_one() -> None:
    sealed = seal(SECRET, b"words of somebody", purpose="answer", name="a:1")
    assert b"somebody" not in sealed
    assert unseal([OTHER, SECRET], sealed, purpose="answer", name="a:1") == b"words of somebody"
    assert seal(SECRET, b"words of somebody", purpose="answer", name="a:1") != sealed


@pytest.mark.parametrize(
    ("given", "purpose", "name"),
    [
        ([OTHER], "answer", "a:1"),
        ([], "answer", "a:1"),
        ([SECRET], "ticket", "a:1"),
        ([SECRET], "answer", "a:2"),
        ([SECRET], "answer\0a:1", ""),
    ],
)
def test_it_does_not_open_with_another_secret_for_another_use_or_under_another_name(
    given: list[bytes], purpose: str, name: str
) -> None:
    sealed = seal(SECRET, b"x", purpose="answer", name="a:1")
    assert unseal(given, sealed, purpose=purpose, name=name) is None


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff", b"gAAAAA", "é".encode()])
def test_what_was_never_sealed_does_not_open(damaged: bytes) -> None:
    assert unseal([SECRET], damaged, purpose="answer", name="a:1") is None
