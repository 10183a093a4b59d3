"""Tests of seals: every key of the ring opens them, nobody else does, and only for their own row."""

import os
from uuid import uuid4

import pytest

from services.notifications.replies.sealed_text import UNREADABLE, SealedMessage, hash_code, seal, unseal

KEY, OTHER = os.urandom(32), os.urandom(32)


def private() -> SealedMessage:
    return SealedMessage(
        reference=uuid4(), subject="s", text="Reply K7RM", html="<p>", link="https://x/a/t", code="K7RM"
    )


def test_a_message_is_opened_by_any_key_of_the_ring() -> None:
    message = private()
    sealed = seal(KEY, message)
    assert unseal([KEY], sealed, reference=message.reference) == message
    assert unseal([OTHER, KEY], sealed, reference=message.reference) == message
    assert b"K7RM" not in sealed


def test_without_its_key_it_stays_closed() -> None:
    message = private()
    assert unseal([OTHER], seal(KEY, message), reference=message.reference) is None
    assert unseal([], seal(KEY, message), reference=message.reference) is None


def test_a_seal_that_was_put_into_another_row_is_not_opened() -> None:
    assert unseal([KEY], seal(KEY, private()), reference=uuid4()) is None


@pytest.mark.parametrize("broken", [UNREADABLE, b"x", b"gAAAA", b"\xff" * 100])
def test_rubbish_is_no_message_and_raises_nothing(broken: bytes) -> None:
    assert unseal([KEY], broken, reference=uuid4()) is None


def test_a_code_is_good_for_one_number_and_one_installation() -> None:
    kept = hash_code(KEY, "K7RM", phone="+919876543210")
    assert kept == hash_code(KEY, "K7RM", phone="+919876543210")
    assert kept != hash_code(KEY, "K7RM", phone="+919876543211")
    assert kept != hash_code(KEY, "K7RN", phone="+919876543210")
    assert kept != hash_code(OTHER, "K7RM", phone="+919876543210")
    assert b"K7RM" not in kept
