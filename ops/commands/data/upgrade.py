"""`vigil upgrade`: bring an installation to this version, or back."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from sqlalchemy.engine import URL

from ops.commands.data.backup import backups, progress, stoppable
from ops.commands.data.migrate import print_kept_rows, print_returned_rows
from ops.data.backup.postgres import owner_url
from ops.data.backup.store import BackupStore
from ops.data.schema import revisions
from ops.environment import apply_environment
from ops.install import upgrade
from ops.install.upgrade import UpgradePlan, UpgradeResult
from ops.watchdog.lanes import lost_lanes
from services.contracts.errors import Refused, VigilError
from services.platform import config
from services.platform.config import Config


@click.command("upgrade")
@click.option(
    "--dry-run", is_flag=True, help="Try it in a scratch copy and print the result; change nothing."
)
@click.option(
    "--with-data", is_flag=True, help="With --dry-run: the copy has the data too, and times are real."
)
@click.option("--sql", is_flag=True, help="With --dry-run: print the SQL of each migration.")
@click.option("--without-backup", is_flag=True, help="Upgrade without a fresh verified backup.")
@click.option("--rollback", is_flag=True, help="Go back to the revision of --to; removed rows are kept.")
@click.option("--to", help="With --rollback: the revision of the older version.")
@click.option("--backup-dir", type=click.Path(file_okay=False, path_type=Path), help="Where backups are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    dry_run: bool,
    with_data: bool,
    sql: bool,
    without_backup: bool,
    rollback: bool,
    to: str | None,
    backup_dir: Path | None,
    as_json: bool,
) -> None:
    """Bring the installation to this version.

    Migrations, queues and partitions.
    """
    apply_environment()
    if rollback != (to is not None):
        raise Refused("--rollback and --to REVISION go together; `vigil migrate history` lists the revisions")

    settings = config.load()
    url, store = owner_url(settings.database.owner_url), BackupStore(backup_dir or backups(settings))

    with stoppable():
        if to is not None:
            record = revisions.down(revisions.engine(url.render_as_string(hide_password=False)), to)
            print_kept_rows(record)
            click.echo(f"schema is at {to}; start the older version's services")
        elif dry_run:
            found = upgrade.plan(url, store, with_data=with_data, say=progress)
            click.echo(msgspec.json.encode(found) if as_json else plan_text(found, sql=sql))
        else:
            done = upgrade.carry_out(url, store, without_backup=without_backup, say=progress)
            print_result(done, as_json=as_json)
            check_messages(settings, url)


def plan_text(plan: UpgradePlan, *, sql: bool) -> str:
    lines = [f"schema {plan.current}, this version wants {plan.newest}: {len(plan.steps) or 'no'} migrations"]
    tried = "with the data" if plan.tried_with_data else "with the schema only"

    for step in plan.steps:
        lines.append(
            f"  {step.revision}  {step.description} ({step.seconds:.2f} s in a scratch copy {tried})"
        )
        lines += [f"        waits for and holds {mode}: {table}" for table, mode in step.locks.items()]
        lines += [f"        {line}" for statement in step.sql if sql for line in statement.splitlines()]

    lines += [f"puts back {kept}" for kept in plan.kept]
    lines += [
        f"queue {queue.queue} {queue.state}: {_remedy(queue.state)} {queue.detail}" for queue in plan.queues
    ]
    lines += [f"queues: {plan.queues_problem}"] if plan.queues_problem else []
    lines += ["queues: all there"] if not plan.queues and not plan.queues_problem else []
    lines += [f"partitions: {plan.partitions} would be made", f"backup: {plan.backup}"]

    return "\n".join(lines)


def print_result(done: UpgradeResult, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(done))
        return
    print_returned_rows(done.returned)
    click.echo(f"schema is at {done.revision}, {done.queues}, {done.partitions} partitions made")


def check_messages(settings: Config, url: URL) -> None:
    """Send a test message by each lane, when services run. Raises `VigilError` when one is lost."""
    if not upgrade.services_run(url):
        click.echo("no service runs on this database: start them, then `vigil watchdog test`", err=True)
        return
    lost = lost_lanes(settings)
    if lost:
        raise VigilError(
            f"the schema is upgraded, and alarms may not arrive: {'; '.join(lost)}. Start the services of this version"
            " again; `vigil health` shows what is wrong"
        )


def _remedy(state: str) -> str:
    if state == "missing":
        return "it will be declared."
    return (
        "its arguments are fixed: stop who publishes, let it run empty, delete it (rabbitmqctl delete_queue)."
    )
