"""Text of one SMS: 160 characters of GSM 03.38, or 70 UTF-16 units for a text with others. Pure.

When the text is too long, its free text is shortened first. When that is not enough, the SMS is
written without the template. It then holds drill, severity, type, source, place, time, the sentence
of a silent alert and code. When the names need an alphabet of 70 units, severity and code are left
out for them. Room is kept for the mark of a possible duplicate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from services.contracts.enum_words import as_words
from services.notifications.channels import SMS_MARK
from services.notifications.texts.translations import FIXED, JOINERS, TextValues, clean, fixed_words

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("^{}\\[~]|€\f")
GSM7, GSM7_OF_SEVERAL = 160, 153
UCS2, UCS2_OF_SEVERAL = 70, 67
TWINS = str.maketrans("‘’‚“”„–—‑…•", "'''\"\"\"---.*")
"""Characters of word processors, and their replacements that every phone has."""
MAX_TIME = 20
FORMS = ((False, 40), (False, 20), (True, 20), (True, 12), (True, 6))
"""Forms of the necessary parts of an SMS, from the best to the shortest.

Each is (without severity and code, length of names).
"""


def gsm7_length(text: str) -> int | None:
    """Return the septets of a text in GSM 03.38; None when it has other characters."""
    length = 0
    for letter in text:
        if letter in GSM_BASIC:
            length += 1
        elif letter in GSM_EXTENDED:
            length += 2
        else:
            return None
    return length


def size(text: str) -> tuple[int, str]:
    """Return (size of a text, its alphabet): GSM-7 or UCS-2."""
    septets = gsm7_length(text)
    return (septets, "GSM-7") if septets is not None else (len(text.encode("utf-16-be")) // 2, "UCS-2")


def segments(text: str) -> int:
    """Return the number of SMS in which a text is sent, and paid for."""
    taken, alphabet = size(text)
    one, each = (GSM7, GSM7_OF_SEVERAL) if alphabet == "GSM-7" else (UCS2, UCS2_OF_SEVERAL)
    return 1 if taken <= one else -(-taken // each)


def fits(text: str) -> bool:
    """Return whether a text is one SMS, also with the mark before it."""
    return segments(SMS_MARK + text) == 1


def plain(text: str) -> str:
    """Return the text in characters that every phone has. Unknown ones become question marks."""
    return "".join(map(_nearest, text.translate(TWINS)))


def _nearest(letter: str) -> str:
    if letter in GSM_BASIC:
        return letter
    return "".join(
        part if part in GSM_BASIC else "?"
        for part in unicodedata.normalize("NFKD", letter)
        if not unicodedata.combining(part) and part not in JOINERS
    )


def fit_sms(write: Callable[[str], str], words: TextValues, language: str) -> str:
    """Return the text of one SMS.

    Args:
        write: makes the text with a message. It gets as much of the message as there is room for.
    """
    message = " ".join(str(clean(words.message)).split())
    written = _shorten(write, message)
    if written is not None:
        return written

    for terse, most in FORMS:
        for fixed in (fixed_words(language), FIXED["en"]):
            must = _must(words, fixed, terse=terse, most=most)
            written = _shorten(partial(_after, must), message)
            if written is not None:
                return written

    # The names of the devices or sites, or the time, are longer than real ones.
    names = {name: plain(str(clean(getattr(words, name)))) for name in ("source", "site", "place", "time")}
    most = 16 if words.silent else 40
    must = _must(msgspec.structs.replace(words, **names), FIXED["en"], terse=False, most=most)

    return plain(must)[: GSM7 - len(SMS_MARK)].strip()


def _shorten(write: Callable[[str], str], message: str) -> str | None:
    """Return the text with as much of the message as fits; None when no text fits.

    Plain characters are used when more of the message is readable with them.
    """
    best: tuple[int, str] | None = None
    for letters in (message, plain(message)):
        low, high = -1, len(letters) + 1
        written = ""

        # Try the whole message first. Then search for the longest part that fits.
        middle = len(letters)
        while high - low > 1:
            text = write(letters[:middle].strip())
            if fits(text):
                low, written = middle, text
            else:
                high = middle
            middle = (low + high) // 2

        readable = sum(map(str.isalnum, letters[: max(low, 0)]))
        if low >= 0 and (best is None or readable > best[0]):
            best = readable, written
        if low == len(letters):
            break

    return best[1] if best else None


def _after(must: str, message: str) -> str:
    return f"{must} {message}".strip()


def _must(words: TextValues, fixed: Mapping[str, str], *, terse: bool, most: int) -> str:
    """Return drill, severity, type, source, place, time, the sentence of a silent alert, and code.

    Long names lose their middles.
    """
    named = {**FIXED["en"], **fixed}
    parts = [
        named["drill"] if words.drill else "",
        "" if terse else f"{named.get(words.severity) or as_words(words.severity)}:",
        named.get(words.alert_type) or as_words(words.alert_type),
        _short(words.source, most),
        _short(words.place or words.site, most),
        _short(words.time, MAX_TIME),
        named["silent"] if words.silent else "",
        f"{named['reply']} {words.code}" if words.code and not terse else "",
    ]

    return " ".join(part for part in parts if part)


def _short(text: str, most: int) -> str:
    kept = " ".join(str(clean(text)).split())
    return kept if len(kept) <= most else f"{kept[: most // 2 - 1]}..{kept[-(most // 2 - 1) :]}"
