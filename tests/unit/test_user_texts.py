"""Tests of the texts that users and operators read: errors, log events, help, labels, notifications.

CONTRIBUTING.md has the rules for prose. `docs/glossary.md` has the words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
import yaml

from ops.environment import PROJECT
from ops.input_output.tables import worded
from services.contracts.events import AlertStatus, AlertType, Severity
from services.notifications.texts.templates import PARTS, Templates
from services.notifications.texts.translations import FIXED, SAMPLE

FOLDERS = ("services", "gateway", "ops", "bench", "sdk")
OF_SERVICES = ("services", "gateway", "ops")
"""Folders with structured logs. The SDK logs sentences by the standard library."""
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
LOG_EVENT = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*_(\w+)")
IRREGULAR = {"found", "kept", "lost", "read", "sent", "written", "broadcast"}
"""Past participles that do not end in -ed."""


UNUSUAL = re.compile(
    r"\b(whoever|whomever|of whom|of which|by which|to whom|tells?|told|telling|put by|all the same|anew"
    r"|himself|the road|the house|screens?|people|owed|silences?|silenced|nobody knows|mend(?:s|ed|ing)?"
    r"|(?:is|are|was|went|gone|falls?) silent|besides|(?:is|are|was) no(?! longer\b)|go(?:es)? on"
    r"|stands? (?:below|above|still)|not to be had|so many|leans? on|again and again"
    r"|(?<!dead )letters? (?:is|are|was|goes|that|back))\b"
    r"|\bsay (?:`|--|it\b)",
    re.IGNORECASE,
)
"""Words that no user reads. An instruction is "run `vigil ...`" or "use --option"."""
THERE_IS = re.compile(r"\bthere (?:is|are|was) no\b", re.IGNORECASE)
CODE = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|GRANT|AND|WHERE|FROM|SET|ORDER)\b|\s*body \{"
)
"""Begin of a literal that is SQL or CSS."""
JS_COMMENT = re.compile(r"(?:^|\s)//.*$", re.MULTILINE)
JS_TEXT = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`|>([^<>{}]+)<')
RAW = re.compile(r'\$\{[\w.]*\.(?:alert_type|channel|reason|kind|role)\}|replaceAll\("_", " "\)')
"""A value of an enum that a page would show as it is."""
CONSOLE_WORDS = PROJECT / "console" / "words.js"
MONITORING = ("summary", "description", "title")


@cache
def trees() -> tuple[tuple[Path, ast.Module], ...]:
    paths = (path for folder in FOLDERS for path in sorted((PROJECT / folder).rglob("*.py")))
    own = (path for path in paths if not {"node_modules", "build"} & set(path.parts))
    return tuple((path, ast.parse(path.read_text())) for path in own)


def is_log_event(text: str) -> bool:
    """Return True for a snake_case subject with a past participle at the end: `batch_stored`."""
    found = LOG_EVENT.fullmatch(text)
    return found is not None and (found[1].endswith("ed") or found[1] in IRREGULAR)


def log_events(tree: ast.Module) -> Iterator[tuple[int, ast.expr]]:
    """Yield the events that a module logs: line and first argument."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func.value) == "log" and node.func.attr in LOG_METHODS:
            yield node.lineno, node.args[0]


def test_a_log_event_is_a_noun_and_a_past_participle() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}:{line}: {ast.unparse(event)}"
        for path, tree in trees()
        for line, event in log_events(tree)
        if path.relative_to(PROJECT).parts[0] in OF_SERVICES
        if not isinstance(event, ast.Constant) or not is_log_event(str(event.value))
    ]
    assert wrong == []


@pytest.mark.parametrize("event", ["batch_stored", "test_message_lost", "heartbeat_not_sent"])
def test_a_good_log_event_is_accepted(event: str) -> None:
    assert is_log_event(event)


@pytest.mark.parametrize("event", ["stored", "Batch stored", "nobody_to_tell", "server_does_not_answer"])
def test_a_bad_log_event_is_noticed(event: str) -> None:
    assert not is_log_event(event)


def literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that are prose: line and text, with {} for each value.

    Docstrings belong to `test_prose.py`. A literal without a blank is a name.
    """
    passed: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr):
                passed.add(id(statement.value))
        if isinstance(node, ast.JoinedStr):
            passed.update(map(id, node.values))
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            text = "".join(map(str, parts))
        else:
            continue
        if " " in text and not CODE.match(text):
            yield node.lineno, text


def unusual(text: str) -> str | None:
    """Return the words of a text that no user reads; None when there are none."""
    found = UNUSUAL.search(THERE_IS.sub("", text))
    return found[0] if found else None


def console_texts(source: str) -> Iterator[str]:
    for groups in JS_TEXT.findall(JS_COMMENT.sub("", source)):
        yield from (text for text in groups if " " in text.strip())


def decode(path: Path) -> object:
    return (
        msgspec.json.decode(path.read_bytes()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    )


def monitoring_texts(value: object) -> Iterator[str]:
    """Yield the summaries, descriptions and titles of a file of Prometheus or Grafana."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in MONITORING and isinstance(inner, str):
                yield inner
            else:
                yield from monitoring_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from monitoring_texts(inner)


def test_no_text_of_a_program_has_unusual_words() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}:{line}: {found!r} in {text[:120]!r}"
        for path, tree in trees()
        for line, text in literals(tree)
        if (found := unusual(text))
    ]
    assert wrong == []


def test_no_text_of_the_console_has_unusual_words() -> None:
    wrong = [
        f"{path.name}: {found!r} in {text[:120]!r}"
        for path in sorted([*(PROJECT / "console").glob("*.js"), PROJECT / "console" / "index.html"])
        for text in console_texts(path.read_text())
        if (found := unusual(text))
    ]
    assert wrong == []


def test_no_text_of_the_monitoring_has_unusual_words() -> None:
    files = [*(PROJECT / "prometheus" / "rules").glob("*.yml"), *(PROJECT / "grafana").rglob("*.json")]
    assert len(files) > 6
    wrong = [
        f"{path.name}: {found!r} in {text[:120]!r}"
        for path in sorted(files)
        for text in monitoring_texts(decode(path))
        if (found := unusual(text))
    ]
    assert wrong == []


def test_a_page_of_the_console_shows_an_enum_value_by_its_words() -> None:
    wrong = [
        f"{path.name}: {found[0]}"
        for path in sorted((PROJECT / "console").glob("*.js"))
        if path != CONSOLE_WORDS
        for found in RAW.finditer(JS_COMMENT.sub("", path.read_text()))
    ]
    assert wrong == []


@pytest.mark.parametrize("language", sorted(FIXED))
@pytest.mark.parametrize("channel", PARTS)
def test_a_notification_shows_no_enum_value(channel: str, language: str) -> None:
    built_in = Templates({})
    for kind in AlertType:
        for severity in Severity:
            words = msgspec.structs.replace(
                SAMPLE, alert_type=kind, severity=severity, flags=("off_shift",), message="help", link=""
            )
            shown = built_in.render(channel, language, words)
            written = set(re.findall(r"[A-Z_]{3,}", f"{shown.subject} {shown.text} {shown.html}"))
            assert not written & ({*AlertType, *Severity} - {"SOS"}), written
            assert "off_shift" not in shown.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("alert_type", kind) for kind in AlertType] + [("status", status) for status in AlertStatus],
)
def test_a_table_of_a_command_shows_an_enum_value_by_its_words(name: str, value: str) -> None:
    shown = worded(name, value)
    assert shown == "SOS" or (shown != value and "_" not in shown)


@pytest.mark.parametrize(
    "text",
    [
        "Nobody knows where it is",
        "name one letter, or say --all",
        "the file is no JSON",
        "who is told of an alert",
        "open screens show nothing",
        "the service is silent",
    ],
)
def test_an_unusual_word_is_noticed(text: str) -> None:
    assert unusual(text)


@pytest.mark.parametrize(
    "text",
    [
        "Location unknown",
        "there is no policy {}",
        "it is no longer on shift",
        "1 to 128 letters, digits and _",
        "Silent: do not call the guard back.",
        "3 occurrences",
    ],
)
def test_a_plain_text_is_accepted(text: str) -> None:
    assert unusual(text) is None


def test_the_sentences_of_the_console_are_in_its_file_of_words() -> None:
    wrong = [
        f"{path.name}: {text[:120]!r}"
        for path in sorted((PROJECT / "console").glob("*.js"))
        if path != CONSOLE_WORDS
        for text in console_texts(path.read_text())
        if re.match(r"[A-Z][a-z]+ [a-z]+", text)
    ]
    assert wrong == []


def labels() -> dict[str, set[str]]:
    """Return the names of the console's labels, by page."""
    source = CONSOLE_WORDS.read_text().partition("export const labels = {")[2]
    _, *parts = re.split(r"^  (\w+): \{", source, flags=re.MULTILINE)
    pages = zip(parts[::2], parts[1::2], strict=True)
    return {name: set(re.findall(r"(?:^|[ {])(\w+): ", body, re.MULTILINE)) for name, body in pages}


def test_every_label_that_a_page_shows_is_in_the_file_of_words() -> None:
    known = labels()
    assert len(known) > 15
    missing = []
    for path in sorted((PROJECT / "console").glob("*.js")):
        source = JS_COMMENT.sub("", path.read_text()) if path != CONSOLE_WORDS else ""
        page = re.search(r"const text = labels\.(\w+);", source)
        shown = re.findall(r"\blabels\.(\w+)\.(\w+)", source)
        if page is not None:
            shown += [(page[1], name) for name in re.findall(r"(?<![\w.])text\.(\w+)", source)]
        missing += [f"{path.name}: {one}.{name}" for one, name in shown if name not in known.get(one, set())]
    assert missing == []
