"""`vigil template`: a tenant's own texts of notifications."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from ops.commands.connections import owner_database
from ops.commands.options import tenant_option
from ops.input_output.input_files import INPUT_FILE, read_text
from ops.input_output.tables import as_json_option, show
from services.notifications.texts import sms_length
from services.notifications.texts.template_store import TemplateStore
from services.notifications.texts.templates import MAX_SOURCE, PARTS, Templates, check_template
from services.notifications.texts.translations import SAMPLE

F = TypeVar("F", bound=Callable[..., Any])
json_object = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def store() -> TemplateStore:
    return TemplateStore(owner_database())


def place_arguments(command: F) -> F:
    """Add the arguments CHANNEL, LANGUAGE and PART."""
    for argument in (click.argument("part"), click.argument("language"), click.argument("channel")):
        command = argument(command)
    return command


@click.group()
def template() -> None:
    """Texts of messages.

    By channel (sms, email, push, url), language and part (subject, text, html, template_id).
    """


@template.command("list")
@tenant_option
@as_json_option
def list_templates(tenant_id: int, as_json: bool) -> None:
    """The tenant's own templates; one with a fault is passed over when messages are written."""
    rows = store().list_templates(tenant_id=tenant_id)
    show(rows, as_json=as_json)


@template.command("show")
@click.argument("channel", type=click.Choice(list(PARTS)))
@click.argument("language")
@tenant_option
@json_object
def show_templates(channel: str, language: str, tenant_id: int, as_json: bool) -> None:
    """The templates of a channel that are in force for a language, and a sample alert written with them."""
    templates = Templates(store().of_tenant(tenant_id))
    parts = []
    for part in PARTS[channel]:
        source, own = templates.source(channel, language, part)
        parts.append({"part": part, "from": _origin(own, source), "source": source})

    written = templates.render(channel, language, SAMPLE)
    sample = {name: value for name, value in msgspec.structs.asdict(written).items() if value}
    taken, alphabet = sms_length.size(written.text)
    told: dict[str, Any] = {"channel": channel, "language": language, "parts": parts, "sample": sample}

    if channel == "sms":
        told["sms"] = {"length": taken, "alphabet": alphabet, "segments": sms_length.segments(written.text)}
    if as_json:
        click.echo(msgspec.json.encode(told).decode())
        return

    for row in parts:
        click.echo(f"# {row['part']}: {row['from']}\n{row['source']}\n")

    click.echo("# a sample")
    for name, value in sample.items():
        click.echo("\n".join(value) if name == "faults" else f"{name}: {value}")

    if channel == "sms":
        size = sms_length.UCS2 if alphabet == "UCS-2" else sms_length.GSM7
        count = told["sms"]["segments"]
        click.echo(f"{taken} of {size} characters ({alphabet}), {count} segment{'s' if count > 1 else ''}")


@template.command("set")
@place_arguments
@click.argument("file", type=INPUT_FILE, default="-")
@tenant_option
def set_template(channel: str, language: str, part: str, file: Path, tenant_id: int) -> None:
    """Give a tenant its own text, from FILE or standard input; in force within seconds.

    It is tried with sample alerts first: one that fails is refused, with line and reason.
    """
    source = read_text(file, at_most=4 * MAX_SOURCE, standard_input=True)
    check_template(channel=channel, language=language, part=part, source=source)
    store().set_template(tenant_id=tenant_id, channel=channel, language=language, part=part, source=source)
    click.echo(f"template {channel} {language} {part} of tenant {tenant_id} is set")


@template.command("remove")
@place_arguments
@tenant_option
def remove_template(channel: str, language: str, part: str, tenant_id: int) -> None:
    """Take a template back; the built-in one holds again."""
    store().remove_template(tenant_id=tenant_id, channel=channel, language=language, part=part)
    click.echo(f"template {channel} {language} {part} of tenant {tenant_id} is removed")


def _origin(own: str | None, source: str) -> str:
    if own is not None:
        return f"the tenant's, for {own}"
    return "built in" if source else "none"
