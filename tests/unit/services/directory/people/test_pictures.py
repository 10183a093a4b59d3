"""Tests of pictures: taken by content, upright, small, and without metadata."""

import base64
import hashlib
import io

import pytest
from PIL import Image

from services.contracts.errors import Refused
from services.directory.people.pictures import MAX_BYTES, MAX_SIDE, STORED_BYTES, decoded, prepared

ORIENTATION, GPS, MAKER = 0x0112, 0x8825, 0x010F


def picture(name: str, size: tuple[int, int] = (60, 40), **further: object) -> bytes:
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, 0, size[0] // 2, size[1]))
    out = io.BytesIO()
    image.save(out, name, **further)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "media_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")]
)
def test_a_picture_is_known_by_its_content(name: str, media_type: str) -> None:
    stored = prepared(picture(name))
    assert stored.media_type == media_type
    assert stored.sha256 == hashlib.sha256(stored.content).hexdigest()
    with Image.open(io.BytesIO(stored.content)) as image:
        assert (image.format, image.size) == (name, (60, 40))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_nothing_of_the_camera_stays(name: str) -> None:
    exif = Image.Exif()
    exif[MAKER] = "CanaryCam"
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[2] = (12.0, 58.0, 17.0)
    given = picture(name, exif=exif.tobytes()) + b"hidden behind the picture"
    assert b"CanaryCam" in given
    stored = prepared(given).content
    assert b"CanaryCam" not in stored
    assert b"hidden" not in stored
    with Image.open(io.BytesIO(stored)) as image:
        assert not image.getexif()
        # Orientation 6 is a quarter turn. It is done to the pixels.
        assert image.size == (40, 60)


def test_a_large_picture_becomes_smaller() -> None:
    stored = prepared(picture("JPEG", (4000, 1000)))
    assert len(stored.content) <= STORED_BYTES
    with Image.open(io.BytesIO(stored.content)) as image:
        assert image.size == (MAX_SIDE, 256)


def test_noise_as_png_fits_too() -> None:
    noise = Image.effect_noise((1200, 1200), 90).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "PNG")
    if len(out.getvalue()) <= MAX_BYTES:
        assert len(prepared(out.getvalue()).content) <= STORED_BYTES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        picture("JPEG")[:200],
        b"%PDF-1.7",
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="not a readable JPEG, PNG or WebP image"):
        prepared(content)


def test_too_many_bytes_or_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(Refused, match="bytes"):
        prepared(b"\0" * (MAX_BYTES + 1))
    with pytest.raises(Refused, match="bytes"):
        decoded("A" * (MAX_BYTES * 4 // 3 + 5))
    with pytest.raises(Refused, match="pixels"):
        prepared(picture("PNG", (20_000, 20_000)))


def test_what_is_not_base64_is_refused() -> None:
    assert decoded(base64.b64encode(b"abc").decode()) == b"abc"
    with pytest.raises(Refused, match="base64"):
        decoded("!!!!")
