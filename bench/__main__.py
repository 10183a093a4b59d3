"""`python -m bench`: zones, sockets, then Vigil, a naive pipeline, the floor and a plain peer.

One run prints its figures beside the goals, and writes all of them to `.vigil/bench.json`. The exit
code is 1 when a ledger does not balance, or when a source's messages were stored or shown out of
order.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import goals
from bench.copies import COPIED, TwoCopies
from bench.measures import noise, zones
from bench.measures.sockets import Sockets
from bench.pipelines import plain_peer
from bench.rounds import BenchRound, BenchRounds, LedgerCheck, PaceFigures
from ops.environment import home
from ops.local.stack import GIVEN, HAPROXY, Stack

OTHERS = ["naive", "floor", "peer"]
STEPS = ["zones", "sockets", "rest", "quiet", "vigil", "rates", "copies", "kills", *OTHERS]
NOT_USUAL = frozenset({"kills"})
DISTURBED = 0.1
"""Share of the machine that other work may use. Above it a figure is doubtful."""
KILLED_MESSAGES, KILLED_PEER_MESSAGES = 50_000, 40_000
Figures = dict[str, Any]


def print_line(text: str) -> None:
    print(f"  {text}", flush=True)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--messages", type=int, default=120_000, help="messages for all but the naive pipeline"
    )
    parser.add_argument("--naive-messages", type=int, default=6_000)
    parser.add_argument("--sources", type=int, default=500, help="sources of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-seconds", type=float, default=10.0)
    parser.add_argument("--rest-seconds", type=float, default=30.0)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: does it work at all")
    parser.add_argument("--only", choices=STEPS, help="one step; `vigil` brings its latencies with it")
    parser.add_argument(
        "--copies",
        type=int,
        choices=[1, 2],
        help="2: one and two of each domain service, and nothing else; 1: never two",
    )

    parser.add_argument(
        "--of", nargs="+", choices=COPIED, default=COPIED, help="which services there are two of"
    )
    parser.add_argument(
        "--kills",
        action="store_true",
        help="kill every process with two of each, and the plain peer, under load",
    )

    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.messages, chosen.naive_messages = 6_000, 600
        chosen.latency_seconds, chosen.rest_seconds = 3.0, 3.0

    chosen.steps = steps(chosen)
    return chosen


def steps(chosen: argparse.Namespace) -> list[str]:
    """Return the chosen steps, in their order."""
    wanted = [step for step in STEPS if step not in NOT_USUAL]
    if chosen.only:
        wanted = ["quiet", "vigil"] if chosen.only == "vigil" else [chosen.only]
    elif chosen.copies == 2:
        wanted = ["copies"]
    elif chosen.kills:
        wanted = []

    if chosen.copies == 1:
        wanted = [step for step in wanted if step != "copies"]

    return [*wanted, "kills"] if chosen.kills and "kills" not in wanted else wanted


def main() -> int:
    chosen = options()
    if {"peer", "kills"} & set(chosen.steps) and not plain_peer.PYTHON.exists():
        print(plain_peer.PeerMissing(), file=sys.stderr)
        return 2

    figures: Figures = {"at": datetime.now(UTC).isoformat(), "messages": chosen.messages}
    if "zones" in chosen.steps:
        print("zones: false exits, detection delay, cost of a verdict", flush=True)
        figures["zones"] = noise.measure(days=2 if chosen.quick else noise.DAYS) | zones.measure()
    if set(chosen.steps) - {"zones"}:
        Bench(chosen, figures).run()

    figures["side_by_side"] = goals.side_by_side(figures)
    report(figures)
    return 1 if figures.get("failed") else 0


class Bench:
    """Steps that need servers, run against servers of their own."""

    def __init__(self, chosen: argparse.Namespace, figures: Figures) -> None:
        self._chosen = chosen
        self._figures = figures
        self._flood: dict[str, Any] = figures.setdefault("flood", {})
        self._quiet: dict[str, Any] = figures.setdefault("quiet", {})
        self._cpu: dict[str, Any] = figures.setdefault("cpu_s_per_1000", {})

    def run(self) -> None:
        for variable in GIVEN.values():
            os.environ.pop(variable, None)  # never into servers that somebody works with

        wants_two = {"copies", "kills"} & set(self._chosen.steps)
        instances = dict.fromkeys(self._chosen.of, 2) if wants_two else {}

        with tempfile.TemporaryDirectory(prefix="vigil-bench-") as directory:
            # All websocket sessions of the bench come from one address.
            given = {**os.environ, "VIGIL_CONNECTIONS_PER_ADDRESS": "3000"}
            stack = Stack(
                Path(directory), say=print_line, prefer_usual_ports=False, given=given, instances=instances
            )

            try:
                stack.start_servers()
                stack.start_services()
                self._measure(stack)
            finally:
                stack.stop()

    def _measure(self, stack: Stack) -> None:
        chosen, figures = self._chosen, self._figures
        rounds = BenchRounds(stack, sources=chosen.sources, seed=chosen.seed, say=print_line)
        rounds.plant_zones()
        copies = TwoCopies(stack, rounds, say=print_line)
        copies.stop_seconds()
        own: BenchRound | None = None

        if "rest" in chosen.steps:
            print("at rest", flush=True)
            rest = rounds.rest(seconds=chosen.rest_seconds)
            figures["rest"] = {**rest.figures(), "cores_by_process": rest.cores, "mib_by_process": rest.mib}
        if "sockets" in chosen.steps:
            print("sockets: many, and some that stop reading", flush=True)
            figures["sockets"] = Sockets(stack, say=print_line).measure(quick=chosen.quick)
        if "quiet" in chosen.steps:
            print("Vigil at 200 messages/s", flush=True)
            self._note_quiet("vigil", rounds.latency(seconds=chosen.latency_seconds))

        if "vigil" in chosen.steps:
            print(f"Vigil, {chosen.messages} messages", flush=True)
            own, checked, figures["growth"] = rounds.vigil(chosen.messages)
            self._note("vigil", own, checked)
            figures["ledger"] = {**checked.counts(), "balances": checked.holds}

        if "rates" in chosen.steps:
            print("Vigil at rates between quiet and flood", flush=True)
            figures["rates"], checks = rounds.at_rates(seconds=chosen.latency_seconds)
            for number, checked in enumerate(checks):
                self._judge(f"rates, round {number + 1}", checked)

        if "copies" in chosen.steps:
            print(f"one and two each of {', '.join(chosen.of)}", flush=True)
            figures["copies"], checks = copies.measure(
                chosen.messages, first=own, seconds=chosen.latency_seconds
            )
            for number, checked in enumerate(checks):
                self._judge(f"copies, round {number + 1}", checked)

        if "kills" in chosen.steps:
            print("kill -9 of every process, with two of each", flush=True)
            checked = copies.kill_each(KILLED_MESSAGES)
            figures["kills"] = checked.counts()
            self._judge("kills", checked)

        stack.supervisor.stop(only=[*stack.services, HAPROXY])
        self._others(rounds)

        if "kills" in chosen.steps:
            print("kill -9 of both parts of the plain peer", flush=True)
            checked = copies.kill_peer(KILLED_PEER_MESSAGES)
            figures["kills_peer"] = checked.counts()
            self._judge("kills of the peer", checked)

    def _others(self, rounds: BenchRounds) -> None:
        chosen = self._chosen
        if "naive" in chosen.steps:
            print(f"naive, {chosen.naive_messages} messages", flush=True)
            naive, paces = rounds.naive(chosen.naive_messages, seconds=chosen.latency_seconds)
            self._note("naive", naive)
            self._note_quiet("naive", paces)

        for name in ("floor", "peer"):
            if name in chosen.steps:
                print(f"{name}, {chosen.messages} messages", flush=True)
                measured, checked, paces = getattr(rounds, name)(
                    chosen.messages, seconds=chosen.latency_seconds
                )
                self._note(name, measured, checked)
                self._note_quiet(name, paces)

    def _note(self, name: str, measured: BenchRound, checked: LedgerCheck | None = None) -> None:
        self._flood[name] = measured.figures()
        self._cpu[name] = measured.cpu_s_per_1000
        if checked is not None:
            self._judge(name, checked)

    def _note_quiet(self, name: str, paces: PaceFigures) -> None:
        self._quiet[name] = paces.figures()
        self._cpu[f"{name}_at_200"] = paces.cpu_s_per_1000

    def _judge(self, name: str, checked: LedgerCheck) -> None:
        """Report a ledger that does not balance. The run then ends with code 1."""
        if checked.holds:
            return
        print_line(f"the ledger of {name} does not balance or is out of order: {checked.counts()}")
        print_line(
            f"such as {checked.balance.missing[:3]}, {checked.balance.doubled[:3]}, {checked.overtaken[:3]}"
        )
        self._figures.setdefault("failed", []).append(name)


def report(figures: Figures) -> None:
    """Print the figures and the goals, and write them to the file."""
    for group, values in figures.items():
        if isinstance(values, dict) and group not in ("flood", "quiet", "side_by_side"):
            print(group)
            for name, value in values.items():
                print(f"  {name:<28} {value}")

    if figures.get("flood") or figures.get("quiet"):
        print("side by side")
        print("\n".join(goals.comparison(figures)))

    lines = goals.judge(figures)
    print("goals")
    print("\n".join(goals.table(lines)))
    figures["goals"] = {line.goal.path: line.is_met for line in lines}

    disturbed = [name for name, values in figures.get("flood", {}).items() if values["elsewhere"] > DISTURBED]
    if disturbed:
        print(f"The machine was busy elsewhere during {', '.join(disturbed)}: those figures are too low.")

    path = home() / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
