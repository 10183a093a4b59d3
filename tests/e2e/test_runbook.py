"""Tests that carry out every command of the runbook.

A command that would need systemd or Docker is judged by what it names.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from ops.local.stack import Stack
from services.messaging import dead_letter_queue
from services.messaging.topology import DEAD_QUEUE, HEADER_QUEUE, HEADER_REASON
from tests.e2e.runbook_shell import ONLY_LOOKS, Shell, Wrong, filled, judge
from tests.support import runbook
from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.runbook import FILE, CommandBlock, RunbookPage

PAGES = [page for page in runbook.pages() if page.blocks]
REHEARSAL = "rehearse-on-your-own-machine"
QUEUE = "runbook-letters"


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vigil-runbook-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def here(stack: Stack, directory: Path) -> Shell:
    """Return a shell on the stack of this session.

    The stack's supervisor goes on watching meanwhile.
    """
    (directory / "here").mkdir()
    return Shell(
        stack.operator_environment(),
        directory / "here",
        meanwhile=stack.supervisor.poll,
    )


@pytest.fixture(scope="module")
def values(stack: Stack, here: Shell) -> dict[str, str]:
    """Return the values of the placeholders: things of that stack, made for this test."""
    env = stack.operator_environment()
    run, password = secrets.token_hex(3), canary(secrets.token_urlsafe(12))
    guard, device, login = f"guard-rb{run}", f"rb-{run}", f"rb{run}@test"
    run_vigil(env, "guard", "add", guard)
    run_vigil(env, "device", "add", device)
    run_vigil(env, "zone", "add", f"rb-{run}", "--circle", "12.9", "77.5", "10")
    run_vigil(env, "user", "add", login, "--password-file", "-", given=password)
    source = f"rb-alarm-{run}"
    payload = '{"severity": "critical", "message": "drill", "drill": true}'
    here.run(f"mosquitto_pub -q 1 -t alert/panic/{source} -m '{payload}'")
    alert_id = ""
    deadline_s = time.monotonic() + 20
    while not alert_id:
        assert time.monotonic() < deadline_s, "the alert did not come"
        found = json.loads(run_vigil(env, "latest", "alert", "--source", source, "--json"))
        alert_id = str(found[0]["alert_id"]) if found else ""
    return {
        "<source>": source,
        "<alert id>": alert_id,
        "<guard>": guard,
        "<zone>": f"rb-{run}",
        "<device>": device,
        "<login>": login,
        "<process>": "telemetry",
        "<name>": "20260131T023000Z",
    }


class Letters:
    """Dead letters of a queue of their own."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with self._channel() as channel:
            channel.queue_declare(QUEUE, durable=True, auto_delete=False)

    def bury(self) -> str:
        """Add one dead letter, and return its id."""
        letter_id = secrets.token_hex(8)
        headers = {HEADER_QUEUE: QUEUE, HEADER_REASON: "Unavailable"}
        with self._channel() as channel:
            message = channel.prepare_message(
                b"\x80", headers=headers, properties={"message_id": letter_id, "delivery_mode": 2}
            )
            channel.basic_publish_confirm(message, exchange="", routing_key=DEAD_QUEUE)
        return letter_id

    def sent_again(self) -> int:
        with self._channel() as channel:
            return int(channel.queue_declare(QUEUE, passive=True).message_count)

    def remove(self) -> None:
        with self._channel() as channel:
            channel.queue_delete(QUEUE)

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        with Connection(self.uri) as connection, connection.channel() as channel:
            yield channel


@pytest.fixture
def letters(stack: Stack) -> Iterator[Letters]:
    """Yield the dead letters. None exists yet: those that other tests left are discarded."""
    made = Letters(stack.operator_environment()["AMQP_URI"])
    dead_letter_queue.settle(made.uri, lambda _: True, again_after_s=None)
    yield made
    made.remove()


@pytest.fixture
def apart(environment: dict[str, str], directory: Path) -> Shell:
    """Return a shell on an installation with its own database, keys and home.

    No process of Vigil runs there.
    """
    home = directory / f"apart-{secrets.token_hex(3)}"
    home.mkdir()
    keys = home / "feed.keys"
    keys.write_text(run_vigil(environment, "keys", "generate"))
    own = {"VIGIL_HOME": str(home), "CHANNELS_ENCRYPTION_KEY_FILE": str(keys), "CHANNELS_ENCRYPTION_KEY": ""}
    env = {**environment, **own, "VIGIL_BACKUP_DIR": str(home / "backups")}
    return Shell(env, home, meanwhile=lambda: time.sleep(0.02))


def lines(page: RunbookPage, *kinds: str) -> list[tuple[CommandBlock, str]]:
    return [(block, line) for block in page.blocks if block.kind in kinds for line in block.commands]


def titled(pages: list[RunbookPage], *kinds: str) -> list[object]:
    return [pytest.param(page, id=page.anchor) for page in pages if lines(page, *kinds)]


def test_no_line_of_a_block_is_passed_over() -> None:
    """The lines are counted in another way than the tests that carry them out find them."""
    fences = re.findall(r"^ *```(sh[a-z ]*)\n(.*?)^ *```$", FILE.read_text(), re.MULTILINE | re.DOTALL)
    counted = [li for _, body in fences for li in body.splitlines() if li.strip() and li.strip()[0] != "#"]
    treated = [line for page in PAGES for block in page.blocks for line in block.commands]
    kinds = {block.kind for page in PAGES for block in page.blocks}
    assert len(counted) == len(treated) > 250
    assert kinds == set(runbook.KINDS), "each kind has a test below"


@pytest.mark.parametrize("page", titled(PAGES, *runbook.KINDS))
def test_every_command_of_a_page_exists_with_its_options(page: RunbookPage) -> None:
    for block, line in lines(page, *runbook.KINDS):
        judge(block, line)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("sh", "vigil healthy"),
        ("sh", "vigil health --jsonn"),
        ("sh", "vigil alert show"),
        ("sh", "vigil dlq list | sed s/a/b/"),
        ("sh", "curl -sS http://127.0.0.1:8000/metrics/export/ | grep vigil_queue_dept"),
        ("sh", 'curl -sS -H "A: $(vigil tokens)" http://127.0.0.1:8000/'),
        ("sh systemd", "systemctl reload vigil.target"),
        ("sh systemd", "systemctl restart vigil@locations"),
        ("sh systemd", "vigil-admin health --jsonn"),
        ("sh compose", "docker compose remove location"),
        ("sh compose", "docker compose run vigil health"),
        ("sh compose", "docker compose run --rm vigil healthy"),
    ],
)
def test_a_command_that_is_not_there_is_found_out(kind: str, line: str) -> None:
    with pytest.raises(Wrong):
        judge(CommandBlock(kind, 1, (line,)), line)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", titled([page for page in PAGES if page.anchor != "vigildeadletters"], "sh"))
def test_commands_for_the_running_stack(page: RunbookPage, here: Shell, values: dict[str, str]) -> None:
    known = dict(values)
    for block, line in lines(page, "sh"):
        judge(block, line)
    there = [line for _, line in lines(page, "sh")]
    for looks, group in itertools.groupby(there, key=lambda line: ONLY_LOOKS.match(line) is not None):
        if looks:
            here.run(*(filled(line, known) for line in group))
        else:
            for line in group:
                carry_out(here, line, known)


@pytest.mark.timeout(300)
def test_dead_letters_are_shown_sent_again_and_let_go(here: Shell, letters: Letters) -> None:
    [page] = [page for page in PAGES if page.anchor == "vigildeadletters"]
    for block, line in lines(page, "sh"):
        judge(block, line)
        if line.startswith("vigil dlq"):
            here.done.pop(line, None)
        carry_out(here, line, {"<letter id>": letters.bury()} if "<letter id>" in line else {})
    # Two letters were sent again: one by its id, and one that only --all showed. The last one was
    # discarded. Letters come by the shortest delay.
    deadline_s = time.monotonic() + 20
    while letters.sent_again() < 2:
        assert time.monotonic() < deadline_s, "a letter that was sent again did not come"
    assert letters.sent_again() == 2
    assert dead_letter_queue.oldest_dead_letters(letters.uri) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", titled([page for page in PAGES if page.anchor != REHEARSAL], "sh destructive")
)
def test_commands_that_change_an_installation(page: RunbookPage, apart: Shell) -> None:
    known: dict[str, str] = {}
    for block, line in lines(page, "sh destructive"):
        judge(block, line)
        carry_out(apart, line, known)


@pytest.mark.timeout(300)
def test_the_rehearsal_starts_proves_and_stops_a_stack(directory: Path) -> None:
    """The home and the ports are the rehearsal's own, as on a machine where nothing has run before."""
    [page] = [page for page in PAGES if page.anchor == REHEARSAL]
    home = directory / "rehearsal"
    home.mkdir()
    directory.chmod(0o711)
    given = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIL_", "MQTT_"))}
    shell = Shell({**given, "VIGIL_HOME": str(home)}, home, meanwhile=lambda: time.sleep(0.02))
    try:
        for block, line in lines(page, "sh destructive"):
            judge(block, line)
            shell.run(line)
            if line.startswith("vigil up"):
                ports = json.loads((home / "ports.json").read_text())
                shell.env |= {"VIGIL_HTTP_PORT": str(ports["http"]), "MQTT_BROKER_PORT": str(ports["mqtt"])}
            elif line == "vigil health":
                failed = {li.split()[1] for li in shell.done[line].splitlines() if li.startswith("FAIL")}
                assert failed == set(), shell.done[line]
    finally:
        run_vigil({**given, "VIGIL_HOME": str(home)}, "down")
    assert "down" in run_vigil({**given, "VIGIL_HOME": str(home)}, "status")


def carry_out(shell: Shell, line: str, known: dict[str, str]) -> None:
    """Run the line, and keep the values of its result that later lines need."""
    shell.run(filled(line, known))
    if line == "vigil keys list":
        known["<old kid>"] = json.loads(run_vigil(shell.env, "keys", "list", "--json"))[-1]["kid"]
    if line.startswith("vigil backup"):
        known["<backup directory>"] = json.loads(run_vigil(shell.env, "backup", "list", "--json"))[-1][
            "directory"
        ]
