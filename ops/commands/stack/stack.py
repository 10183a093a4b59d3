"""`vigil up|down|restart|status|logs`: the local stack."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ops.environment import apply_environment, environment_files, home
from ops.local.stack import HAPROXY, Stack
from ops.local.supervisor import CALM_POLL_S, GRACE_S, restarts_in_words, started_at, state_in_words
from ops.processes import GROUPS, PROCESSES, host_of
from services.contracts.errors import VigilError
from services.platform import config

DOWN_TIMEOUT_S = 90.0
RESTART_TIMEOUT_S = 60.0
POLL_S = 0.1
ONLY_SERVERS = "\nThe servers are up. Vigil's processes were not started: `vigil down`, then `vigil up`."


@click.command()
@click.option("--detach", is_flag=True, help="Return when everything is ready; `vigil down` stops it.")
@click.option("--only-servers", is_flag=True, help="Start the servers, not Vigil's own processes.")
@click.option(
    "--timeout", default=60.0, show_default=True, help="Seconds that the services may take to be ready."
)
@click.option(
    "--small",
    is_flag=True,
    help="For a small machine: fewer processes and less memory, on the same data (docs/small-machines.md).",
)
def up(detach: bool, only_servers: bool, timeout: float, small: bool) -> None:
    """Start the servers and Vigil, ready for use. Stays in the foreground until Ctrl-C."""
    state = read_state()
    if state is not None:
        sys.exit(print_running_stack(state))
    clear_leftovers()
    if detach:
        detach_and_wait()
    run_stack(only_servers=only_servers, timeout_s=timeout, small=small)


def run_stack(
    *,
    only_servers: bool = False,
    timeout_s: float = 60.0,
    small: bool = False,
    add_to: Callable[[Stack], str] = lambda _: "",
) -> None:
    """Bring the stack up, keep it up until SIGINT or SIGTERM, take it down.

    When a test message does not arrive, the processes go on, because alarms of the other lane may
    still arrive. The exit code is then 1.

    `add_to` may add processes once the services are ready. Its result is printed below the welcome.
    """
    stack = Stack(home(), say=click.echo, small=small)
    supervisor = stack.supervisor

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, supervisor.interrupt)

    try:
        stack.start_servers()
        supervisor.add_facts(addresses=stack.addresses())

        if not only_servers:
            stack.start_services(timeout_s=timeout_s)

        added = add_to(stack)
        problem = "" if only_servers else stack.lost_messages()
        supervisor.add_facts(up=not problem and not only_servers, problem=problem)
        click.echo(ONLY_SERVERS if only_servers else problem or welcome(stack) + added)
        leave_parent(NOT_UP if problem else READY)

        while not supervisor.interrupted:
            supervisor.poll(calm_s=CALM_POLL_S)

        if problem:
            sys.exit(1)
    except InterruptedError:
        click.echo("stopped while starting")
    finally:
        stack.stop()


def print_running_stack(state: dict[str, Any]) -> int:
    """Print the state of the stack that already runs, and return the exit code."""
    if state.get("up"):
        click.echo("Vigil is up already.")
        return 0
    if not state.get("problem"):
        click.echo("Vigil is starting or stopping already.")
        return 1

    from ops.watchdog.lanes import lost_lanes  # with all that a test message needs

    # It may be mended meanwhile.
    apply_environment()
    lost = lost_lanes(config.load())
    click.echo("\n".join(lost) if lost else "Vigil is up: test messages arrive.")

    return 1 if lost else 0


def welcome(stack: Stack) -> str:
    """Return the text with the addresses and the log-ins."""
    addresses = stack.addresses()
    lines = [f"console      http://{addresses['http']}/", f"mqtt         {addresses['mqtt']}"]
    for title, name in (("operator", "login.txt"), ("admin", "login-admin.txt")):
        login = stack.home / name
        if login.exists():
            lines.append(f"{title:<12} {', '.join(login.read_text().splitlines())}")
    return "\n".join(["", "Vigil is up.", *lines])


_ready_pipe: list[int] = []
READY, NOT_UP = b"\0", b"\1"
"""Last byte that a detached child writes to its parent.

It means ready, or running with messages that do not arrive.
"""


def detach_and_wait() -> None:
    """Go on in a child with a session of its own.

    The parent shows the child's progress and leaves when the child is ready.
    """
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(read_end)
        _ready_pipe.append(write_end)
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        return

    os.close(write_end)
    said = b""
    while chunk := os.read(read_end, 4096):
        said += chunk
        sys.stdout.write(chunk.strip(READY + NOT_UP).decode(errors="replace"))
        sys.stdout.flush()
        for end, code in ((READY, 0), (NOT_UP, 1)):
            if end in chunk:
                os._exit(code)

    os._exit(1)


def leave_parent(end: bytes) -> None:
    """Send the end byte from the detached child to its parent; later output goes to a file."""
    if not _ready_pipe:
        return
    sys.stdout.flush()
    os.write(_ready_pipe[0], end)
    log = os.open(home() / "log" / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(_ready_pipe[0])


@click.command()
def down() -> None:
    """Stop everything that `vigil up` started here; data stay."""
    state = read_state()
    if state is not None:
        pid = state["supervisor"]["pid"]
        os.kill(pid, signal.SIGTERM)
        if not gone(pid, state["supervisor"]["started_at"], timeout_s=DOWN_TIMEOUT_S):
            raise VigilError(f"the supervisor (pid {pid}) does not end; look at `vigil logs supervisor`")
    clear_leftovers()
    click.echo("Vigil is down.")


@click.command()
@click.argument("name")
@click.option("--kill", is_flag=True, help="With SIGKILL at once; else after the grace that one has to end.")
def restart(name: str, kill: bool) -> None:
    """Restart one of Vigil's processes, or HAProxy.

    The supervisor of `vigil up` does it. The command returns when the process is ready.
    """
    before = _process(name)
    if name not in (*PROCESSES, *GROUPS, HAPROXY):
        raise VigilError(f"{name} is a server that Vigil's processes need: `vigil down`, `vigil up`")
    if before["pid"] is None:
        raise VigilError(f"{name} is {state_in_words(before)}; `vigil logs {name}` says more")

    pid, started_s = before["pid"], time.monotonic()
    os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
    insisted = kill

    while (now := _process(name))["pid"] in (None, pid) or now["state"] != "ready":
        if not insisted and now["pid"] == pid and time.monotonic() - started_s > GRACE_S:
            os.kill(pid, signal.SIGKILL)
            insisted = True
        if time.monotonic() - started_s > RESTART_TIMEOUT_S:
            raise VigilError(
                f"{name} is not ready after {RESTART_TIMEOUT_S:g} s: {state_in_words(now)}; `vigil logs {name}`"
                " says more"
            )
        time.sleep(POLL_S)  # the file sends no event, so look again

    click.echo(f"{name} is ready, pid {now['pid']}")


def _process(name: str) -> dict[str, Any]:
    found = {process["name"]: process for process in (read_state() or {"processes": []})["processes"]}
    if name not in found:
        host = host_of(name, found)
        if host:
            raise VigilError(f"{name} has no process of its own here: it runs in {host}")
        raise VigilError(f"no process {name!r} of `vigil up` runs here; `vigil status` lists them")
    process: dict[str, Any] = found[name]
    return process


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Show processes and addresses."""
    state = read_state() or {"addresses": {}, "processes": []}
    keys = ("name", "pid", "state", "since", "doing", "restarts", "last_end", "last_end_at")
    processes = [{key: p.get(key, "") for key in keys} for p in state["processes"]]
    addresses = state.get("addresses", {})

    if as_json:
        click.echo(json.dumps({"addresses": addresses, "processes": processes}))
        return

    for name, address in addresses.items():
        click.echo(f"{name:<20} {address}")

    for process in processes:
        click.echo(
            f"{process['name']:<20} {state_in_words(process):<9} pid {process['pid']}, {restarts_in_words(process)}"
        )

    if not processes:
        click.echo("Vigil is down here.")


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Follow the log as it grows.")
@click.option("-n", "--lines", default=40, show_default=True)
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Show the end of a process's log.

    Without NAME: which logs there are.
    """
    directory = home() / "log"
    if name is None:
        for path in sorted(directory.glob("*.log")):
            click.echo(path.stem)
        return

    path = directory / f"{name}.log"
    if not path.exists():
        raise VigilError(f"no log {name!r}; `vigil logs` lists them")

    with path.open(errors="replace") as stream:
        click.echo("".join(stream.readlines()[-lines:]), nl=False)
        while follow:
            click.echo(stream.read(), nl=False)
            time.sleep(POLL_S * 3)  # the interval at which the file is read


def read_state() -> dict[str, Any] | None:
    """Return the state file of a running supervisor, or None when there is none."""
    path = home() / "state.json"
    if not path.exists():
        return None
    state: dict[str, Any] = json.loads(path.read_text())
    supervisor = state["supervisor"]
    return state if started_at(supervisor["pid"]) == supervisor["started_at"] else None


def clear_leftovers() -> None:
    """End the processes that a killed supervisor left, which are known by pid and start time."""
    path = home() / "state.json"
    if not path.exists() or read_state() is not None:
        return

    for process in json.loads(path.read_text())["processes"]:
        pid = process["pid"]
        if pid and started_at(pid) == process["started_at"]:
            os.killpg(pid, signal.SIGKILL)
            gone(pid, process["started_at"], timeout_s=10)

    for file in (home() / "state.json", *environment_files(home())):
        file.unlink(missing_ok=True)


def gone(pid: int, start: int | None, *, timeout_s: float) -> bool:
    """Wait until the process has ended; return False when it has not in time."""
    deadline_s = time.monotonic() + timeout_s
    while started_at(pid) == start and not is_zombie(pid):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)  # the end of a process that is not a child sends no event
    return True


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
