"""`vigil replay`: a recorded shift through the whole pipeline, into a separate tenant."""

from __future__ import annotations

import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.mqtt import access_control
from ops.commands.messages.simulate import FleetConnections
from ops.environment import apply_environment
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes
from ops.servers.mosquitto import BrokerAdmin
from ops.simulation.recordings import formats
from ops.simulation.recordings.fixes import Recording
from ops.simulation.recordings.time_shift import TimeShift, move_to_now
from ops.simulation.replay.player import RecordingPlayer, StopRequest
from ops.simulation.replay.report import AlertFound, ReplayOutcome, ReplayWatcher, TransitionFound
from ops.simulation.replay.scratch_tenant import ReplaySetup, ScratchTenant
from ops.sources.credentials import Provisioner, SourceRequest
from services.contracts.enum_words import as_words, inside
from services.contracts.errors import Refused, Unavailable
from services.directory.registry.store import DirectoryStore
from services.platform import config
from services.platform.config import Config
from services.platform.database import Database

PROGRESS_S = 1.0
KNOWN_S = 2.0
"""Time after which every process knows of a change in the registry, as it checks once a second."""
MAX_GUARDS = 500
CREDENTIALS_AT_ONCE = 50


@click.command()
@click.argument("file", type=INPUT_FILE)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(formats.FORMATS),
    help="Format, when neither the file's name nor its beginning shows it.",
)
@click.option(
    "--speed",
    type=click.FloatRange(1, 1000),
    default=60,
    show_default=True,
    help="Factor of the speed: 10 plays it ten times as fast.",
)
@click.option(
    "--zones-of", type=int, metavar="TENANT", help="Tenant of the zones; the default tenant when left out."
)
@click.option(
    "--guard",
    "guard_id",
    help="Guard of that tenant who has all the fixes; if left out, the guards that FILE names.",
)
@click.option(
    "--into",
    type=click.IntRange(min=1),
    metavar="TENANT",
    help="The scratch tenant; found or made if left out.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Largest number of transitions and alerts that are listed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def replay(
    file: Path,
    format_name: str | None,
    speed: float,
    zones_of: int | None,
    guard_id: str | None,
    into: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Play a recorded shift through the real pipeline.

    FILE is CSV, GPX, GeoJSON or OwnTracks lines. Its times are moved so that it ends now; where
    zones have schedules, by whole weeks or days. Zones are copied into a scratch tenant, which
    each replay empties. Nobody is notified unless that tenant has contacts. Ctrl-C stops the
    sending, and waits for what was sent. The exit code is 1 when not all of it was sent and
    stored.

    CSV columns: time, lat, lon; also guard, accuracy, speed (m/s), heading, mock. Points without
    a time or a place are skipped and counted. A file without any usable point is refused.
    """
    content = read_bytes(file, at_most=formats.MAX_FILE_BYTES)
    with naming(file):
        recording = formats.read(content, suffix=file.suffix.lstrip("."), format=format_name)

    apply_environment()
    settings = config.load()

    for line in recording.losses():
        click.echo(line, err=True)

    if len(recording.tracks) > MAX_GUARDS:
        raise Refused(
            f"{file} names {len(recording.tracks)} guards; {MAX_GUARDS} at the most are replayed at once"
        )

    database = Database(settings, name="cli", pool_size=2, as_owner=True)
    scratch = ScratchTenant(database, settings)
    tenant_id = scratch.find(into)
    with scratch.held(tenant_id):
        run = secrets.token_hex(4)
        scratch.resolve_earlier(tenant_id)
        laid_out = scratch.lay_out(
            tenant_id,
            recording.tracks,
            zones_of=settings.default_tenant_id if zones_of is None else zones_of,
            guard_id=guard_id,
            run=run,
        )

        time.sleep(KNOWN_S)
        found = _replay(settings, database, recording, laid_out, speed=speed, run=run)

    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_outcome(found, limit=limit)
    if not found.complete:
        sys.exit(1)


def _replay(
    settings: Config,
    database: Database,
    recording: Recording,
    laid_out: ReplaySetup,
    *,
    speed: float,
    run: str,
) -> ReplayOutcome:
    move = move_to_now(
        recording.fixes[0].at,
        recording.fixes[-1].at,
        now=datetime.now(UTC),
        speed=speed,
        oldest_s=settings.gateway.max_clock_age_s,
        keep_hours=laid_out.scheduled,
    )

    stop = StopRequest()
    player = RecordingPlayer(recording.fixes, laid_out.guards, by=move.by, speed=speed, run=run, stop=stop)
    watcher = ReplayWatcher(database, settings, tenant_id=laid_out.tenant_id, guards=laid_out.guards)
    say = ReplayProgress(len(recording.fixes))

    with let_in(settings, database, laid_out) as passwords:
        with stop.on_signals():
            play(settings, player, passwords, say)
        if stop.asked:
            click.echo("stopped; waiting for what was sent", err=True)
        told = watcher.wait(player.sent, say.waiting)

    return outcome(recording, laid_out, move, player, watcher, told=told)


def play(
    settings: Config, player: RecordingPlayer, passwords: Mapping[str, str] | None, say: ReplayProgress
) -> None:
    """Play the recording.

    Raises:
        Unavailable: the broker went away; the message has the number of fixes that were sent
            before.
    """
    try:
        lines = FleetConnections(settings.mqtt, passwords)
        player.play(lines, say.playing)
        lines.close()
    except OSError as error:
        raise Unavailable(
            f"MQTT broker {settings.mqtt.host}:{settings.mqtt.port}: {error}; {player.sent} fixes were sent until then"
        ) from error


@contextmanager
def let_in(settings: Config, database: Database, laid_out: ReplaySetup) -> Iterator[dict[str, str] | None]:
    """Yield the guards' passwords at the broker, which are valid during the block.

    Yield None when there is no administrator's password.
    """
    if not settings.mqtt.admin_password:
        yield None
        return

    wanted = [(SourceRequest(guard_id, "guard"), guard_id) for guard_id in laid_out.guards.values()]
    with BrokerAdmin(settings.mqtt) as broker:
        sources = Provisioner(
            DirectoryStore(database), broker, tenant_id=laid_out.tenant_id, prefix=settings.mqtt.topic_prefix
        )
        try:
            yield {
                credential.source_id: credential.password
                for start in range(0, len(wanted), CREDENTIALS_AT_ONCE)
                for credential in sources.give_passwords(wanted[start : start + CREDENTIALS_AT_ONCE])
            }
        finally:
            gone = [command for _, guard_id in wanted for command in access_control.remove(guard_id)]
            broker.run(gone, ignore=["not found"])


def outcome(
    recording: Recording,
    laid_out: ReplaySetup,
    move: TimeShift,
    player: RecordingPlayer,
    watcher: ReplayWatcher,
    *,
    told: bool,
) -> ReplayOutcome:
    return ReplayOutcome(
        tenant_id=laid_out.tenant_id,
        guards={guard_id: track for track, guard_id in laid_out.guards.items()},
        zones=laid_out.zones,
        moved_by_s=move.by.total_seconds(),
        keeps=move.keeps,
        points=recording.points,
        unusable=dict(recording.unusable),
        left_out=dict(recording.left_out),
        fixes=len(recording.fixes),
        sent=player.sent,
        stored=watcher.stored(),
        refused=watcher.counts("refused"),
        implausible=watcher.counts("implausible"),
        transitions=watcher.transitions(move.by),
        alerts=watcher.alerts(move.by),
        complete=told and player.sent == len(recording.fixes),
    )


class ReplayProgress:
    """Progress of a replay, printed once a second."""

    def __init__(self, fixes: int) -> None:
        self._fixes = fixes
        self._said_s = time.monotonic()

    def playing(self, player: RecordingPlayer) -> None:
        def said() -> str:
            at, length = _clock(player.position_s), _clock(player.length_s)
            return f"{at} of {length}: {player.sent:,} of {self._fixes:,} fixes sent"

        self._say(said)

    def waiting(self, what: str) -> None:
        self._say(lambda: what)

    def _say(self, text: Callable[[], str]) -> None:
        if time.monotonic() - self._said_s > PROGRESS_S:
            self._said_s = time.monotonic()
            click.echo(text(), err=True)


def print_outcome(found: ReplayOutcome, *, limit: int) -> None:
    """Print the outcome in words. Times are those of the recording."""
    click.echo(
        f"{found.sent:,} of {found.fixes:,} fixes sent, {found.stored:,} stored,"
        f" {_counted(found.refused, 'refused')}, {_counted(found.implausible, 'not believed')};"
        f" {found.zones} zones, {len(found.guards)} guards, tenant {found.tenant_id}"
    )
    kept = "" if found.keeps == "nothing" else f"; the {found.keeps} stays"
    click.echo(f"Times were moved by {timedelta(seconds=round(found.moved_by_s))}{kept}.")
    kinds = Counter(transition.kind for transition in found.transitions)
    click.echo(_listed(f"{len(found.transitions)} transitions", kinds))
    _show([_transition(item) for item in found.transitions], limit)
    click.echo(_listed(f"{len(found.alerts)} alerts", Counter(alert.alert_type for alert in found.alerts)))
    _show([_alert(item) for item in found.alerts], limit)


def _transition(found: TransitionFound) -> str:
    return f"{found.recorded_at:%Y-%m-%d %H:%M:%S}Z {_who(found)}: {found.why}"


def _alert(found: AlertFound) -> str:
    times = "" if found.occurrences == 1 else f", {found.occurrences} occurrences"
    if found.cleared_at is not None:
        times += f", over at {found.cleared_at:%H:%M:%S}Z"
    return (
        f"{found.recorded_at:%Y-%m-%d %H:%M:%S}Z {_who(found)}: {as_words(found.severity)}:"
        f" {as_words(found.alert_type)} ({inside(found.status)}),"
        f" {found.message}{times}"
    )


def _who(found: TransitionFound | AlertFound) -> str:
    return found.track or found.guard_id


def _show(lines: Sequence[str], limit: int) -> None:
    for line in lines[:limit]:
        click.echo(f"  {_printable(line)}")
    if len(lines) > limit:
        click.echo(f"  and {len(lines) - limit} more: give a higher --limit, or --json")


def _listed(what: str, kinds: Mapping[str, int]) -> str:
    named = ", ".join(f"{count} {inside(kind)}" for kind, count in sorted(kinds.items()))
    return f"{what}: {named}" if named else what


def _counted(reasons: Mapping[str, int], word: str) -> str:
    total = sum(reasons.values())
    return f"{total:,} {word}" + (f" ({', '.join(sorted(reasons))})" if total else "")


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02}:{int(seconds % 3600 // 60):02}:{int(seconds % 60):02}"


def _printable(text: Any) -> str:
    """Replace control characters, which must not reach the operator's terminal from a file."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(text))
