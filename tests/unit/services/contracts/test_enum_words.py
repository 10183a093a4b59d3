"""Tests of the words for enum values."""

from __future__ import annotations

import re

import pytest

from ops.environment import PROJECT
from services.contracts.enum_words import WORDS, as_words, inside
from services.contracts.events import AlertStatus, AlertType, Severity

CHANNELS = ("sms", "email", "push", "url")
ENTRY = re.compile(r'\b([A-Z_]+): "([^"]+)"')


def console_words(name: str) -> dict[str, str]:
    """Return a catalogue of `console/words.js`."""
    source = (PROJECT / "console" / "words.js").read_text()
    found = re.search(rf"const {name} = \{{(.*?)\}};", source, re.DOTALL)
    assert found is not None, name
    return dict(ENTRY.findall(found[1]))


@pytest.mark.parametrize(
    ("name", "values"), [("TYPES", AlertType), ("SEVERITIES", Severity), ("STATUSES", AlertStatus)]
)
def test_the_console_has_the_same_words(name: str, values: type[AlertType | Severity | AlertStatus]) -> None:
    """A value that the console does not list is shown in sentence case."""
    console = console_words(name)
    shown = {value: console.get(value) or value.replace("_", " ").capitalize() for value in values}
    assert shown == {value: as_words(value) for value in values}
    assert set(console) <= set(values)


def test_every_word_of_its_own_is_of_a_value() -> None:
    assert set(WORDS) <= {*AlertType, *Severity, *AlertStatus, *CHANNELS}


@pytest.mark.parametrize("value", [*AlertType, *Severity, *AlertStatus])
def test_words_are_in_sentence_case(value: str) -> None:
    words = as_words(value)
    assert "_" not in words
    assert words == "SOS" or words == words[0].upper() + words[1:].lower()


def test_within_a_sentence_a_word_begins_small_unless_it_is_an_abbreviation() -> None:
    assert inside(AlertType.GEOFENCE_VIOLATION) == "geofence violation"
    assert inside(AlertType.SOS) == "SOS"
