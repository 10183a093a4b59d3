"""`vigil contact`: persons who are notified of alerts."""

from __future__ import annotations

import click

from ops.commands.options import site_option, tenant_option
from ops.commands.registry.rows import make_group, store
from services.outgoing.contact_addresses import check_contact

contact = make_group("contact", "Contacts: they are notified of alerts.", switchable=False)


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
    "--language", default="en", show_default=True, help="Language of the messages: en, hi or a tenant's own."
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
