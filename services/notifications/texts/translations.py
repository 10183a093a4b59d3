"""Words of messages: the values from an alert, and the fixed words of each language. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

from services.contracts.enum_words import as_words
from services.contracts.events import AlertType, Severity

JOINERS = "\u200c\u200d"
"""Characters without width that are part of words in the scripts of India."""


class TextValues(msgspec.Struct, frozen=True, kw_only=True):
    """Values that a template may use.

    `place` is a position or a site's name. `time` is the local time of the place.
    """

    severity: str
    alert_type: str
    source: str
    carried_by: str = ""
    site: str = ""
    place: str = ""
    time: str = ""
    message: str = ""
    occurrences: int = 1
    drill: bool = False
    silent: bool = False
    flags: tuple[str, ...] = ()
    link: str = ""
    code: str = ""


FIXED: dict[str, dict[str, str]] = {
    "en": {
        "drill": "DRILL", "at": "at", "source": "Source", "carried_by": "Carried by", "place": "Place", "time": "Time",
        "message": "Message", "take": "Acknowledge this alert", "reply": "Reply",
        "silent": "Silent: do not call the guard back.",
        "flags": "Flags", "occurrences": "Occurrences",
    },
    "hi": {
        "drill": "अभ्यास", "at": "पर", "source": "स्रोत", "carried_by": "धारक", "place": "स्थान", "time": "समय",
        "message": "संदेश", "take": "यह अलर्ट लें", "reply": "उत्तर दें", "silent": "मौन: गार्ड को वापस कॉल न करें।",
        "flags": "चिह्न", "occurrences": "घटनाएँ",
        "CRITICAL": "गंभीर", "HIGH": "उच्च", "MEDIUM": "मध्यम", "LOW": "निम्न",
        "PANIC": "संकट", "SOS": "SOS", "DURESS": "दबाव", "MEDICAL": "चिकित्सा", "FIRE": "आग", "INTRUSION": "घुसपैठ",
        "GEOFENCE_VIOLATION": "क्षेत्र उल्लंघन", "EQUIPMENT_FAILURE": "उपकरण खराबी", "LOW_BATTERY": "बैटरी कम",
        "OFFLINE": "संपर्क नहीं", "UNREADABLE_ALERT": "अपठनीय अलर्ट", "UNKNOWN": "अज्ञात",
        "MAN_DOWN": "गार्ड गिरा", "CHECK_IN_MISSED": "हाज़िरी छूटी", "PATROL_MISSED": "गश्त छूटी",
        "PATROL_INCOMPLETE": "गश्त अधूरी", "TAMPER": "छेड़छाड़", "REPORTED": "सूचित घटना",
    },
}  # fmt: skip
"""Fixed words by language. A word that a language lacks stays as it is."""

LABELS = frozenset(FIXED["en"])
"""Names of the words that are no values of an alert."""
WORDS = LABELS | {"severity", "alert_type"}
"""Words that a template's `w.` offers."""
FIXED["en"] |= {value: as_words(value) for value in (*AlertType, *Severity)}
SAMPLE = TextValues(
    severity="CRITICAL",
    alert_type="PANIC",
    source="guard-123",
    carried_by="Asha Rao",
    site="Bengaluru HQ",
    place="12.97160,77.59460",
    time="31 Jan 18:05 IST",
    message="Two men at the <north> gate & one at the back; the guard does not answer the radio",
    occurrences=2,
    silent=True,
    flags=("clock",),
    link="https://noc.example.com/a/sample",
    code="K7RM",
)
"""Sample alert that shows users a template."""
SAMPLES = (
    SAMPLE,
    msgspec.structs.replace(SAMPLE, drill=True),
    TextValues(severity="LOW", alert_type="OFFLINE", source="sensor-1", time="31 Jan 18:05 UTC"),
)
"""Alerts that a template must be able to write before it is accepted."""


def fixed_words(language: str) -> Mapping[str, str]:
    """Return the fixed words of a language: those of `hi` for `hi-IN`, none for an unknown one."""
    return FIXED.get(language) or FIXED.get(language.partition("-")[0], {})


def named_words(language: str) -> Mapping[str, str]:
    """Return every fixed word: those of the language, and the English ones that it lacks."""
    return {**FIXED["en"], **fixed_words(language)}


def clean(value: Any) -> Any:
    """Return text without control characters, except line ends and joiners.

    A device chose the text.
    """
    if isinstance(value, tuple):
        return tuple(map(clean, value))
    if not isinstance(value, str):
        return value
    return "".join(
        letter if letter == "\n" or letter in JOINERS or unicodedata.category(letter)[0] != "C" else " "
        for letter in value
    )
