"""`python -m bench`: Vigil, the naive pipeline and the floor, in one run on one machine.

Prints what it measures and writes it to `.vigil/bench.json`. Exit code 1 when the ledger does not balance.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import create_engine

from bench import checker, latency, load, messages
from bench.cpu import Meter
from gateway.noc.auth import Tokens
from ops import dead_letters
from ops.environment import PROJECT, home
from ops.processes import PROCESSES
from ops.stack import Stack
from services import envelope
from services.providers import database_url

NAIVE_TIMEOUT_S = 120.0
NAIVE_COUNT = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table})" for table in ("telemetry", "location", "sensor", "system", "alert")
)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


class Bench:
    def __init__(self, stack: Stack, options: argparse.Namespace) -> None:
        self._stack = stack
        self._options = options
        self._env = stack.settings()
        self._host = self._env["MQTT_BROKER_ADDRESS"]
        self._port = int(self._env["MQTT_BROKER_PORT"])

    def pids(self) -> dict[str, int]:
        found = {p.name: p.pid for p in self._stack.supervisor.processes if p.pid}
        return {**found, "generator": os.getpid()}

    def ledger(self, count: int) -> tuple[str, list[messages.Entry]]:
        run = f"b{secrets.token_hex(4)}"
        options = self._options
        return run, messages.make(
            count=count, sources=options.sources, seed=options.seed, run=run, now=datetime.now(UTC)
        )

    def vigil(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
        """(rate, ledger, CPU) of Vigil. A small run first, so that caches and sources are as in daily work."""
        for count in (2_000, self._options.messages):
            run, entries = self.ledger(count)
            receipts = load.Receipts(self._host, self._port, f"bench-receipts-{run}", "")
            meter = Meter(self.pids())
            result = load.run(
                entries,
                host=self._host,
                port=self._port,
                receipts=receipts,
                say=say,
                during=lambda: None,
            )
            used = meter.read()
            receipts.sock.close()
        engine = create_engine(database_url(self._env["DATABASE_URL"]))
        amqp_uri = self._env["AMQP_URI"]
        balance = checker.check(entries, engine, run=run, dead_bodies=lambda: dead_letters.bodies(amqp_uri))
        deadline_s = time.monotonic() + 20
        while not balance.holds and time.monotonic() < deadline_s:
            balance = checker.check(
                entries, engine, run=run, dead_bodies=lambda: dead_letters.bodies(amqp_uri)
            )
        published = result.published
        seconds = result.stored_s - result.started_s
        cpu = {name: round(1000 * used_s / published, 4) for name, used_s in sorted(used.items())}
        counts = {
            name: getattr(balance, name) for name in ("sent", "stored", "refused", "dead", "duplicates")
        }
        if not balance.holds:
            say(f"the ledger does not balance: missing {balance.missing}, doubled {balance.doubled}")
        return {"per_s": published / seconds, "holds": balance.holds}, counts, cpu

    def naive(self, count: int) -> float:
        """Messages a second of the naive pipeline, to the last commit."""
        url = database_url(self._env["DATABASE_URL"]).replace("+psycopg2", "")
        admin = psycopg2.connect(url)
        admin.autocommit = True
        admin.cursor().execute("CREATE DATABASE naive")
        naive_url = url.rpartition("/")[0] + "/naive"
        environment = {
            **self._stack.process_environment(),
            "NAIVE_DATABASE_URL": naive_url.replace("postgresql://", "postgresql+psycopg2://"),
            "NAIVE_AMQP_URI": self._env["AMQP_URI"],
            "NAIVE_MQTT_HOST": self._host,
            "NAIVE_MQTT_PORT": str(self._port),
        }
        parts = [_start("bench.naive", environment, name) for name in ("service", "gateway")]
        _, entries = self.ledger(count)
        # It refuses nothing with a reason and knows no duplicate: what a database can take once is what it stores.
        entries = [entry._replace(copies=1) for entry in entries if not entry.refused]
        total = len(entries)
        counting = psycopg2.connect(naive_url)
        counting.autocommit = True
        cursor = counting.cursor()
        result = load.run(entries, host=self._host, port=self._port, say=say)
        deadline_s = time.monotonic() + NAIVE_TIMEOUT_S
        stored = 0
        while stored < total and time.monotonic() < deadline_s:
            cursor.execute(NAIVE_COUNT)
            stored = cursor.fetchone()[0]
            time.sleep(0.1)  # the interval at which the table is counted
        seconds = time.monotonic() - result.started_s
        for part in parts:
            part.kill()
            part.wait()
        say(f"naive stored {stored} of {total}")
        return float(stored / seconds)

    def floor(self) -> float:
        """Messages a second of the floor."""
        _, entries = self.ledger(self._options.messages)
        total = sum(entry.copies for entry in entries)
        floor = _start("bench.floor", self._stack.process_environment(), str(total))
        load.run(entries, host=self._host, port=self._port, say=say)
        assert floor.stdout is not None
        answer = json.loads(floor.stdout.readline())
        floor.wait()
        return float(answer["stored"] / answer["seconds"])

    def latency(self) -> dict[str, float]:
        env = self._env
        token = Tokens(env["JWT_SECRET"]).make(name="bench", tenant_id=1, role="viewer", lifetime_s=3600)
        return latency.measure(
            host=self._host,
            port=self._port,
            url=f"ws://127.0.0.1:{env['VIGIL_HTTP_PORT']}/ws/noc/dashboard/",
            token=token,
            keys=envelope.tenant_keys(env["CHANNELS_ENCRYPTION_KEY"], 1),
            seconds=self._options.latency_seconds,
            rate=200.0,
        )


def _start(module: str, environment: dict[str, str], argument: str) -> subprocess.Popen[str]:
    part = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, argument],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=PROJECT,
    )
    assert part.stdout is not None
    if part.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{module} {argument} did not start")
    return part


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=60_000, help="messages for Vigil and for the floor")
    parser.add_argument("--naive-messages", type=int, default=3_000)
    parser.add_argument("--sources", type=int, default=500, help="sources of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-seconds", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: does it work at all")
    parser.add_argument("--only", choices=["vigil", "naive", "floor"])
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.messages, chosen.naive_messages, chosen.latency_seconds = 6_000, 500, 3.0
    return chosen


def main() -> int:
    chosen = options()
    figures: dict[str, Any] = {"at": datetime.now(UTC).isoformat(), "ingest": {}, "messages": chosen.messages}
    holds = True
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as directory:
        stack = Stack(Path(directory), say=say, prefer_usual_ports=False)
        try:
            stack.start_servers()
            stack.start_services()
            bench = Bench(stack, chosen)
            ingest = figures["ingest"]
            if chosen.only in (None, "vigil"):
                print("latency at 200 messages/s", flush=True)
                figures["latency"] = bench.latency()
                print(f"(a) Vigil, {chosen.messages} messages", flush=True)
                rate, figures["ledger"], figures["cpu_s_per_1000"] = bench.vigil()
                ingest["vigil_per_s"], holds = round(rate["per_s"], 1), rate["holds"]
            stack.supervisor.stop(only=list(PROCESSES))
            if chosen.only in (None, "naive"):
                print(f"(b) naive, {chosen.naive_messages} messages", flush=True)
                ingest["naive_per_s"] = round(bench.naive(chosen.naive_messages), 1)
            if chosen.only in (None, "floor"):
                print(f"(c) floor, {chosen.messages} messages", flush=True)
                ingest["floor_per_s"] = round(bench.floor(), 1)
        finally:
            stack.stop()
    if "vigil_per_s" in ingest:
        for name in ("naive", "floor"):
            if f"{name}_per_s" in ingest:
                ingest[f"ratio_{name}"] = round(ingest["vigil_per_s"] / ingest[f"{name}_per_s"], 3)
    report(figures)
    return 0 if holds else 1


def report(figures: dict[str, Any]) -> None:
    """Print the figures and keep them."""
    for group, values in figures.items():
        if isinstance(values, dict):
            print(group)
            for name, value in values.items():
                print(f"  {name:<28} {value}")
    path = home() / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
