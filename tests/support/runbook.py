"""The runbook as tests read it: pages, their blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "docs" / "runbook.md"
KINDS = ("sh", "sh destructive", "sh systemd", "sh compose")
PARTS = ("Meaning", "Look", "Act", "Verify")
ALERTS = {
    "page": (
        "VigilGatewayDisconnected VigilAlertQueueDeep VigilBroadcastFailing VigilZoneViolation VigilBlind VigilDown "
        "VigilProcessMissing VigilDependencyDown VigilWatchdogSilent VigilAlive"
    ),
    "high": (
        "VigilTasksFailing VigilMqttSlow VigilCircuitOpen VigilDeadLetters VigilConsumerPaused "
        "VigilEventsUnaccounted VigilLoopStalled VigilBrokerDrops "
        "VigilDiskFull VigilPartitionsMissing VigilDefaultPartitionFilling"
    ),
    "medium": "VigilQueueBacklog VigilWorkersBusy VigilCertificateExpiring VigilBackupOld VigilClockOff",
    "target": (
        "VigilNoMessages VigilTaskSuccessLow VigilConnectionsDropped VigilNotificationDeliveryLow VigilEndToEndSlow "
        "VigilGrowthHigh"
    ),
}
"""The rules of Prometheus, by the response when they fire."""
OF_HEALTH_ALONE = {"VigilMigrationsPending", "VigilShiftsMissing"}
"""Pages that only `vigil health` leads to."""
_SEPARATORS = {"|", "||", "&&", ";"}
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")


@dataclass(frozen=True)
class CommandBlock:
    """A fenced block: its info string, the line of the file where it begins, its commands."""

    kind: str
    line: int
    commands: tuple[str, ...]


@dataclass
class RunbookPage:
    """The text under one heading, without further headings within it."""

    title: str
    line: int
    text: str = ""
    blocks: list[CommandBlock] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return anchor(self.title)


def anchor(title: str) -> str:
    """Return the anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def alert_names() -> set[str]:
    return {name for names in ALERTS.values() for name in names.split()}


def pages(text: str | None = None) -> list[RunbookPage]:
    """Return every heading of the runbook with its text and its blocks, in order."""
    found: list[RunbookPage] = []
    kind, begun, commands = None, 0, list[str]()
    for number, line in enumerate((FILE.read_text() if text is None else text).splitlines(), 1):
        fence = re.fullmatch(r"\s*```(.*)", line)
        if fence and kind is None:
            kind, begun, commands = fence[1].strip(), number, []
        elif fence and kind is not None:
            found[-1].blocks.append(CommandBlock(kind, begun, tuple(commands)))
            kind = None
        elif kind is not None:
            if line.strip() and not line.strip().startswith("#"):
                commands.append(line.strip())
        elif heading := re.fullmatch(r"#+ (.*)", line):
            found.append(RunbookPage(heading[1], number))
        else:
            found[-1].text += line + "\n"
    assert kind is None, f"the block of line {begun} has no end"
    return found


def simple_commands(line: str) -> Iterator[list[str]]:
    """Yield the simple commands of a line of shell, each as its words.

    Those in `$(...)` are included.
    """
    for inner in _SUBSTITUTION.findall(line):
        yield from simple_commands(inner)
    lexer = shlex.shlex(
        re.sub(r"<[a-z ]+>", "PLACEHOLDER", _SUBSTITUTION.sub("SUBSTITUTED", line)),
        posix=True,
        punctuation_chars="|&;<>",
    )
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _SEPARATORS:
            yield words
            words = []
        else:
            words.append(word)
    yield words
