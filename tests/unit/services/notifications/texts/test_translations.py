"""Tests of the fixed words.

Every language has them all. A device's text is cleaned and not damaged.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import AlertType, Severity
from services.notifications.texts.translations import FIXED, SAMPLES, WORDS, TextValues, clean, fixed_words


@pytest.mark.parametrize("language", sorted(set(FIXED) - {"en"}))
def test_a_language_has_all_words_and_those_of_alerts(language: str) -> None:
    assert set(FIXED[language]) == {*FIXED["en"], *AlertType, *Severity}
    assert all(FIXED[language].values())


def test_no_fixed_word_is_taken_for_what_is_said_of_the_alert() -> None:
    assert {"severity", "alert_type"} <= WORDS
    assert not {"severity", "alert_type"} & set(FIXED["en"])


def test_a_dialect_has_the_words_of_its_language() -> None:
    assert fixed_words("hi-IN") is FIXED["hi"]
    assert fixed_words("hi") is FIXED["hi"]
    assert fixed_words("xx") == {}


def test_the_samples_use_every_word_and_do_without() -> None:
    fields = set(TextValues.__struct_fields__)
    assert {name for words in SAMPLES for name in fields if getattr(words, name)} == fields
    assert {name for name in fields if all(getattr(words, name) for words in SAMPLES)} == {
        "severity", "alert_type", "source", "time", "occurrences",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a\r\nb\tc", "a \nb c"),
        ("\x1b[0m\x00\x7f", " [0m  "),
        ("a\u202eb\ufeff\u2066", "a b  "),
        ("\ud800", " "),
        ("क्\u200dष न\u200cह 🔥", "क्\u200dष न\u200cह 🔥"),
    ],
)
def test_control_characters_become_blanks(said: str, kept: str) -> None:
    assert clean(said) == kept
    assert clean((said,)) == (kept,)


@given(st.text())
def test_what_is_clean_can_be_sent(text: str) -> None:
    assert len(clean(text)) == len(text)
    clean(text).encode("utf-16-be")
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize("other", [3, True, None])
def test_what_is_no_text_stays(other: object) -> None:
    assert clean(other) is other
