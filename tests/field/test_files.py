"""Tests of files as people hand them over, for each command that takes one.

The command reads the file, or refuses it in one sentence.
"""

import codecs
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.environment import PROJECT
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

UNREADABLE = {
    "empty": (b"", "is empty"),
    "a line end alone": (b"\r\n", "is empty"),
    "Latin-1": ("id,name,kind\nguard-1,Jürgen,x\n".encode("latin-1"), "UTF-8"),
    "UTF-16 without a mark": ("id,name\nguard-1,Asha\n".encode("utf-16-le"), "UTF-16"),
    "damaged UTF-16": (codecs.BOM_UTF16_BE + b"\xd8\x00", "damaged"),
    "gzip": (gzip.compress(b"id\nguard-1\n"), "gzip-compressed: unpack it first"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "old Excel workbook"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
}
OPTIONS = {
    "guard import": ["guard", "import", "{}"],
    "device import": ["device", "import", "{}"],
    "shift import": ["shift", "import", "{}"],
    "zone import": ["zone", "import", "{}"],
    "zone import, format given": ["zone", "import", "--format", "geojson", "{}"],
    "zone check": ["zone", "check", "{}"],
    "zone try": ["zone", "try", "{}"],
    "zone add --geojson": ["zone", "add", "Z", "--kind", "required", "--geojson", "{}"],
    "zone add --schedule": ["zone", "add", "Z", "--kind", "required", "--circle", "1", "2", "30", "--schedule", "{}"],
    "zone --confirmation": ["zone", "add", "Z", "--kind", "speed", "--circle", "1", "2", "9", "--confirmation", "{}"],
    "guard within": ["guard", "within", "{}"],
    "policy set": ["policy", "set", "{}"],
    "rota set": ["rota", "set", "nights", "{}"],
    "template set": ["template", "set", "sms", "en", "text", "{}"],
    "rules test": ["rules", "test", "{}"],
    "replay": ["replay", "{}"],
    "simulate --credentials": ["simulate", "--duration", "1", "--credentials", "{}"],
    "alert verify": ["alert", "verify", "{}"],
    "alert verify --against": ["alert", "verify", "--tenant", "1", "--against", "{}"],
    "VIGIL_CONFIG": ["rules", "list"],
}  # fmt: skip
"""Commands that take a file. `{}` is the file. A variable names the configuration file."""


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name in names:
            written.writestr(name, "<x/>" * 50)
    return buffer.getvalue()


RUNNER = """
import json, os, pwd, sys, traceback
from ops import cli
runs = json.loads(sys.argv[1])
cli.group.get_command(None, runs[0][0][0])  # its modules are imported once, each run is a process of its own
for arguments, environment in runs:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(writing, 1), os.dup2(writing, 2), os.close(reading)
        os.environ.update(environment)
        if sys.argv[2]:
            os.setuid(pwd.getpwnam(sys.argv[2]).pw_uid)
        sys.argv, code = ["vigil", *arguments], 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
            print("" if isinstance(ended.code, int) else ended.code, end="\\n" * isinstance(ended.code, str))
        except BaseException:
            code = traceback.print_exc() or 70
        sys.stdout.flush()
        os._exit(code)
    os.close(writing)
    said = b"".join(iter(lambda: os.read(reading, 65536), b""))
    os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([code, said.decode().splitlines()]))
"""


def answers_of(
    outside: OutsideClients, option: str, files: Sequence[Path], *, user: str = ""
) -> list[tuple[int, list[str]]]:
    """Return, for each file, the exit code and the lines of the command that gets it."""
    runs = [
        (
            [word.format(file) for word in OPTIONS[option]],
            {"VIGIL_CONFIG": str(file)} if option == "VIGIL_CONFIG" else {},
        )
        for file in files
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(runs), user],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=outside.env,
        cwd=PROJECT,
        timeout=120,
    )
    return [(code, lines) for code, lines in map(json.loads, done.stdout.splitlines())]


def said_of(outside: OutsideClients, option: str, file: Path, *, user: str = "") -> tuple[int, list[str]]:
    """Return the exit code and the lines of a command that gets this file."""
    [answer] = answers_of(outside, option, [file], user=user)
    return answer


@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence_by_each_command(
    outside: OutsideClients, tmp_path: Path, option: str
) -> None:
    # Given files that are not text, that do not exist, or that are not files
    wanted: dict[Path, str] = {}
    for number, (name, (content, said)) in enumerate(UNREADABLE.items()):
        file = tmp_path / f"{number} {name}.dat"
        file.write_bytes(content)
        wanted[file] = said
    for name, content, said in (
        ("zones.kmz", archive("doc.kml"), "KMZ; unpack it"),
        (
            "guards.xlsx",
            archive("[Content_Types].xml", "xl/workbook.xml"),
            "Excel workbook (.xlsx): save it as",
        ),
        ("guards.zip", archive("guards.csv"), "ZIP archive: unpack it first"),
    ):
        (tmp_path / name).write_bytes(content)
        wanted[tmp_path / name] = said
    (tmp_path / "a directory").mkdir()
    wanted[tmp_path / "a directory"] = "directory"
    wanted[tmp_path / "missing.csv"] = "o such file"

    # When each is given to the command
    answers = answers_of(outside, option, [*wanted])

    # Then it says in one line what is wrong, and ends with 1
    for (file, said), (code, lines) in zip(wanted.items(), answers, strict=True):
        assert len(lines) == 1, f"{file.name}: {lines}"
        assert said in lines[0], f"{file.name}: {lines}"
        assert code == 1, f"{file.name}: {lines}"
        assert "Traceback" not in lines[0]
        assert "go on" not in lines[0]


def test_a_file_that_the_user_may_not_read_is_named_as_such(outside: OutsideClients, tmp_path: Path) -> None:
    # Given a file of another user
    file = tmp_path / "closed.csv"
    file.write_text("id\nguard-1\n")
    file.chmod(0)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o111)

    # When a user imports it who is neither its owner nor the superuser
    user = "nobody" if os.geteuid() == 0 else ""
    code, lines = said_of(outside, "guard import", file, user=user)

    # Then the permissions are named
    assert (code, len(lines)) == (1, 1), lines
    assert "may not be read by this user: change its permissions" in lines[0]


GUARDS = "id,name\n{0}-a,Jürgen\n{0}-b,Asha\n"
WAYS_TO_WRITE = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16 little endian": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16 big endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "Excel's first line": lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(),
    "capitals": lambda text: text.replace("id,name", "ID,Name").encode(),
    "blanks": lambda text: text.replace("id,name", " id , name ").encode(),
    "a trailing comma": lambda text: text.replace("\n", ",\n").encode(),
    "carriage returns": lambda text: text.replace("\n", "\r\n").encode() + b"\r\n,\r\n",
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_guards_are_imported_as_spreadsheets_write_them(
    outside: OutsideClients, tmp_path: Path, way: str
) -> None:
    # Given two guards in a file
    name = f"guard-{outside.run}"
    file = tmp_path / "guards.csv"
    file.write_bytes(WAYS_TO_WRITE[way](GUARDS.format(name)))

    # When it is imported
    said = run_vigil(outside.env, "guard", "import", str(file))

    # Then both are there with their names
    assert said.startswith("2 added, 0 refused")
    query = "SELECT guard_id, name FROM guard WHERE guard_id LIKE %s ORDER BY guard_id"
    assert outside.rows(query, f"{name}-%") == [(f"{name}-a", "Jürgen"), (f"{name}-b", "Asha")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name,id\n{0},x,y\n", "the column id is there twice"),
        ("name\nAsha\n", "line 1 has the columns name; wanted: id, name, site (id must be there)"),
        ("id,shoe size\n{0},44\n", "line 1 has the columns id, shoe_size; wanted"),
        ('id,name\n{0},"Asha\n', "line 2: the file is not CSV"),
        ("id,name\n{0},A\x00sha\n", "line 2: the file has a NUL byte"),
        ("sep=;\n", "must name the columns id"),
    ],
)
def test_a_table_of_another_shape_adds_nobody_and_is_not_to_be_said_again(
    outside: OutsideClients, tmp_path: Path, text: str, said: str
) -> None:
    name = f"guard-{outside.run}"
    file = tmp_path / "guards.csv"
    file.write_text(text.format(name))
    code, lines = said_of(outside, "guard import", file)
    assert (code, len(lines)) == (1, 1), lines
    assert said in lines[0]
    assert "go on" not in lines[0]
    assert outside.rows("SELECT 1 FROM guard WHERE guard_id LIKE %s", f"{name}%") == []


def test_a_line_with_too_few_or_too_many_cells_is_named_and_the_others_are_imported(
    outside: OutsideClients, tmp_path: Path
) -> None:
    name = f"guard-{outside.run}"
    file = tmp_path / "guards.csv"
    file.write_text(f"sep=,\nid,name\n{name}-a\n{name}-b,Ravi\n{name}-c,Asha,x,y\n")
    code, lines = said_of(outside, "guard import", file)
    assert code == 1
    assert "line 3: it has 1 cells, and the header has 2 columns" in lines
    assert "line 5: it has 4 cells, and the header has 2 columns" in lines
    assert lines[-1].startswith("1 added, 2 refused")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_shifts_are_imported_in_the_encodings_of_windows(
    outside: OutsideClients, tmp_path: Path, encoding: str
) -> None:
    name = f"guard-{outside.run}"
    run_vigil(outside.env, "guard", "add", name, "--no-credential")
    file = tmp_path / "shifts.csv"
    text = f"Guard;Starts at;Ends at\n{name};2026-03-01T22:00Z;2026-03-02T06:00Z\n{name};tomorrow;later\n{name}\n"
    file.write_bytes(text.encode(encoding))
    code, lines = said_of(outside, "shift import", file)
    assert code == 1
    assert lines[-1] == "1 shifts added, 2 refused"
    assert any("line 3: 'tomorrow' is not a time" in line for line in lines)
    assert any("line 4: it has 1 cells, and the header has 3 columns" in line for line in lines)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_zones_are_imported_in_the_encodings_of_windows(
    outside: OutsideClients, tmp_path: Path, encoding: str
) -> None:
    name = f"Zone Ü {outside.run} {encoding}"
    properties = {"name": name, "kind": "required", "radius_m": 50}
    geometry = {"type": "Point", "coordinates": [77.59, 12.97]}
    text = json.dumps({"type": "Feature", "properties": properties, "geometry": geometry}, ensure_ascii=False)
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    file = tmp_path / "zones.geojson"
    file.write_bytes(mark + text.encode(encoding))
    assert run_vigil(outside.env, "zone", "import", str(file)) == "imported: 1 added\n"
    assert outside.rows("SELECT count(*) FROM zone WHERE name = %s", name) == [(1,)]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "the file is empty"),
        ("\ufeff", "the file is empty"),
        ("PK\x03\x04\x14doc.kml", "KMZ; unpack it and import the doc.kml in it"),
        ("\x1f\ufffd\x08{}", "compressed or binary, not text"),
        ("PK\x03\x04xl/workbook.xml", "Excel workbook (.xlsx): save it as GeoJSON"),
        (gzip.compress(b"{}").decode("utf-8", "replace"), "text must not hold NUL"),
        ("{}".encode("utf-16-le").decode("latin-1"), "text must not hold NUL"),
    ],
)
def test_the_api_says_the_same_of_a_file_that_was_sent_as_text(
    outside: OutsideClients, document: str, said: str
) -> None:
    token = outside.token(role="supervisor")
    status, answer = outside.request("POST", "/api/v1/zones/import", {"document": document}, token=token)
    assert status in (400, 409, 422), answer
    assert said in answer["detail"] or document == "", answer


BEGAN = datetime(2025, 11, 3, 22, 0, tzinfo=UTC)


def gpx(points: list[str]) -> str:
    return f'<gpx version="1.1"><trk><name>walk</name><trkseg>{"".join(points)}</trkseg></trk></gpx>'


def test_a_recording_whose_first_point_has_no_time_is_replayed_without_it(
    outside: OutsideClients, tmp_path: Path
) -> None:
    # Given a track of 12 points: one without a time, one without a valid place, one with a speed
    # in words
    timed = [
        f'<trkpt lat="{12.97 + n / 10_000:.4f}" lon="77.59">'
        f"<time>{(BEGAN + timedelta(seconds=10 * n)).isoformat()}</time>"
        f"{'<speed>fast</speed>' if n == 3 else ''}</trkpt>"  # noqa: PLR2004
        for n in range(10)
    ]
    wrong = '<trkpt lat="91" lon="77.59"><time>2025-11-03T23:00:00Z</time></trkpt>'
    file = tmp_path / "walk.gpx"
    file.write_text(gpx(['<trkpt lat="12.97" lon="77.59"/>', *timed, wrong]))

    # When it is replayed
    into = int(outside.run[:6], 16) + 3_000_000
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "replay", str(file), "--into", str(into), "--speed", "300", "--json"],
        check=True, capture_output=True, text=True, env=outside.env, cwd=PROJECT, timeout=120,
    )  # fmt: skip

    # Then the other ten are stored, and the command says how many were skipped, and why
    found = json.loads(done.stdout)
    assert (found["points"], found["fixes"], found["stored"]) == (12, 10, 10)
    assert found["unusable"] == {"no time": 1, "lat is not -90 to 90": 1}
    assert found["left_out"] == {"speed": 1}
    assert "2 of 12 points skipped: 1 lat is not -90 to 90, 1 no time" in done.stderr


def test_a_recording_without_any_usable_point_is_refused_with_the_reason(
    outside: OutsideClients, tmp_path: Path
) -> None:
    file = tmp_path / "walk.gpx"
    file.write_text(gpx(['<trkpt lat="12.97" lon="77.59"/>'] * 3))
    code, lines = said_of(outside, "replay", file)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].endswith(
        "time is missing; every position needs time, lat, lon; none of the 3 points can be used"
    )
