"""Files that commands are given: read whole within a limit, or refused with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from services.contracts.errors import Refused
from services.platform.files.text_files import text_of

MAX_BYTES = 64 * 1024 * 1024
INPUT_FILE = click.Path(path_type=Path, readable=False)
"""Type of an argument or option that names a file to read.

The reader checks the file, so that the message is Vigil's own.
"""
STANDARD_INPUT = Path("-")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of the file before the message of a refusal."""
    try:
        yield
    except Refused as error:
        raise type(error)(f"{safe_name(path)}: {error}") from error


def read_bytes(path: Path, *, at_most: int = MAX_BYTES, standard_input: bool = False) -> bytes:
    """Return the content of a file.

    Args:
        path: the file to read.
        at_most: the largest size in bytes that is read.
        standard_input: take `-` as standard input.

    Raises:
        Refused: the file is missing, a directory, not readable or too large.
    """
    try:
        if standard_input and path == STANDARD_INPUT:
            content = sys.stdin.buffer.read(at_most + 1)
        else:
            with path.open("rb") as stream:
                content = stream.read(at_most + 1)
    except FileNotFoundError as error:
        raise Refused(f"{safe_name(path)}: there is no such file: check the name") from error
    except IsADirectoryError as error:
        raise Refused(f"{safe_name(path)} is a directory: name a file in it") from error
    except PermissionError as error:
        raise Refused(f"{safe_name(path)} may not be read by this user: change its permissions") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{safe_name(path)} cannot be read: {error}") from error

    if len(content) > at_most:
        raise Refused(f"{safe_name(path)} has more than {at_most:,} bytes: split it")

    return content


def read_text(path: Path, *, at_most: int = MAX_BYTES, standard_input: bool = False) -> str:
    """Return the text of a file. Raises `Refused`."""
    content = read_bytes(path, at_most=at_most, standard_input=standard_input)
    with naming(path):
        return text_of(content)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises `Refused`."""
    text = read_text(path)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(f"{safe_name(path)}: the file is not JSON: {error}") from error


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML or JSON file. Raises `Refused`."""
    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(f"{safe_name(path)}: {yaml_problem(error)}") from error


def yaml_problem(error: Exception) -> str:
    """Return one line that says where a YAML file is wrong."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}the file is neither YAML nor JSON: {' '.join(str(what).split())}"


def safe_name(path: Path) -> str:
    """Return the name of a file, safe for a terminal."""
    text = "standard input" if path == STANDARD_INPUT else str(path)
    return "".join(sign if sign.isprintable() else "?" for sign in text)
