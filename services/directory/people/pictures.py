"""Pictures of guards and devices: checked by their content, made smaller, without metadata.

A picture is decoded and encoded again. Nothing of the caller's bytes is stored: neither the place
and time in its EXIF, nor what somebody hid behind the image.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from services.contracts.errors import Refused
from services.directory.people.store import StoredPicture

MAX_BYTES = 3_000_000
"""Limit of a picture as it comes."""
MAX_PIXELS = 25_000_000
MAX_SIDE = 1024
STORED_BYTES = 524_288
"""Limit of a picture as it is stored, which the database checks too."""
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
QUALITIES = (85, 70, 50)
SMALLER_SIDES = (MAX_SIDE, 640, 400)


def decoded(text: str) -> bytes:
    """Return the bytes of a picture in base64. Raises `Refused`."""
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise Refused(f"content: at most {MAX_BYTES} bytes are taken; make the picture smaller")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("content is not base64; encode the bytes of the picture without line breaks") from error


def prepared(content: bytes) -> StoredPicture:
    """Return a picture as it is stored: upright, 1024 pixels at most, without metadata.

    It takes up to half a second of computing.

    Raises:
        Refused: the content is no JPEG, PNG or WebP, is damaged, or has too many bytes or pixels.
    """
    if len(content) > MAX_BYTES:
        raise Refused(f"content: at most {MAX_BYTES} bytes are taken; make the picture smaller")

    try:
        with warnings.catch_warnings():
            # A few pixels declare thousands of megabytes. Pillow only warns of that below a limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=list(TYPES)) as image:
                return _encoded(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(f"content: at most {MAX_PIXELS} pixels are taken; make the picture smaller") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise Refused("content is not a readable JPEG, PNG or WebP image; save it again as JPEG") from error


def _encoded(image: Image.Image) -> StoredPicture:
    name = str(image.format)
    if image.width * image.height > MAX_PIXELS:
        raise Refused(f"content: at most {MAX_PIXELS} pixels are taken; make the picture smaller")

    upright = ImageOps.exif_transpose(image)
    transparent = name != "JPEG" and upright.has_transparency_data
    plain = upright.convert("RGBA" if transparent else "RGB")

    for side in SMALLER_SIDES:
        plain.thumbnail((side, side))
        for quality in QUALITIES:
            stored = _written(plain, name, quality)
            if len(stored) <= STORED_BYTES:
                return StoredPicture(stored, TYPES[name], hashlib.sha256(stored).hexdigest())

    raise Refused(f"content: the picture does not fit into {STORED_BYTES} bytes; save it as JPEG")


def _written(image: Image.Image, name: str, quality: int) -> bytes:
    # A new image has the pixels alone: no EXIF, no comment, no profile of the camera.
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    out = io.BytesIO()
    further = {"optimize": True} if name == "PNG" else {"quality": quality}
    bare.save(out, name, **further)
    return out.getvalue()
