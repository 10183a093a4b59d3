"""Tests that XML of any author is read as a stream, and requests nothing."""

from xml.parsers import expat

import pytest

from services.contracts.errors import Refused
from services.platform.files.safe_xml import parse


class Heard:
    def __init__(self) -> None:
        self.words: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.words.append(f"<{tag} {attributes}")

    def end(self, tag: str) -> None:
        self.words.append(f"{tag}>")

    def text(self, data: str) -> None:
        self.words.append(data)


def heard(document: str | bytes) -> list[str]:
    reader = Heard()
    parse(document, reader, expat.ParserCreate())
    return reader.words


def test_elements_and_whole_texts_are_heard_in_order() -> None:
    assert heard('<a n="1">one &amp; two<b/></a>') == ["<a {'n': '1'}", "one & two", "<b {}", "b>", "a>"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "DTD"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "DTD"),
        ("<a>", "not XML"),
        ("no XML at all", "not XML"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "encoding|not XML"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(document: str | bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        heard(document)
