"""Reading of SMS replies: codes, refusal and consent. Pure.

Only a person's act takes an alert. A reply takes one by the code of its message, or by a word of
consent from the lists. Such a word stands alone, or polite words follow it. A word of refusal
anywhere takes everything back. Every other text (a question, an auto-reply, "got it") takes
nothing.

To add a language:

1. Add its words to `CONSENT`, `POLITE` and `REFUSAL`, each a list of words or phrases as users type
  them.
2. Add its answers to `ANSWERS`.
3. Add its replies to the tables of tests/unit/services/notifications/replies/test_sms_meaning.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.notifications.replies.acknowledge_links import is_code
from services.notifications.texts.translations import JOINERS

MAX_READ = 1_600
"""Characters of an SMS that are read. No provider forwards more."""
MAX_NOTED = 500

CONSENT: dict[str, tuple[str, ...]] = {
    "en": (
        "yes", "y", "yep", "yeah", "yup", "ok", "okay", "o k", "on my way", "omw", "i am on my way", "im on my way",
        "on the way", "i am on the way", "im on the way", "on it", "i am on it", "im on it", "en route", "taken",
        "taking it", "i take it", "i will take it", "ill take it", "i am taking it", "im taking it", "i took it",
        "i have it", "i have taken it", "mine", "coming", "i am coming", "im coming", "going", "i am going", "im going",
        "i go", "i will go", "ill go", "will go", "ack", "acked", "acknowledge", "acknowledged", "accept", "accepted",
        "responding", "i am responding", "im responding",
    ),
    "hi": (
        "हाँ", "हा", "जी", "जी हाँ", "हाँ जी", "ठीक", "ठीक है", "ओके", "आ रहा हूँ", "आ रही हूँ", "मैं आ रहा हूँ",
        "मैं आ रही हूँ", "आ रहे हैं", "आता हूँ", "आती हूँ", "जा रहा हूँ", "जा रही हूँ", "मैं जा रहा हूँ", "मैं जा रही हूँ",
        "जाता हूँ", "जाती हूँ", "जा रहे हैं", "निकल रहा हूँ", "निकल रही हूँ", "रास्ते में", "रास्ते में हूँ", "ले लिया",
        "मैंने ले लिया", "मैं लेता हूँ", "मैं लेती हूँ", "स्वीकार", "स्वीकार है",
        "haan", "haa", "han", "ji", "ji haan", "haan ji", "han ji", "ji han", "theek hai", "thik hai", "thik h",
        "theek", "thik", "aa raha hu", "aa raha hun", "aa raha hoon", "aa rahi hu", "aa rahi hun", "aa rahi hoon",
        "main aa raha hu", "main aa raha hun", "main aa raha hoon", "main aa rahi hoon", "ja raha hu", "ja raha hun",
        "ja raha hoon", "ja rahi hu", "ja rahi hun", "ja rahi hoon", "raste me hu", "raste mein hoon", "le liya",
    ),
}  # fmt: skip
"""Words and phrases that take an alert. English ones hold in every language."""

POLITE: dict[str, tuple[str, ...]] = {
    "en": (
        "thanks", "thank you", "thank u", "thx", "ty", "many thanks", "please", "pls", "plz", "sir", "madam", "maam",
        "boss", "team", "control", "control room", "now", "right now", "right away", "at once", "immediately", "asap",
        "there", "to site", "to the site", "regards", "no problem", "no worries", "cheers", "dear",
    ),
    "hi": (
        "धन्यवाद", "शुक्रिया", "सर", "साहब", "मैडम", "जी", "अभी", "तुरंत", "कृपया", "भाई",
        "dhanyavad", "dhanyawad", "shukriya", "sahab", "saab", "ji", "abhi", "turant", "kripya", "bhai",
    ),
}  # fmt: skip
"""Words and phrases that may follow a word of consent."""

REFUSAL: dict[str, tuple[str, ...]] = {
    "en": (
        "no", "nope", "nah", "not", "never", "none", "neither", "cant", "can t", "cannot", "couldnt", "couldn t",
        "wont", "won t", "wouldnt", "wouldn t", "dont", "don t", "didnt", "didn t", "doesnt", "doesn t", "isnt",
        "isn t", "arent", "aren t", "wasnt", "wasn t", "havent", "haven t", "aint", "ain t", "shouldnt", "shouldn t",
        "unable", "busy", "away", "decline", "declined", "declining", "refuse", "refused", "reject", "rejected",
        "wrong", "stop", "cancel", "unavailable", "instead",
        "someone else", "somebody else", "out of office", "off duty", "on leave",
    ),
    "hi": (
        "नहीं", "नही", "नहि", "ना", "न", "मत", "मना", "इनकार", "इंकार", "असमर्थ", "व्यस्त", "गलत", "छुट्टी", "रुको",
        "nahi", "nahin", "nahee", "nai", "nhi", "na", "mat", "mana", "galat", "vyast", "chutti", "chhutti",
    ),
}  # fmt: skip
"""Words and phrases that take a code back. All languages hold at once."""

NO_REFUSAL = (
    "no problem", "no worries", "not a problem", "right away", "minutes away", "minute away", "mins away", "min away",
    "no issue", "why not",
)  # fmt: skip
"""Phrases with words of refusal that refuse nothing."""

ANSWERS: dict[str, dict[str, str]] = {
    "en": {
        "taken": "You have acknowledged the alert. Thank you. The control room sees it.",
        "refused": "Not acknowledged: {reason}",
        "late": "Not acknowledged: this code is more than a day old. Your answer is on record. Call the control room"
        " to acknowledge the alert.",
        "used": "This code was used already. If the alert came again, reply with the 4 characters of its newest"
        " message.",
        "noted": "Not acknowledged: Vigil does not know which alert you mean. Your answer is on record. To acknowledge"
        " one, reply with the 4 characters of its message.",
        "noted_one": "Not acknowledged: your answer is on record, but it is not clear. To acknowledge the alert, reply"
        " YES.",
    },
    "hi": {
        "taken": "अलर्ट आपका है। धन्यवाद। कंट्रोल रूम को पता है।",
        "refused": "नहीं लिया गया: {reason}",
        "late": "नहीं लिया गया: यह कोड एक दिन से पुराना है। आपका उत्तर दर्ज है। अलर्ट लेने के लिए कंट्रोल रूम को फ़ोन करें।",
        "used": "यह कोड पहले ही उपयोग हो चुका है। अलर्ट फिर आया हो तो सबसे नए संदेश के 4 अक्षर भेजें।",
        "noted": "नहीं लिया गया। आपका उत्तर दर्ज है। अलर्ट लेने के लिए उसके संदेश के 4 अक्षर भेजें।",
        "noted_one": "नहीं लिया गया। आपका उत्तर दर्ज है। अलर्ट लेने के लिए हाँ भेजें।",
    },
}  # fmt: skip
"""Answers to senders, by language."""

APOSTROPHES = re.compile("['‘’‛ʼʹ`´]")
CANDRABINDU, ANUSVARA = "\u0901", "\u0902"
"""Two ways to write the nasal of हाँ. Users type either."""
QUESTIONS = "?؟"


class ReplyMeaning(msgspec.Struct, frozen=True):
    """Content of a reply.

    `codes` are its words that look like a code. `question` says that it asks something.
    """

    words: tuple[str, ...]
    codes: tuple[str, ...]
    refuses: bool
    question: bool

    def consents(self, language: str) -> bool:
        """Return whether the reply is a word of consent, with polite words at most.

        Words of `language` and of English count.
        """
        if self.refuses or self.question:
            return False
        base = language.partition("-")[0].lower()
        consent = _CONSENT["en"] | _CONSENT.get(base, frozenset())
        polite = _POLITE["en"] | _POLITE.get(base, frozenset())
        first = _match(self.words, 0, consent)
        return first > 0 and _is_made_of(self.words, first, consent | polite)


def read(text: str) -> ReplyMeaning:
    """Read a reply. Case, width, punctuation and emoji change nothing."""
    plain = unicodedata.normalize("NFKC", text[:MAX_READ])
    words = _words(plain)
    candidates = [word.upper() for word in words]
    whole = "".join(candidates)
    codes = dict.fromkeys(word for word in (*candidates, whole) if is_code(word))
    return ReplyMeaning(words, tuple(codes), _refuses(words), any(mark in plain for mark in QUESTIONS))


def noted(name: str, text: str) -> str:
    """Return the line of the timeline about a reply that takes nothing."""
    said = " ".join("".join(map(_printable, text)).split()) or "(empty)"
    return f"{name} answered by SMS: {said}"[:MAX_NOTED]


def answer(what: str, language: str, *, reason: str = "") -> str:
    """Return the answer to a sender in their language, or in English."""
    words = ANSWERS.get(language) or ANSWERS.get(language.partition("-")[0]) or ANSWERS["en"]
    return words[what].format(reason=reason)[:300]


def _words(plain: str) -> tuple[str, ...]:
    """Return the words of letters and digits, case-folded, without joiners and decorations."""
    kept = "".join(map(_folded, APOSTROPHES.sub("", plain.casefold())))
    return tuple(unicodedata.normalize("NFC", kept).split())


def _folded(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Nd":
        return str(unicodedata.decimal(letter))
    if letter == CANDRABINDU:
        return ANUSVARA
    if letter in JOINERS or "\ufe00" <= letter <= "\ufe0f" or kind == "Me":
        return ""
    return letter if kind[0] in "LMN" else " "


def _printable(letter: str) -> str:
    return " " if unicodedata.category(letter)[0] == "C" and letter not in JOINERS else letter


def _refuses(words: Sequence[str]) -> bool:
    place = 0
    while place < len(words):
        harmless = _match(words, place, _NO_REFUSAL)
        if not harmless and _match(words, place, _REFUSAL):
            return True
        place += harmless or 1
    return False


def _is_made_of(words: Sequence[str], place: int, phrases: frozenset[tuple[str, ...]]) -> bool:
    """Return whether the words from `place` on are a row of these phrases, the longest first."""
    while place < len(words):
        length = _match(words, place, phrases)
        if not length:
            return False
        place += length
    return True


def _match(words: Sequence[str], place: int, phrases: frozenset[tuple[str, ...]]) -> int:
    """Return the number of words of the longest phrase that begins at `place`; 0 when none does."""
    longest = min(6, len(words) - place)
    return next((n for n in range(longest, 0, -1) if tuple(words[place : place + n]) in phrases), 0)


def _split(texts: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(_words(unicodedata.normalize("NFKC", text)) for text in texts)


def _by_language(lists: Mapping[str, Iterable[str]]) -> dict[str, frozenset[tuple[str, ...]]]:
    return {language: _split(texts) for language, texts in lists.items()}


_CONSENT, _POLITE = _by_language(CONSENT), _by_language(POLITE)
_REFUSAL = frozenset[tuple[str, ...]]().union(*_by_language(REFUSAL).values())
_NO_REFUSAL = _split(NO_REFUSAL)
