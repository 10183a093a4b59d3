"""The limits for honest work beside an attack, and the figures of a run as a Markdown table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.outside_clients import OutsideClients
from tests.torture.attacks.honest import Honest, Measured, p

PANIC_S = 0.5
"""Seconds within which 99 of 100 panics reach the session, on a quiet machine."""
TIMES = 4
QUIET_S = PANIC_S / TIMES
"""Lower bound of the quiet figure in seconds.

An attack may make panics `TIMES` times as slow as they are without it. A quiet figure below this
bound counts as the bound: PANIC_S alone decides then, because noise of a small figure is no harm.
"""
LOG_IN_S = 3.0
BACK_S = 10.0
"""Seconds after an attack until all is as before, without any action of an operator."""
HEAD = (
    "| attack | panics: number | quiet p99 (ms) | beside p50 (ms) | beside p99 (ms) | slowest log-in (s)"
    " | reads refused | memory (MB) | as before after (s) | what the attacker got |"
)


class Figure(NamedTuple):
    """One attack.

    `grown_bytes` is the growth of the process that grew most. `back_s` is the time in seconds until
    all was as before. None means: not measured.
    """

    kind: str
    seconds: float
    alone: Measured
    beside: Measured
    grown_bytes: int | None
    back_s: float | None

    @property
    def row(self) -> str:
        got = ", ".join(f"{count} {what}" for what, count in sorted(self.beside.attack["answers"].items()))
        log_ins = [took for took in self.beside.log_ins if took is not None]
        cells = (
            f"{self.kind.replace('_', ' ')}, {self.seconds:.3g} s",
            f"{len(self.beside.panics)}",
            f"{p(self.alone.panics, 0.99) * 1000:.0f}",
            f"{p(self.beside.panics, 0.5) * 1000:.0f}",
            f"{p(self.beside.panics, 0.99) * 1000:.0f}",
            f"{max(log_ins):.2f}" if log_ins else "-",
            f"{self.beside.reads.count(None)} of {len(self.beside.reads)}" if self.beside.reads else "-",
            "-" if self.grown_bytes is None else f"{self.grown_bytes / 1e6:.0f}",
            "-" if self.back_s is None else f"{self.back_s:.1f}",
            got or "nothing",
        )
        return f"| {' | '.join(cells)} |"


class Figures:
    """Figures of all attacks of a run, written to a file after each.

    An interrupted run has them too. `failed` has names of tests, and grows during the run.
    """

    def __init__(self, file: Path | None, failed: Sequence[str] = ()) -> None:
        self._file = file
        self._failed = failed
        self._figures: list[Figure] = []

    def note(self, figure: Figure) -> None:
        self._figures.append(figure)
        print(f"\n{HEAD}\n{figure.row}")
        self.write()

    def write(self) -> None:
        if self._file is not None:
            self._file.write_text(self.markdown())

    def markdown(self) -> str:
        line = "|---" * HEAD.count(" | ") + "|---|"
        failed = [f"\nDid not hold: {', '.join(self._failed)}\n"] if self._failed else []
        return "\n".join([HEAD, line, *(figure.row for figure in self._figures), "", *failed])


def most_s(alone: Measured) -> float:
    """Return the seconds within which 99 of 100 panics must reach the session beside an attack."""
    return min(PANIC_S, TIMES * max(QUIET_S, p(alone.panics, 0.99)))


def check_honest(alone: Measured, beside: Measured) -> None:
    """Check the limits that each user and device relies on.

    A lost panic has failed before: the probe waits for each.
    """
    assert p(beside.panics, 0.99) <= most_s(alone), beside.says()
    assert None not in beside.reads, beside.says()
    assert beside.log_ins
    assert None not in beside.log_ins, beside.says()
    assert max(took for took in beside.log_ins if took is not None) <= LOG_IN_S, beside.says()


def seconds_until_as_before(honest: Honest, alone: Measured) -> float:
    """Return the seconds after an attack until panics, log-ins and reads are as before it.

    It gives up after BACK_S.
    """
    started_s = time.monotonic()
    while True:
        now = honest.work(0.5)
        took_s = time.monotonic() - started_s
        try:
            check_honest(alone, now)
        except AssertionError:
            if took_s > BACK_S:
                return took_s
        else:
            return took_s


def running(outside: OutsideClients) -> dict[str, int | None]:
    """Return the process id of each process of the stack. A restarted process has another id."""
    outside.stack.supervisor.poll()
    return {process.name: process.pid for process in outside.stack.supervisor.processes}
