"""`python -m bench`: zones, sockets, then Vigil, the naive pipeline and the floor, in one run on one machine.

Prints what it measures and writes it to `.vigil/bench.json`. Exit code 1 when the ledger does not balance.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import noise, zones
from bench.rounds import Rounds, counts
from bench.sockets import Sockets
from ops.environment import home
from ops.processes import PROCESSES
from ops.stack import GIVEN, HAPROXY, Stack

PIPELINES = ["vigil", "naive", "floor"]
DISTURBED = 0.1
"""From this share of the machine on, somebody else's work makes a figure doubtful."""


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=120_000, help="messages for Vigil and for the floor")
    parser.add_argument("--naive-messages", type=int, default=6_000)
    parser.add_argument("--sources", type=int, default=500, help="sources of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-seconds", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: does it work at all")
    parser.add_argument("--only", choices=["zones", "sockets", *PIPELINES])
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.messages, chosen.naive_messages, chosen.latency_seconds = 6_000, 600, 3.0
    return chosen


def main() -> int:
    chosen = options()
    figures: dict[str, Any] = {"at": datetime.now(UTC).isoformat()}
    if chosen.only in (None, "zones"):
        print("zones: false exits, detection delay, cost of a verdict", flush=True)
        figures["zones"] = noise.measure(days=2 if chosen.quick else noise.DAYS) | zones.measure()
    if chosen.only != "zones":
        figures |= pipelines(chosen)
    report(figures)
    return 0 if figures.get("ledger", {}).get("balances", True) else 1


def pipelines(chosen: argparse.Namespace) -> dict[str, Any]:
    """The rounds against servers of their own."""
    for variable in GIVEN.values():
        os.environ.pop(variable, None)  # never into servers that somebody works with
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as directory:
        # All websocket sessions of the bench come from one address.
        given = {**os.environ, "VIGIL_CONNECTIONS_PER_ADDRESS": "3000"}
        stack = Stack(Path(directory), say=say, prefer_usual_ports=False, given=given)
        try:
            stack.start_servers()
            stack.start_services()
            return measure(stack, chosen)
        finally:
            stack.stop()


def measure(stack: Stack, chosen: argparse.Namespace) -> dict[str, Any]:
    """All rounds that were asked for."""
    rounds = Rounds(stack, sources=chosen.sources, seed=chosen.seed, say=say)
    wanted = [chosen.only] if chosen.only else PIPELINES
    ingest: dict[str, float] = {}
    elsewhere: dict[str, float] = {}
    figures: dict[str, Any] = {"messages": chosen.messages, "ingest": ingest, "elsewhere": elsewhere}
    if chosen.only in (None, "sockets"):
        print("sockets: many, and some that stop reading", flush=True)
        figures["sockets"] = Sockets(stack, say=say).measure(quick=chosen.quick)
    if "vigil" in wanted:
        print("latency at 200 messages/s", flush=True)
        figures["latency"] = rounds.latency(seconds=chosen.latency_seconds)
        print(f"(a) Vigil, {chosen.messages} messages", flush=True)
        vigil, balance, figures["growth"] = rounds.vigil(chosen.messages)
        ingest["vigil_per_s"], elsewhere["vigil"] = round(vigil.per_s, 1), vigil.elsewhere
        figures["cpu_s_per_1000"] = vigil.cpu_s_per_1000
        figures["ledger"] = {**counts(balance), "balances": balance.holds}
        if not balance.holds:
            say(f"the ledger does not balance: {balance}")
    stack.supervisor.stop(only=[*PROCESSES, HAPROXY])
    for name, count in (("naive", chosen.naive_messages), ("floor", chosen.messages)):
        if name in wanted:
            print(f"({'b' if name == 'naive' else 'c'}) {name}, {count} messages", flush=True)
            other = getattr(rounds, name)(count)
            ingest[f"{name}_per_s"], elsewhere[name] = round(other.per_s, 1), other.elsewhere
            figures[f"cpu_s_per_1000_{name}"] = other.cpu_s_per_1000
            if "vigil_per_s" in ingest:
                ingest[f"ratio_{name}"] = round(ingest["vigil_per_s"] / other.per_s, 3)
    return figures


def report(figures: dict[str, Any]) -> None:
    """Print the figures and keep them."""
    for group, values in figures.items():
        if isinstance(values, dict):
            print(group)
            for name, value in values.items():
                print(f"  {name:<28} {value}")
    disturbed = [name for name, share in figures.get("elsewhere", {}).items() if share > DISTURBED]
    if disturbed:
        print(f"The machine was busy elsewhere during {', '.join(disturbed)}: those figures are too low.")
    path = home() / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
