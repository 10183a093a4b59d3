"""Text of an uploaded file: decoded, or refused with the kind of file and the remedy. Pure.

To recognize one more binary format, add its first bytes and the remedy to `SIGNATURES`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from services.contracts.errors import Refused

UTF_8 = "UTF-8"
SIGNATURES: Sequence[tuple[bytes, str]] = (
    (b"\x1f\x8b", "is gzip-compressed: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "is a RAR archive: unpack it first"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is an old Excel workbook or Office document: save it as {save_as}",
    ),
    (b"SQLite format 3\x00", "is an SQLite database, such as a GeoPackage: export it as {save_as}"),
    (b"%PDF-", "is a PDF document: export it as {save_as}"),
    (b"\x89PNG\r\n\x1a\n", "is a PNG image, not text: choose another file"),
    (b"\xff\xd8\xff", "is a JPEG image, not text: choose another file"),
    (b"\x7fELF", "is a program, not text: choose another file"),
)
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
ZIP_CONTENTS: Sequence[tuple[re.Pattern[bytes], str]] = (
    (re.compile(rb"\bxl/|\[Content_Types\]\.xml"), "is an Excel workbook (.xlsx): save it as {save_as}"),
    (re.compile(rb"vnd\.oasis\.opendocument"), "is a LibreOffice document: save it as {save_as}"),
    (re.compile(rb"\.kml\b"), "is a ZIP archive, such as KMZ; unpack it and import the doc.kml in it"),
    (re.compile(rb"\.shp\b|\.dbf\b"), "is a zipped shapefile: export it as {save_as}"),
)
ZIP_LOOKED_AT_BYTES = 64 * 1024
BYTE_ORDER_MARKS: Sequence[tuple[bytes, str]] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SPOKEN_NAMES = {"utf-8": UTF_8, "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32"}
SAMPLE_BYTES = 512
CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0e-\x1f]")


def text_of(document: bytes, *, save_as: str = UTF_8) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        document: The bytes of the file.
        save_as: The format that the remedy names, such as "CSV UTF-8".

    Raises:
        Refused: The file is empty, binary or in another encoding; the message says which, and the
            remedy.
    """
    check_not_binary(document, save_as=save_as)
    mark, encoding = _mark_of(document)
    if not mark and _unmarked_utf_16(document[:SAMPLE_BYTES]):
        raise Refused(f"the file is in UTF-16 without a byte order mark: save it as {save_as}")

    try:
        text = document[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        spoken = SPOKEN_NAMES.get(encoding, "UTF-32")
        if encoding != "utf-8":
            raise Refused(f"the file begins as {spoken} and is damaged: save it as {save_as}") from error
        line = document[: error.start].count(b"\n") + 1
        raise Refused(f"line {line}: the file is not in UTF-8: save it as {save_as}") from error

    _check_not_empty(text)
    _check_characters(text, save_as=save_as)
    return text


def check_not_binary(document: bytes | str, *, save_as: str = UTF_8) -> None:
    """Refuse a file that is empty, or that is no text by its first bytes.

    The encoding is not checked. A reader of XML calls this function and leaves the encoding to the
    XML parser.

    Raises:
        Refused: The message says what the file is, and the remedy.
    """
    if isinstance(document, str):
        _check_text(document, save_as=save_as)
        return
    if not document.strip(b" \t\r\n"):
        raise Refused("the file is empty: choose another file")

    for signature, said in SIGNATURES:
        if document.startswith(signature):
            raise Refused(f"the file {said.format(save_as=save_as)}")

    if document.startswith(ZIP_SIGNATURES):
        raise Refused(f"the file {_zip_kind(document).format(save_as=save_as)}")


def first_text(document: bytes | str) -> str:
    """Return the beginning of a file without blanks, to guess its format; never raises."""
    if isinstance(document, str):
        return document[:SAMPLE_BYTES].lstrip("\ufeff \t\r\n")
    mark, encoding = _mark_of(document)
    start = document[len(mark) : len(mark) + 4 * SAMPLE_BYTES]
    if not mark and (guessed := _unmarked_utf_16(start)):
        encoding = guessed
    return start.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")


def _mark_of(document: bytes) -> tuple[bytes, str]:
    """Return the byte order mark and the encoding that it says; UTF-8 without one."""
    return next((known for known in BYTE_ORDER_MARKS if document.startswith(known[0])), (b"", "utf-8"))


def _unmarked_utf_16(start: bytes) -> str | None:
    """Return the encoding of a text that looks like UTF-16 without a byte order mark.

    In such a text every other byte is zero.
    """
    sample = start[: SAMPLE_BYTES // 2 * 2]
    low, high = sample[0::2], sample[1::2]
    if not high:
        return None
    if high.count(0) * 2 > len(high) and 0 not in low:
        return "utf-16-le"
    if low.count(0) * 2 > len(low) and 0 not in high:
        return "utf-16-be"
    return None


def _check_not_empty(text: str) -> None:
    if not text.strip("\ufeff \t\r\n"):
        raise Refused("the file is empty: choose another file")


def _check_characters(text: str, *, save_as: str) -> None:
    """Refuse zero bytes: no text file has them."""
    place = text.find("\x00")
    if place >= 0:
        line = text.count("\n", 0, place) + 1
        raise Refused(f"line {line}: the file has a NUL byte, so it is not a text file: save it as {save_as}")


def _check_text(document: str, *, save_as: str) -> None:
    """Refuse a file that came as text and is empty or binary.

    A binary file that was read as text has lost its bytes, not its control characters.
    """
    _check_not_empty(document)
    start = document[:SAMPLE_BYTES]
    if start.startswith("PK"):
        raise Refused(
            f"the file {_zip_kind(document[:ZIP_LOOKED_AT_BYTES].encode()).format(save_as=save_as)}"
        )
    if CONTROL_CHARACTERS.search(start):
        raise Refused(f"the file is compressed or binary, not text: unpack it, or save it as {save_as}")


def _zip_kind(document: bytes) -> str:
    start = document[:ZIP_LOOKED_AT_BYTES]
    return next(
        (said for pattern, said in ZIP_CONTENTS if pattern.search(start)), "is a ZIP archive: unpack it first"
    )
