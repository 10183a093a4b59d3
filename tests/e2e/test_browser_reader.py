"""Tests of the browser's reader of the feed.

Node runs it on the frames that the other reader must pass too.
"""

import base64
import json
import subprocess
from pathlib import Path

from tests.support.reader_cases import all_streams

PROJECT = Path(__file__).resolve().parents[2]


def test_the_browser_believes_what_fits_and_nothing_else() -> None:
    streams = list(all_streams())
    lines = [
        json.dumps({"keys": stream.keys, "frames": [base64.b64encode(f).decode() for f in stream.frames]})
        for stream in streams
    ]
    done = subprocess.run(
        ["node", "tests/e2e/browser/reader.mjs", "console/feed.js"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=PROJECT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(streams) > 2000
    wrong = [
        stream.name for stream, answer in zip(streams, answers, strict=True) if answer != stream.believed
    ]
    assert wrong == []
