"""HTML that no input can break out of: everything that is not markup already is escaped. Pure."""

from __future__ import annotations

import html
import re

VOID = frozenset({"meta", "br", "hr", "circle", "rect", "polyline"})
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Invisible characters.

Some of them change the direction of the text beside them, so their numbers are shown.
"""


class Html(str):
    """Text that is markup."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """Return any value as text of a page."""
    if isinstance(text, Html):
        return text
    shown = UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", str(text))
    return Html(html.escape(shown, quote=True))


def tag(name: str, /, *inside: object, **attributes: object) -> Html:
    """Return an element. `cls` is its class.

    Names and attribute names come from Vigil's code, never from a sender.
    """
    named = ((("class" if key == "cls" else key), value) for key, value in attributes.items())
    opening = "".join(f' {key}="{escaped(value)}"' for key, value in named if value is not None)
    if name in VOID and not inside:
        return Html(f"<{name}{opening}{'/' if name not in ('meta', 'br', 'hr') else ''}>")
    return Html(f"<{name}{opening}>{''.join(map(escaped, inside))}</{name}>")


def joined(parts: list[Html]) -> Html:
    return Html("".join(parts))
