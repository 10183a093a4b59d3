"""Tests of links.

A link is good for one notification until its end, also after changes of the keys. Nobody can
forge one.
"""

import os
import random
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.notifications.replies.acknowledge_links import (
    CODE_LETTERS,
    is_code,
    make_code,
    make_token,
    read_token,
)

KEY, OTHER = os.urandom(32), os.urandom(32)


def test_a_link_names_its_notification_until_its_end() -> None:
    reference = uuid4()
    token = make_token(KEY, reference, ends_at_s=1000)
    assert read_token([KEY], token, now_s=1000) == reference
    with pytest.raises(Refused, match="has expired"):
        read_token([KEY], token, now_s=1001)


def test_a_rotation_of_keys_leaves_older_links_good_and_another_key_none() -> None:
    reference = uuid4()
    token = make_token(KEY, reference, ends_at_s=1000)
    assert read_token([OTHER, KEY], token, now_s=0) == reference
    with pytest.raises(Refused, match="not complete"):
        read_token([OTHER], token, now_s=0)


@given(st.integers(0, 36 * 8 - 1))
def test_no_flipped_bit_passes(bit: int) -> None:
    import base64

    raw = bytearray(base64.urlsafe_b64decode(make_token(KEY, uuid4(), ends_at_s=1000) + "=="))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Refused):
        read_token([KEY], base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), now_s=0)


@given(st.text(max_size=80))
def test_rubbish_is_refused_and_raises_nothing_else(token: str) -> None:
    with pytest.raises(Refused):
        read_token([KEY], token, now_s=0)


@given(st.integers())
def test_a_code_has_a_digit_and_a_letter_so_that_no_word_and_no_year_is_one(seed: int) -> None:
    code = make_code(random.Random(seed).choice)
    assert is_code(code)
    assert any(letter.isdigit() for letter in code)
    assert any(letter.isalpha() for letter in code)


@pytest.mark.parametrize("word", ["BUSY", "STAY", "CANT", "2345", "tq62", "TQ6", "TQ622", "TQ60", "", "TQ 2"])
def test_what_has_not_the_form_of_a_code_is_none(word: str) -> None:
    assert not is_code(word)


def test_letters_and_digits_that_look_alike_are_in_no_code() -> None:
    assert not set("IO01") & set(CODE_LETTERS)
