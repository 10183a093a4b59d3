"""The last test but one of a run: no process was refused a right during all the other tests."""

import re

from ops.local.stack import Stack
from ops.processes import PROCESSES
from ops.servers.privileges import PRIVILEGES

REFUSED = re.compile(r"permission denied|must be owner|ACCESS_REFUSED|access_refused|NOPERM|No permissions")
BY_A_PROCESS = re.compile(r"\] vigil-(telemetry|location|alerts|notifications|directory|watchdog|registry)")
"""Prefix of a line in PostgreSQL's log that a program of Vigil caused.

Tests that try a forbidden act have other names.
"""
OF_NOBODY = "'tenant_id': None"
"""Mark of an RPC that a test calls without a tenant. It must be refused."""


def test_no_process_was_refused_what_its_work_needs(stack: Stack) -> None:
    logs = {
        name: (stack.home / "log" / f"{name}.log").read_text(errors="replace")
        for name in [*PROCESSES, "postgres"]
    }
    for process in PROCESSES:
        refused = [
            line for line in logs[process].splitlines() if REFUSED.search(line) and OF_NOBODY not in line
        ]
        assert refused == [], (
            f"{process} lacks a right; declare it in ops/servers/privileges.py if its work needs it"
        )
    by_processes = [line for line in logs["postgres"].splitlines() if BY_A_PROCESS.search(line)]
    # PostgreSQL's log does not name the tenant.
    expected = sum(OF_NOBODY in line for process in PROCESSES for line in logs[process].splitlines())
    assert len([line for line in by_processes if REFUSED.search(line)]) <= expected


def test_a_refusal_would_be_seen() -> None:
    line = "2026-11-29 18:11:11.024 UTC [29391] vigil-telemetry ERROR:  permission denied for table app_user"
    assert BY_A_PROCESS.search(line)
    assert REFUSED.search(line)
    assert not BY_A_PROCESS.search(line.replace("vigil-telemetry", ""))
    assert len(PRIVILEGES) == len(PROCESSES)
