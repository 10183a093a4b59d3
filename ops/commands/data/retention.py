"""`vigil retention`: how long data are kept by class, and removal of older data."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, TextColumn
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ops.commands.options import tenant_option
from ops.environment import apply_environment
from ops.input_output.tables import as_json_option, show
from services.contracts.errors import NotFound
from services.contracts.retention_classes import TENANT_CLASSES
from services.platform import config
from services.platform.config import Config
from services.platform.database import Database
from services.retention import schedule
from services.retention.keeper import RemovalStep, RemovedData, RetentionKeeper

POLICIES = text(
    "SELECT tenant_id, class, days FROM retention_policy"
    " WHERE :tenant_id IS NULL OR tenant_id = :tenant_id ORDER BY class, tenant_id"
)
SET = text(
    "INSERT INTO retention_policy (tenant_id, class, days) VALUES (:tenant_id, :class, :days)"
    " ON CONFLICT (tenant_id, class) DO UPDATE SET days = excluded.days, changed_at = now()"
)
REMOVE = text("DELETE FROM retention_policy WHERE tenant_id = :tenant_id AND class = :class")

class_argument = click.argument("of_class", metavar="CLASS", type=click.Choice(TENANT_CLASSES))


@click.group()
def retention() -> None:
    """Days that data are kept, by class and tenant."""
    apply_environment()


@retention.command("show")
@click.option("--tenant", "tenant_id", type=int, help="Only this tenant's own policies.")
@as_json_option
def show_policies(tenant_id: int | None, as_json: bool) -> None:
    """Days by class: those of config.yaml (tenant `-`), and where tenants differ."""
    settings = config.load()
    usual = schedule.usual_days(settings)
    with _owner(settings).across() as connection:
        own = [dict(row) for row in connection.execute(POLICIES, {"tenant_id": tenant_id}).mappings()]
    rows: list[dict[str, Any]] = [
        {"class": name, "tenant_id": None, "days": usual[name]} for name in (*TENANT_CLASSES, "seen")
    ]
    rows += [{"class": row["class"], "tenant_id": row["tenant_id"], "days": row["days"]} for row in own]
    show(rows, as_json=as_json)


@retention.command("set")
@class_argument
@click.argument("days", type=click.IntRange(1, schedule.MAX_DAYS))
@tenant_option
def set_policy(of_class: str, days: int, tenant_id: int) -> None:
    """Keep a CLASS of a tenant's rows for DAYS, whatever config.yaml says."""
    schedule.check_policy(of_class, days)
    values = {"tenant_id": tenant_id, "class": of_class, "days": days}
    try:
        with _owner(config.load()).across() as connection:
            connection.execute(SET, values)
    except IntegrityError as error:
        raise NotFound(f"no tenant {tenant_id}") from error
    click.echo(f"tenant {tenant_id} keeps {of_class} for {days} days")


@retention.command("remove")
@class_argument
@tenant_option
def remove_policy(of_class: str, tenant_id: int) -> None:
    """Back to what config.yaml says."""
    with _owner(config.load()).across() as connection:
        values = {"tenant_id": tenant_id, "class": of_class}
        if connection.execute(REMOVE, values).rowcount == 0:
            raise NotFound(f"tenant {tenant_id} has no policy of its own for {of_class}")
    click.echo(f"tenant {tenant_id} keeps {of_class} as config.yaml says")


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Remove nothing; print what would be removed.")
@as_json_option
def run(dry_run: bool, as_json: bool) -> None:
    """Make partitions ahead, and remove what is too old, now. Ctrl-C is safe: the next run goes on."""
    settings = config.load()
    keeper = RetentionKeeper(_owner(settings), settings)
    made = [] if dry_run else keeper.make_partitions()

    removed: dict[str, RemovedData] = {}
    with Progress(TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=None)
        for step in keeper.steps(dry_run=dry_run):
            removed.setdefault(step.kind, RemovedData()).add(step)
            progress.update(task, description=_line(step))

    if not as_json:
        click.echo(f"{len(made)} partitions made, {sum(one.moved for one in made)} rows moved into them")
        click.echo("would be removed:" if dry_run else "removed:")

    show([{"class": name, **msgspec.to_builtins(count)} for name, count in removed.items()], as_json=as_json)


def _line(step: RemovalStep) -> str:
    if step.partitions:
        return f"{step.kind}: partition {step.relation}"
    return f"{step.kind}: {step.relation}, {step.left} blocks to go"


def _owner(settings: Config) -> Database:
    return Database(settings, name="cli", pool_size=2, as_owner=True)
