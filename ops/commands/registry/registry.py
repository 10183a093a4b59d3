"""`vigil tenant|site|group|contact|user`: the registry."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import IO, Any, TypeVar
from zoneinfo import available_timezones

import click

from gateway.noc.auth.tokens import ISSUER, ROLES
from ops.commands.registry.profiles import make_profile_group
from ops.environment import apply_environment
from ops.input_output.tables import as_json_option, limit_option, show
from services.contracts.errors import Refused
from services.directory.registry.store import DirectoryStore
from services.directory.users import passwords
from services.directory.users.barred_subjects import BarredSubjects
from services.directory.users.store import PeopleStore
from services.outgoing.contact_addresses import check_contact
from services.platform import config
from services.platform.database import Database

F = TypeVar("F", bound=Callable[..., Any])


def store() -> DirectoryStore:
    apply_environment()
    return DirectoryStore(Database(config.load(), name="cli", pool_size=1, as_owner=True))


def people() -> PeopleStore:
    apply_environment()
    return PeopleStore(Database(config.load(), name="cli", pool_size=1, as_owner=True))


def bars() -> BarredSubjects:
    apply_environment()
    settings = config.load()
    return BarredSubjects.from_config(settings, Database(settings, name="cli", pool_size=1, as_owner=True))


def tenant_option(command: F) -> F:
    return click.option("--tenant", "tenant_id", type=int, default=1, show_default=True, help="Tenant id.")(
        command
    )


def site_option(command: F) -> F:
    return click.option("--site", "site_id", type=int, help="Site id.")(command)


def make_group(kind: str, help_text: str, *, switchable: bool = True) -> click.Group:
    """Return a command group with `list`, and where possible `enable` and `disable`."""

    @click.group(kind, help=help_text)
    def commands() -> None:
        pass

    @commands.command("list", help=f"List them ({kind}).")
    @tenant_option
    @limit_option
    @as_json_option
    def list_rows(tenant_id: int, limit: int, as_json: bool) -> None:
        show(store().list_rows(kind, tenant_id=tenant_id, limit=limit), as_json=as_json)

    if switchable:
        for verb, enabled in (("enable", True), ("disable", False)):
            commands.add_command(_switch(kind, verb, enabled))
    return commands


def _switch(kind: str, verb: str, enabled: bool) -> click.Command:
    @click.command(verb, help=f"{verb.capitalize()} one; known everywhere within two seconds.")
    @click.argument("key")
    @tenant_option
    def switch(key: str, tenant_id: int) -> None:
        store().set_enabled(kind, key, tenant_id=tenant_id, enabled=enabled)
        click.echo(f"{kind} {key} is {verb}d")

    return switch


tenant = make_group("tenant", "Guard companies' client accounts.", switchable=False)
site = make_group("site", "Guarded places.", switchable=False)
site.add_command(make_profile_group("site"))
group = make_group("group", "Groups of guards.", switchable=False)
contact = make_group("contact", "People who are notified of alerts.", switchable=False)
user = make_group("user", "People who log in.")


@tenant.command("add")
@click.argument("tenant_id", type=click.IntRange(min=1))
@click.argument("name")
def add_tenant(tenant_id: int, name: str) -> None:
    """Add a tenant; TENANT_ID is the client_id of its payloads."""
    click.echo(f"tenant {store().add('tenant', tenant_id=tenant_id, name=name)} added")


@tenant.command("set")
@click.argument("tenant_id", type=click.IntRange(min=1))
@click.argument("setting", type=click.Choice(["positions_only_on_shift"]))
@click.argument("value", type=click.Choice(["on", "off"]))
def set_tenant(tenant_id: int, setting: str, value: str) -> None:
    """Change a setting of a tenant.

    It is in force within two seconds. positions_only_on_shift: positions of guards are stored
    during their shifts only (`vigil shift add`).
    """
    directory = store()
    directory.set_tenant(setting, value == "on", tenant_id=tenant_id)
    click.echo(f"tenant {tenant_id}: {setting} is {value}")
    if value == "on" and not directory.has_shift(tenant_id=tenant_id):
        click.echo(
            f"WARNING: tenant {tenant_id} has no shift from now on, so no position of its guards is stored. Add shifts:"
            " `vigil shift import FILE`",
            err=True,
        )


@site.command("add")
@click.argument("name")
@click.option("--lat", type=float)
@click.option("--lon", type=float)
@click.option("--time-zone", default="UTC", show_default=True)
@tenant_option
def add_site(name: str, lat: float | None, lon: float | None, time_zone: str, tenant_id: int) -> None:
    """Add a site."""
    if time_zone not in available_timezones():
        raise Refused(f"--time-zone: there is no {time_zone!r}; write it as Asia/Kolkata or UTC")
    added = store().add("site", tenant_id=tenant_id, name=name, lat=lat, lon=lon, time_zone=time_zone)
    click.echo(f"site {added} added")


@group.command("add")
@click.argument("name")
@tenant_option
def add_group(name: str, tenant_id: int) -> None:
    """Add a group of guards."""
    click.echo(f"group {store().add('group', tenant_id=tenant_id, name=name)} added")


@group.command("join")
@click.argument("name")
@click.argument("guard_id")
@tenant_option
def join_group(name: str, guard_id: str, tenant_id: int) -> None:
    """Put a guard into a group."""
    store().set_member(name, guard_id, tenant_id=tenant_id, member=True)
    click.echo(f"{guard_id} is in {name}")


@group.command("leave")
@click.argument("name")
@click.argument("guard_id")
@tenant_option
def leave_group(name: str, guard_id: str, tenant_id: int) -> None:
    """Take a guard out of a group."""
    store().set_member(name, guard_id, tenant_id=tenant_id, member=False)
    click.echo(f"{guard_id} is not in {name}")


def _from_file(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    """Return an option's value.

    `@FILE` is the first line of the file, `@-` that of standard input.
    """
    if given is None or not given.startswith("@"):
        return given
    with click.open_file(given[1:]) as file:
        return file.readline().strip()


@contact.command("add")
@click.argument("name")
@click.option("--email")
@click.option("--phone", help="E.164, such as +919876543210.")
@click.option(
    "--push-token",
    callback=_from_file,
    help="Registration token of Firebase Cloud Messaging, or /topics/NAME; @FILE keeps it out of the process list.",
)
@click.option(
    "--url",
    callback=_from_file,
    help="A webhook (https://...), or what apprise knows (slack://..., ntfy://...); @FILE keeps it out of the"
    " process list.",
)
@click.option(
    "--language", default="en", show_default=True, help="Of the messages: en, hi or a tenant's own."
)
@click.option("--note", default="")
@site_option
@tenant_option
def add_contact(
    name: str,
    email: str | None,
    phone: str | None,
    push_token: str | None,
    url: str | None,
    language: str,
    note: str,
    site_id: int | None,
    tenant_id: int,
) -> None:
    """Add a person who is notified of alerts."""
    check_contact(email=email, phone=phone, push_token=push_token, url=url)
    values = {
        "tenant_id": tenant_id,
        "site_id": site_id,
        "name": name,
        "email": email,
        "phone": phone,
        "push_token": push_token,
        "url": url,
        "language": language,
        "note": note,
    }
    click.echo(f"contact {store().add('contact', **values)} added")


@contact.command("remove")
@click.argument("name")
@tenant_option
def remove_contact(name: str, tenant_id: int) -> None:
    """Remove a contact."""
    store().remove_contact(name, tenant_id=tenant_id)
    click.echo(f"contact {name} is removed")


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
@click.option("--issuer", help=f"Of the tokens; JWT_ISSUER when left out, or {ISSUER!r} without a provider.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Without it there is no end.")
@click.option("--reason", default="", help="Kept with the bar.")
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
