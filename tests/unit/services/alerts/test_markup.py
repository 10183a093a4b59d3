"""Nothing that a sender wrote becomes markup."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from services.alerts.markup import Html, escaped, joined, tag


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
