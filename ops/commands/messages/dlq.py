"""`vigil dlq`: dead letters, which are events that the services gave up on."""

from __future__ import annotations

import click
import msgspec

from ops.environment import apply_environment
from ops.input_output.tables import as_json_option, limit_option, show
from services.contracts.errors import NotFound, Refused
from services.messaging import dead_letter_queue
from services.platform import config


def uri() -> str:
    apply_environment()
    return config.load().amqp.uri


@click.group()
def dlq() -> None:
    """Dead letters: messages that were given up on. They stay until somebody decides."""


@dlq.command("list")
@limit_option
@as_json_option
def list_dead_letters(limit: int, as_json: bool) -> None:
    """List them, oldest first; nothing is taken away."""
    rows = [
        {
            "id": letter.id,
            "queue": letter.queue,
            "reason": letter.reason,
            "tries": len(letter.history),
            "bytes": len(letter.body),
        }
        for letter in dead_letter_queue.oldest_dead_letters(uri(), limit=limit)
    ]
    show(rows, as_json=as_json)


@dlq.command("show")
@click.argument("letter_id")
def show_dead_letter(letter_id: str) -> None:
    """Show one as JSON: its history, and its body decoded."""
    for letter in dead_letter_queue.oldest_dead_letters(uri(), limit=100_000):
        if letter.id == letter_id:
            try:
                body = msgspec.msgpack.decode(letter.body)
            except msgspec.DecodeError:
                body = letter.body
            click.echo(
                msgspec.json.format(msgspec.json.encode({**msgspec.structs.asdict(letter), "body": body}))
            )
            return

    raise NotFound(f"no dead letter {letter_id}; `vigil dlq list` lists them")


@dlq.command()
@click.argument("letter_id", required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
def retry(letter_id: str | None, every: bool) -> None:
    """Send one, or all, to the queue that it came from."""
    _settle(letter_id, every, again=True)


@dlq.command()
@click.argument("letter_id", required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
def discard(letter_id: str | None, every: bool) -> None:
    """Let one, or all, go for good."""
    _settle(letter_id, every, again=False)


def _settle(letter_id: str | None, every: bool, *, again: bool) -> None:
    if (letter_id is None) == (not every):
        raise Refused("name one dead letter, or use --all")

    apply_environment()
    amqp = config.load().amqp

    count = dead_letter_queue.settle(
        amqp.uri,
        lambda letter: every or letter.id == letter_id,
        again_after_s=min(amqp.retry_delays_s) if again else None,
    )
    if not count and not every:
        raise NotFound(f"no dead letter {letter_id}; `vigil dlq list` lists them")

    click.echo(f"{count} {'sent again' if again else 'discarded'}")
