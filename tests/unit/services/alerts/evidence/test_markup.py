"""Tests that a sender's text never becomes markup."""

import re
import sys
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ops.environment import PROJECT
from services.alerts.evidence.markup import UNSEEN, Html, escaped, joined, tag


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_any_text_stays_text_inside_and_in_attributes(inside: str, attribute: str) -> None:
    seen = Seen()
    seen.feed(tag("p", inside, title=attribute))
    seen.close()
    assert seen.tags == ["p"]
    assert set(seen.attributes) == {"title"}


def test_elements_hold_elements_and_what_is_none_is_left_out() -> None:
    assert tag("p", tag("b", "a<b"), "&", cls="x", title=None) == '<p class="x"><b>a&lt;b</b>&amp;</p>'
    assert tag("circle", r="2") == '<circle r="2"/>'
    assert tag("meta", name="a") == '<meta name="a">'
    assert joined([Html("<br>"), escaped(7)]) == "<br>7"


def test_what_is_not_seen_or_turns_the_text_round_is_shown_as_its_number() -> None:
    assert escaped("a\u202eb\x00\x1b[2J\ud800") == "a[U+202E]b[U+0000][U+001B][2J[U+D800]"
    assert escaped("two\nlines\tand a tab") == "two\nlines\tand a tab"


def test_characters_that_only_fill_or_hide_are_shown_and_those_that_words_need_are_not() -> None:
    hidden = (
        "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\u3164\ufeff\xad"
    )
    assert all(escaped(sign) == f"[U+{ord(sign):04X}]" for sign in hidden)
    assert escaped("\U000e0041") == "[U+E0041]"
    for word in ("क्\u200dष", "न\u200cह", "👩\u200d🚒", "🏳\ufe0f", "مرحبا", "שלום", "a\u00a0b", "e\u0301"):
        assert escaped(word) == word


def test_the_console_shows_the_same_characters_as_their_numbers() -> None:
    script = (PROJECT / "console" / "elements.js").read_text()
    found = re.search(r"const UNSEEN = /(\[.*\])/gu;", script)
    assert found
    # JavaScript writes \\u{e0000} where Python writes \\U000e0000.
    of_console = re.compile(re.sub(r"\\u\{(\w+)\}", lambda match: f"\\U{match[1]:0>8}", found[1]))
    everything = [chr(number) for number in range(sys.maxunicode + 1)]
    assert [sign for sign in everything if bool(of_console.match(sign)) != bool(UNSEEN.match(sign))] == []
