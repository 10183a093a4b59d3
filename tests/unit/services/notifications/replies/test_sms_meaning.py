"""Tests of replies.

A code or a lone word of consent acknowledges an alert. Refusals, questions and machines
acknowledge nothing.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.replies.sms_meaning import (
    ANSWERS,
    CONSENT,
    MAX_NOTED,
    POLITE,
    REFUSAL,
    answer,
    noted,
    read,
)

CONSENTS = [
    ("en", "YES"), ("en", "yes."), ("en", " Yes!! \n"), ("en", "ok 👍️"), ("en", "(OK)"), ("en", "Ok, thanks sir"),
    ("en", "ＹＥＳ"), ("en", "On my way"), ("en", "ON MY WAY, right away"), ("en", "I’m on my way"), ("en", "Taken"),
    ("en", "coming now"), ("en", "ACK"), ("en", "👍 yes"), ("en", "Yes, I will take it"), ("en", "𝗬𝗲𝘀"),
    ("en", "yes no problem"), ("fr", "OK"), ("hi", "yes"), ("hi", "हाँ"), ("hi", "हां"), ("hi", "हाँ जी, धन्यवाद"),
    ("hi", "ठीक है"), ("hi", "ठीक है सर 🙏"), ("hi", "आ रहा हूँ"), ("hi", "मैं आ रही हूं"), ("hi-IN", "haan ji"),
    ("hi", "theek hai"), ("hi", "aa raha hoon"), ("hi", "जी हाँ।"),
]  # fmt: skip
NO_CONSENTS = [
    "No", "Nope", "Can't go, call Ravi", "who is this?", "I'm driving with Do Not Disturb While Driving turned on.",
    "I am driving, cannot talk right now", "Out of office until Monday", "STOP", "busy", "", " ", "👍", "OK Google",
    "Yes I got your message but I am away", "wrong number", "YES?", "ok?", "not ok", "yes but call Ravi", "Yesterday",
    "okra", "got it", "copy", "Received", "seen", "noted", "Roger", "ok cancel", "yes no", "no yes", "Okay, who is it",
    "Ok I will ask Ravi", "On my way home, not there", "taken off duty", "Coming? No", "I said yes", "maybe",
    "call me", "ZZZZ", "नहीं", "हाँ नहीं", "आ नहीं सकता", "nahi", "haan nahi", "Automatic reply: OK", "y not",
    "Thanks", "please", "sir", "1", "y" * 2000,
]  # fmt: skip
CODES = [
    "TQ62", "tq62", "ＴＱ６２", " tq62 thanks", "I will take it (TQ62).", "TQ62!", "«TQ62»", "T-Q-6-2", "tq 62", "TQ६२",
    "No problem, TQ62", "TQ62 5 min away", "Tq62👍", "TQ62\nSent from my phone", "ⓣⓠ62", "code: TQ62", "TQ62?",
]  # fmt: skip
REFUSED_CODES = [
    "no, not TQ62", "can't take TQ62", "can’t take TQ62", "TQ62 no", "I cannot take TQ62", "don't want tq62",
    "busy TQ62", "TQ62: give it to someone else", "wrong person TQ62", "नहीं TQ62", "TQ62 nahi",
    "I won`t take TQ62", "Stop TQ62",
    "TQ62 - I am away", "unable to take TQ62",
]  # fmt: skip


@pytest.mark.parametrize(("language", "text"), CONSENTS)
def test_a_listed_word_alone_or_with_polite_words_consents(language: str, text: str) -> None:
    assert read(text).consents(language)


@pytest.mark.parametrize("text", NO_CONSENTS)
@pytest.mark.parametrize("language", ["en", "hi"])
def test_every_other_text_consents_to_nothing(language: str, text: str) -> None:
    said = read(text)
    assert not said.consents(language)
    assert said.codes == ()


@pytest.mark.parametrize("text", CODES)
def test_a_code_is_found_however_it_is_typed(text: str) -> None:
    said = read(text)
    assert "TQ62" in said.codes
    assert not said.refuses


@pytest.mark.parametrize("text", REFUSED_CODES)
def test_a_refusal_beside_a_code_takes_it_back(text: str) -> None:
    said = read(text)
    assert said.codes == ("TQ62",)
    assert said.refuses


def test_a_word_of_one_language_is_no_consent_in_another() -> None:
    assert not read("हाँ").consents("en")
    assert not read("theek hai").consents("pt-BR")


@pytest.mark.parametrize("language", sorted(CONSENT))
def test_no_word_of_consent_is_a_refusal_and_every_one_is_taken(language: str) -> None:
    for phrase in CONSENT[language]:
        assert read(phrase).consents(language), phrase
        assert read(phrase.upper()).consents(language), phrase
        for polite in POLITE[language]:
            assert read(f"{phrase}, {polite}!").consents(language), (phrase, polite)


def test_every_word_of_refusal_refuses_also_beside_consent_in_any_language() -> None:
    for phrase in (phrase for phrases in REFUSAL.values() for phrase in phrases):
        said = read(f"yes {phrase}")
        assert said.refuses, phrase
        assert not said.consents("hi")


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    said = read(text)
    assert isinstance(said.consents("hi"), bool)
    assert len(noted("Asha", text)) <= MAX_NOTED
    assert "\0" not in noted("Asha", text)


def test_a_note_says_who_answered_what_in_one_line_of_bounded_length() -> None:
    assert noted("Asha", " No,\n call  Ravi\x00 ") == "Asha answered by SMS: No, call Ravi"
    assert noted("Asha", "") == "Asha answered by SMS: (empty)"
    assert len(noted("Asha", "x" * 2000)) == MAX_NOTED


@pytest.mark.parametrize("language", ["en", "hi", "hi-IN", "pt-BR"])
def test_every_answer_is_there_in_every_language(language: str) -> None:
    for what in ANSWERS["en"]:
        assert answer(what, language, reason="Ravi has this alert already")
    assert {frozenset(words) for words in ANSWERS.values()} == {frozenset(ANSWERS["en"])}
