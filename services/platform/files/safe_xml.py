"""XML of a file from any sender, read by expat as a stream. Pure.

A document type, and with it every entity, is refused where it begins. Nothing that the file points
to is fetched.
"""

from __future__ import annotations

from typing import Any, Protocol
from xml.parsers import expat

from services.contracts.errors import Refused
from services.platform.files.text_files import text_of

DECLARATION_BYTES = 200


class XmlReader(Protocol):
    def start(self, tag: str, attributes: dict[str, str], /) -> None: ...

    def end(self, tag: str, /) -> None: ...

    def text(self, data: str, /) -> None: ...


def parse(document: str | bytes, reader: XmlReader, parser: Any) -> None:
    """Parse a document by a new expat parser. The reader may ask the parser for the line.

    Raises:
        Refused: The file is no XML, declares a document type, or is in an unreadable encoding.
    """
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype

    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        if isinstance(document, bytes) and b"encoding" not in document[:DECLARATION_BYTES]:
            # This refuses text that is not in XML's default encoding.
            text_of(document, save_as="XML in UTF-8")
        raise Refused(f"the file is not XML: {error}") from error
    except (UnicodeError, LookupError, ValueError) as error:
        raise Refused(f"the file is in an encoding that cannot be read: {error}; save it as UTF-8") from error


def _refuse_doctype(*_: object) -> None:
    raise Refused(
        "the file declares a document type (DTD); it may define entities and name other files, so it is not read:"
        " take the <!DOCTYPE ...> out"
    )
