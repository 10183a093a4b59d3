"""`vigil user`: users, their passwords and roles, and barred subjects."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import IO

import click

from gateway.noc.auth.tokens import ISSUER, ROLES
from ops.commands.connections import owner_database
from ops.commands.options import F, tenant_option
from ops.commands.registry.rows import make_group, store
from ops.input_output.tables import as_json_option, limit_option, show
from services.contracts.errors import Refused
from services.directory.users import passwords
from services.directory.users.barred_subjects import BarredSubjects
from services.directory.users.store import UserStore
from services.platform import config

user = make_group("user", "Users of the control room.")


def people() -> UserStore:
    return UserStore(owner_database())


def bars() -> BarredSubjects:
    opened = owner_database()
    return BarredSubjects.from_config(config.load(), opened)


def password_option(command: F) -> F:
    """Add `--password-file`, and refuse the former `--password`.

    Every user of the machine could read the value of `--password`.
    """
    for option in (
        click.option("--password", "_", hidden=True, expose_value=False, callback=_refuse_password),
        click.option(
            "--password-file",
            "password",
            type=click.File(),
            callback=_read_password,
            help="File with the password in its first line; - for standard input, which asks on a terminal."
            "  Without it a password is made and printed.",
        ),
    ):
        command = option(command)

    return command


def _refuse_password(_context: click.Context, _option: click.Parameter, given: str | None) -> None:
    if given is not None:
        raise Refused(
            "--password is no longer taken: the process list and the shell's history would show it."
            " Use --password-file FILE, or --password-file - to type it or to pipe it in"
        )


def _read_password(_context: click.Context, _option: click.Parameter, file: IO[str] | None) -> str | None:
    if file is None:
        return None
    if file.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    password = file.readline().rstrip("\r\n")
    if not password:
        raise Refused("--password-file: the first line is empty; it must be the password")
    return password


@user.command("add")
@click.argument("login")
@click.option("--name")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@password_option
@tenant_option
def add_user(login: str, name: str | None, role: str, password: str | None, tenant_id: int) -> None:
    """Add a person who can log in."""
    chosen = password or secrets.token_urlsafe(12)
    hashed = passwords.hash_password(chosen)
    store().add("user", tenant_id=tenant_id, login=login, name=name or login, role=role, password_hash=hashed)
    click.echo(f"user {login} added" + ("" if password else f"; password {chosen}"))


@user.command("password")
@click.argument("login")
@password_option
@tenant_option
def set_password(login: str, password: str | None, tenant_id: int) -> None:
    """Give a person a new password; every session of theirs ends within seconds."""
    chosen = password or secrets.token_urlsafe(12)
    people().change(login, tenant_id=tenant_id, password_hash=passwords.hash_password(chosen))
    click.echo(f"user {login} has a new password" + ("" if password else f": {chosen}"))


@user.command("role")
@click.argument("login")
@click.argument("role", type=click.Choice(ROLES))
@tenant_option
def set_role(login: str, role: str, tenant_id: int) -> None:
    """Give a person another role; every session of theirs ends within seconds."""
    people().change(login, tenant_id=tenant_id, role=role)
    click.echo(f"user {login} is {role}")


@user.command("bar")
@click.option("--subject", required=True, help="The `sub` of the person's tokens.")
@click.option(
    "--issuer", help=f"Issuer of the tokens; JWT_ISSUER when left out, or {ISSUER!r} without a provider."
)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), help="End of the bar; without it there is no end."
)
@click.option("--reason", default="", help="Reason, kept with the bar.")
@tenant_option
def bar_subject(subject: str, issuer: str | None, days: float | None, reason: str, tenant_id: int) -> None:
    """Void all tokens of a person of the identity provider, or of a program; in force within two seconds."""
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    made = bars().bar(subject, tenant_id=tenant_id, by="vigil", reason=reason, issuer=issuer, until=until)
    end = "until it is lifted" if until is None else f"until {until.isoformat(timespec='seconds')}"
    click.echo(f"{subject} is barred {end}; bar {made}")


@user.command("unbar")
@click.argument("bar_id", type=int)
@tenant_option
def lift_bar(bar_id: int, tenant_id: int) -> None:
    """End a bar (`vigil user bars` lists them); the person's tokens from before stay void."""
    bars().lift(bar_id, tenant_id=tenant_id, by="vigil")
    click.echo(f"bar {bar_id} is lifted")


@user.command("bars")
@tenant_option
@limit_option
@as_json_option
def list_bars(tenant_id: int, limit: int, as_json: bool) -> None:
    """List bars of subjects."""
    show(bars().list_rows(tenant_id=tenant_id, limit=limit), as_json=as_json)
