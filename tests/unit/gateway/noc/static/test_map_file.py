"""Tests that the map's file is served by ranges and bounded.

Everything else works when the file is missing.
"""

from pathlib import Path

import msgspec
import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from gateway.noc.static import map_file
from gateway.noc.static.map_file import MAX_RANGE_BYTES, MapFile
from services.contracts.errors import NotFound, Refused
from services.platform import config
from services.platform.config import NocSettings
from tests.support.pmtiles import PNG, pmtiles, png

FILE = pmtiles(png(0, 128, 64), kind=PNG)


def noc(**settings: str) -> NocSettings:
    return msgspec.structs.replace(config.load(environ={}).noc, **settings)


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    path = tmp_path / "ground.pmtiles"
    path.write_bytes(FILE)
    return path


def asking(byte_range: str | None) -> Request:
    headers = {"Range": byte_range} if byte_range else {}
    return Request(EnvironBuilder(path=map_file.ROUTE, headers=headers).get_environ())


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-126", 0, 126),
        ("bytes=0-16383", 0, len(FILE) - 1),
        ("bytes=130-140", 130, 140),
        ("bytes=-5", len(FILE) - 5, len(FILE) - 1),
    ],
)
def test_a_range_is_served(ground: Path, asked: str, first: int, last: int) -> None:
    answer = MapFile(noc(map_pmtiles_file=str(ground))).part(asking(asked))

    assert answer.status_code == 206
    assert answer.get_data() == FILE[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(FILE)}"
    assert answer.headers["ETag"]


@pytest.mark.parametrize("asked", [None, "bytes=999999-", "bytes=0-1,5-6", "lines=0-1", "bytes=x"])
def test_what_is_no_range_of_it_is_refused(ground: Path, asked: str | None) -> None:
    with pytest.raises(Refused, match="one range"):
        MapFile(noc(map_pmtiles_file=str(ground))).part(asking(asked))


def test_nobody_is_served_the_whole_of_a_large_one(ground: Path) -> None:
    with ground.open("ab") as file:
        file.truncate(3 * MAX_RANGE_BYTES)
    served = MapFile(noc(map_pmtiles_file=str(ground)))

    with pytest.raises(Refused, match="at the most"):
        served.part(asking("bytes=0-"))
    assert served.part(asking(f"bytes=0-{MAX_RANGE_BYTES - 1}")).status_code == 206


def test_a_changed_file_has_another_tag(ground: Path) -> None:
    served = MapFile(noc(map_pmtiles_file=str(ground)))
    before = served.part(asking("bytes=0-9")).headers["ETag"]
    ground.write_bytes(FILE + b" ")

    assert served.part(asking("bytes=0-9")).headers["ETag"] != before


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="VIGIL_MAP_PMTILES_FILE"):
        MapFile(noc()).part(asking("bytes=0-9"))
    with pytest.raises(NotFound, match="cannot be read"):
        MapFile(noc(map_pmtiles_file=str(tmp_path / "gone"))).part(asking("bytes=0-9"))


def test_the_console_is_told_where_it_is(ground: Path) -> None:
    assert map_file.style_url(noc()) == ""
    assert map_file.style_url(noc(map_style_url="https://x.org/style.json")) == "https://x.org/style.json"
    assert map_file.style_url(noc(map_pmtiles_file=str(ground))) == map_file.ROUTE


def test_what_is_wrong_with_it_is_said(ground: Path, tmp_path: Path) -> None:
    assert list(map_file.problems(noc())) == []
    assert list(map_file.problems(noc(map_pmtiles_file=str(ground)))) == []
    [missing] = map_file.problems(noc(map_pmtiles_file=str(tmp_path / "gone")))
    assert "VIGIL_MAP_PMTILES_FILE cannot be read" in missing
    ground.write_bytes(b"SQLite format 3")
    [other] = map_file.problems(noc(map_pmtiles_file=str(ground)))
    assert "not a PMTiles file" in other
