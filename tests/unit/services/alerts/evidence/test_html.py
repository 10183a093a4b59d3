"""Tests of the page: it is for people, has no active content, and shows no sender's text as markup."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.evidence import html as evidence_page
from services.alerts.evidence.html import duration
from tests.unit.services.alerts.evidence.test_pack import ALERT, fixes, pack

VOID = {"meta", "br", "hr"}


class Strict(HTMLParser):
    """A parser that raises an error for an element that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attrs
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attrs

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(**changes: Any) -> tuple[Strict, str]:
    html = evidence_page.page(pack(**changes), json_name="evidence-x.json", json_sha256="ab" * 32)
    seen = Strict()
    seen.feed(html)
    seen.close()
    assert seen.open == []
    return seen, " ".join(seen.text)


def check_harmless(seen: Strict) -> None:
    assert not {"script", "iframe", "object", "embed", "link", "img", "a", "form", "base"} & set(seen.tags)
    names = {name for name, _ in seen.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "href", "xlink:href", "action", "srcset", "style"}
    values = [value for name, value in seen.attributes if value and name != "content"]
    assert not any(
        "://" in value or (value.startswith("url(") and value != "url(#arrow)") for value in values
    )


def test_the_page_tells_what_who_where_when_and_how_it_went() -> None:
    seen, text = read()
    check_harmless(seen)
    for words in (
        "Panic, severity critical",
        "Asha Rao (guard-7)",
        "site Dock <1>",
        "1 March 2026, 12:00:00 UTC (17:30:00 Asia/Kolkata)",
        "by Ann, 1 March 2026, 12:00:42 UTC",
        "41 s after it was received",
        "closed as resolved",
        "2 times",
        "+919876543210",
        "delivered",
        "attempts: 2",
        "ab" * 32,
        pack()["signature"]["fingerprint"],
        "perimeter (required, version 3)",
        "vigil alert verify evidence-x.json --key FINGERPRINT",
    ):
        assert words in text, words
    assert ("http-equiv", "Content-Security-Policy") in seen.attributes
    assert ("content", evidence_page.POLICY) in seen.attributes


def test_what_senders_and_people_wrote_is_text() -> None:
    seen, text = read()
    assert "help <script>alert(1)</script>" in text
    assert '"<img src=x onerror=alert(1)>"' in text
    assert 'going "now"\n<b>' in text
    assert "b" not in seen.tags


def test_a_drill_is_marked_and_nothing_else_is() -> None:
    assert "THIS WAS A DRILL" in read(alert={**ALERT, "drill": True})[1]
    assert "DRILL" not in read()[1]


def test_the_map_shows_track_alert_site_zones_scale_and_north() -> None:
    seen, text = read()
    classes = [value for name, value in seen.attributes if name == "class"]
    for cls in (
        "track",
        "way",
        "time",
        "alert dot",
        "site",
        "zone required",
        "zone forbidden",
        "scale",
        "north",
    ):
        assert cls in classes, cls
    assert "ALERT" in text
    assert " m " in text
    assert "11:50:00" in text


def test_without_any_position_the_page_says_so() -> None:
    bare = {**ALERT, "lat": None, "lon": None}
    seen, text = read(alert=bare, site=None, guard=None, fixes=[], fixes_in_window=0, zones=[])
    assert "there is no map" in text
    assert "There is no track" in text
    assert "svg" not in seen.tags


@pytest.mark.parametrize(
    "changes",
    [
        {"fixes": []},
        {"fixes": fixes(1)},
        {"fixes": fixes(2), "alert": {**ALERT, "lat": None, "lon": None}},
        {"fixes": fixes(3000), "fixes_in_window": 9000},
        {"notifications": [], "occurrences": [], "zones": []},
        {"site": {"site_id": 4, "name": "x", "time_zone": "No/Where", "lat": None, "lon": None}},
        {
            "alert": {
                **ALERT,
                "closed_at": None,
                "acknowledged_at": None,
                "status": "NEW",
                "alert_type": "NEW_ONE",
            }
        },
        {"alert": {**ALERT, "lat": 89.9999, "lon": 179.9999}},
    ],
    ids=range(8),
)
def test_whatever_is_missing_there_is_a_page(changes: dict[str, Any]) -> None:
    seen, text = read(**changes)
    check_harmless(seen)
    assert "nan" not in " ".join(
        value for name, value in seen.attributes if value and name in ("points", "d")
    )
    if changes.get("fixes_in_window") == 9000:
        assert "thinned out evenly" in text


@given(st.text(max_size=60))
def test_no_text_breaks_out_of_its_place(text: str) -> None:
    plain = read()[0].tags
    site = {"site_id": 4, "name": text, "time_zone": "UTC", "lat": 12.97, "lon": 77.59}
    seen, _ = read(alert={**ALERT, "message": text, "source_id": text, "acknowledged_by": text}, site=site)
    assert seen.tags == plain
    check_harmless(seen)


def test_durations_are_in_words() -> None:
    start = "2026-03-01T12:00:00.000000Z"
    assert duration(start, "2026-03-01T12:01:30.000000Z") == "90 s"
    assert duration(start, "2026-03-01T12:10:30.000000Z") == "10 min"
    assert duration(start, "2026-03-01T15:10:30.000000Z") == "3 h 10 min"
