"""Tests of text of any file: it is decoded, or refused with its kind and the remedy."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.platform.files.text_files import check_not_binary, first_text, text_of

TEXT = "id,name\nguard-1,Jürgen\n"


def zipped(*names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, "x" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "document",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.encode("utf-16"),
    ],
)
def test_text_in_an_encoding_that_says_its_name_is_read(document: bytes) -> None:
    assert text_of(document) == TEXT
    assert first_text(document) == TEXT


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "^the file is empty"),
        (b" \r\n\t\n", "^the file is empty"),
        (codecs.BOM_UTF8, "^the file is empty"),
        (codecs.BOM_UTF16_LE, "^the file is empty"),
        (codecs.BOM_UTF8 + b"\n", "^the file is empty"),
        (TEXT.encode("latin-1"), "^line 2: the file is not in UTF-8: save it as CSV UTF-8$"),
        (TEXT.encode("cp1252"), "^line 2: the file is not in UTF-8"),
        ("id,name\n\u20ac\n".encode("cp1252"), "^line 2: the file is not in UTF-8"),
        (TEXT.encode("cp437"), "^line 2: the file is not in UTF-8"),
        ("名前\n".encode("shift-jis"), "^line 1: the file is not in UTF-8"),
        ("имя\n".encode("cp1251"), "^line 1: the file is not in UTF-8"),
        (TEXT.encode()[:-6], "^line 2: the file is not in UTF-8"),
        (TEXT.encode("utf-16-le"), "^the file is in UTF-16 without a byte order mark: save it as CSV UTF-8"),
        ("id,name\nguard-1,Asha\n".encode("utf-16-le"), "^the file is in UTF-16 without"),
        ("id,name\nguard-1,Asha\n".encode("utf-16-be"), "^the file is in UTF-16 without"),
        (codecs.BOM_UTF16_LE + b"a", "^the file begins as UTF-16 and is damaged"),
        (codecs.BOM_UTF16_BE + b"\xd8\x00", "^the file begins as UTF-16 and is damaged"),
        (codecs.BOM_UTF32_BE + b"\xff\xff\xff\xff", "^the file begins as UTF-32 and is damaged"),
        (b"id,name\ng\x00,x\n", "^line 2: the file has a NUL byte"),
        (b"\x00" * 40, "^line 1: the file has a NUL byte"),
        (gzip.compress(TEXT.encode()), "^the file is gzip-compressed: unpack it first$"),
        (bz2.compress(TEXT.encode()), "^the file is compressed with bzip2"),
        (lzma.compress(TEXT.encode()), "^the file is compressed with xz"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 20, "^the file is compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "^the file is a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "^the file is a RAR archive"),
        (
            zipped("doc.kml"),
            "^the file is a ZIP archive, such as KMZ; unpack it and import the doc.kml in it",
        ),
        (zipped("files/a.png", "doc.kml"), "doc.kml in it"),
        (
            zipped("[Content_Types].xml", "xl/workbook.xml"),
            r"^the file is an Excel workbook \(.xlsx\): save it as CSV UTF-8",
        ),
        (zipped("zones.shp", "zones.dbf"), "^the file is a zipped shapefile"),
        (zipped("guards.csv"), "^the file is a ZIP archive: unpack it first"),
        (zipped(), "^the file is a ZIP archive: unpack it first"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 8, "^the file is an old Excel workbook"),
        (b"%PDF-1.7\n", "^the file is a PDF document: export it as CSV UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00", "^the file is a PNG image"),
        (b"\xff\xd8\xff\xe0", "^the file is a JPEG image"),
        (b"\x7fELF\x02", "^the file is a program"),
        (b"SQLite format 3\x00", "^the file is an SQLite database, such as a GeoPackage"),
    ],
)
def test_what_is_no_text_is_named_with_the_remedy(document: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said) as raised:
        text_of(document, save_as="CSV UTF-8")
    assert "\n" not in str(raised.value)
    first_text(document)


def test_an_opendocument_spreadsheet_is_told_apart() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    with pytest.raises(Refused, match="LibreOffice document: save it as CSV UTF-8"):
        text_of(buffer.getvalue(), save_as="CSV UTF-8")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "empty"),
        ("\ufeff\n", "empty"),
        (zipped("doc.kml").decode("latin-1"), "KMZ"),
        (gzip.compress(TEXT.encode()).decode("utf-8", "replace"), "compressed or binary, not text"),
        (TEXT.encode("utf-16-le").decode("latin-1"), "compressed or binary, not text"),
    ],
)
def test_a_binary_file_that_was_sent_as_text_is_told_apart_too(document: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_not_binary(document)


def test_the_encoding_of_xml_is_left_to_its_parser() -> None:
    check_not_binary('<?xml version="1.0" encoding="latin-1"?><a>ü</a>'.encode("latin-1"))
    assert first_text("<kml>".encode("utf-16-le")).startswith("<")
    assert first_text("\ufeff\n <kml>") == "<kml>"


@given(st.binary(max_size=100))
def test_no_bytes_make_it_raise_anything_but_refused(document: bytes) -> None:
    first_text(document)
    try:
        assert "\x00" not in text_of(document)
    except Refused as error:
        assert str(error)
