"""One and two copies of each domain service: rates, CPU and latencies.

Also kill -9 of every process, with two copies of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from statistics import fmean
from typing import Any

from bench.ledger import load
from bench.pipelines.plain_peer import PARTS, PREFIX
from bench.rounds import WARM_UP, WARM_UP_AGE, BenchRound, BenchRounds, LedgerCheck
from ops.local.stack import Stack
from ops.processes import PROCESSES
from services.platform import metrics_export

COPIED = ("directory", "telemetry", "location", "alerts", "notifications")
LATE_BY_US = "vigil_late_by_us_total"
READY_TIMEOUT_S = 60.0
KILL_RATE = 500.0
"""Messages a second while processes are killed.

The load outlasts the kills, which come one after the other.
"""
KILL_QUIET_S = 30.0
KILL_PEER_AT = (1 / 3, 2 / 3)


class TwoCopies:
    """Measurements on a stack with two copies of some services.

    The second copies run only while they are needed.
    """

    def __init__(self, stack: Stack, rounds: BenchRounds, *, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._rounds = rounds
        self._say = say
        self._seconds = [name for name in stack.services if "@" in name]

    def stop_seconds(self) -> None:
        """Stop the second copy of each service."""
        self._stack.supervisor.stop(only=self._seconds)

    def start_seconds(self) -> None:
        """Start the second copy of each service.

        Raises `RuntimeError` when one does not become ready.
        """
        supervisor = self._stack.supervisor
        supervisor.start(only=self._seconds)
        if late := supervisor.wait_ready(self._seconds, timeout_s=READY_TIMEOUT_S):
            raise RuntimeError(f"{late[0].name} is not ready; the end of its log:\n{late[0].last_lines()}")

    def measure(
        self, count: int, *, first: BenchRound | None, seconds: float
    ) -> tuple[dict[str, Any], list[LedgerCheck]]:
        """Measure with one, two, two and one copies.

        This order spreads other work of the machine, and the growth of the tables, evenly over
        both. `first` is a round with one copy that was measured before.
        """
        ones = [first] if first else []
        twos: list[BenchRound] = []
        checks: list[LedgerCheck] = []
        late_before = late_by_us(self._stack)

        if not ones:
            ones.append(self._flood(count, "one", checks))

        self.start_seconds()
        twos += [self._flood(count, "two", checks) for _ in range(2)]
        quiet_two = self._rounds.latency(seconds=seconds).figures()
        late_after = late_by_us(self._stack)
        self.stop_seconds()
        ones.append(self._flood(count, "one", checks))

        return {**compare(ones, twos), "quiet_two": quiet_two, **_grown(late_before, late_after)}, checks

    def _flood(self, count: int, words: str, checks: list[LedgerCheck]) -> BenchRound:
        self._rounds.flood(WARM_UP, before_now=WARM_UP_AGE)
        measured, checked = self._rounds.flood(count)
        self._say(f"{words} of each: {measured.per_s:.0f}/s, {measured.cpu_of_all:.3f} CPU s per 1,000")
        checks.append(checked)
        return measured

    def kill_each(self, count: int) -> LedgerCheck:
        """Kill every process under load, one after the other, including both copies.

        Each restarts by itself.

        Raises:
            RuntimeError: The load ended before all processes were killed.
        """
        self.start_seconds()
        supervisor = self._stack.supervisor
        victims = [process for process in supervisor.processes if process.name.partition("@")[0] in PROCESSES]
        killed: list[str] = []

        def during() -> None:
            supervisor.poll()
            if len(killed) < len(victims) and all(process.state == "ready" for process in victims):
                victims[len(killed)].kill()
                killed.append(victims[len(killed)].name)

        run, entries = self._rounds.ledger(count)
        with closing(self._rounds.receipts(run)) as receipts:
            result = load.run(
                entries,
                host=self._rounds.host,
                port=self._rounds.port,
                receipts=receipts,
                say=self._say,
                during=during,
                quiet_s=KILL_QUIET_S,
                rate=KILL_RATE,
            )

        if len(killed) < len(victims):
            raise RuntimeError(f"the load ended when {len(killed)} of {len(victims)} were killed: send more")

        return self._rounds.check(run, entries, result.unacknowledged, during=supervisor.poll)

    def kill_peer(self, count: int) -> LedgerCheck:
        """Kill each part of the plain peer once under load, and start it again."""
        with self._rounds.plain_peer() as (peer, url):
            run, entries = self._rounds.ledger(count)
            receipts = self._rounds.receipts(run, PREFIX)
            due = list(zip(KILL_PEER_AT, PARTS, strict=True))

            def during() -> None:
                if due and len(receipts.stored) > due[0][0] * count:
                    _, name = due.pop(0)
                    peer.kill(name)
                    peer.start(name)

            with closing(receipts):
                result = load.run(
                    entries,
                    host=self._rounds.host,
                    port=self._rounds.port,
                    prefix=PREFIX,
                    receipts=receipts,
                    say=self._say,
                    during=during,
                    quiet_s=KILL_QUIET_S,
                )

            if due:
                raise RuntimeError("the load ended before both parts of the peer were killed: send more")

            return self._rounds.check(run, entries, result.unacknowledged, url=url)


def compare(ones: list[BenchRound], twos: list[BenchRound]) -> dict[str, Any]:
    """Return rates and CPU with one and two copies, and the ratios of their means. Pure."""
    rate_one, rate_two = (fmean(one.per_s for one in rounds) for rounds in (ones, twos))
    cpu_one, cpu_two = (fmean(one.cpu_of_all for one in rounds) for rounds in (ones, twos))
    age_two = [age for one in twos if (age := one.ages().get("marker_age_p100_s")) is not None]

    return {
        "one_per_s": round(rate_one, 1),
        "two_per_s": round(rate_two, 1),
        "rate_two_to_one": round(rate_two / rate_one, 3),
        "one_cpu_s_per_1000": round(cpu_one, 4),
        "two_cpu_s_per_1000": round(cpu_two, 4),
        "cpu_two_to_one": round(cpu_two / cpu_one, 3),
        **({"two_marker_age_p100_s": max(age_two)} if age_two else {}),
        "one_cpu_by_process": by_process(ones),
        "two_cpu_by_process": by_process(twos),
    }


def by_process(rounds: list[BenchRound]) -> dict[str, float]:
    """Return CPU seconds of each kind of process for 1,000 messages, both copies together. Pure."""
    found: dict[str, float] = {}
    for one in rounds:
        for name, used in one.cpu_s_per_1000.items():
            kind = name.partition("@")[0]
            found[kind] = found.get(kind, 0.0) + used / len(rounds)
    return {name: round(used, 4) for name, used in found.items() if name != "generator"}


def late_by_us(stack: Stack) -> float | None:
    """Return the number of positions that Vigil itself made late so far; None without a counter."""
    before = os.environ.get(metrics_export.VARIABLE)
    os.environ[metrics_export.VARIABLE] = stack.settings()[metrics_export.VARIABLE]

    try:
        found = [value for _, _, value in metrics_export.samples({LATE_BY_US})]
    finally:
        if before is None:
            del os.environ[metrics_export.VARIABLE]
        else:
            os.environ[metrics_export.VARIABLE] = before

    return sum(found) if found else None


def _grown(before: float | None, after: float | None) -> dict[str, float]:
    return {} if after is None else {"late_by_us": after - (before or 0.0)}
