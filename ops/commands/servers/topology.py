"""`vigil topology`: declare exchanges and queues before any process publishes."""

from __future__ import annotations

# The command looks at the classes of the services, and they need eventlet's patches.
import eventlet

eventlet.monkey_patch()

import click  # noqa: E402
import msgspec  # noqa: E402

from ops.environment import apply_environment  # noqa: E402
from ops.input_output.tables import as_json_option, show  # noqa: E402
from ops.servers.queues.declared import declare_all, queue_states, retire_old_queues  # noqa: E402
from services.platform import config  # noqa: E402


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Only list queues that are missing or differ; exit code 1 when there are any.",
)
@as_json_option
def topology(check: bool, as_json: bool) -> None:
    """Declare the queues; remove those of older versions.

    Another run changes nothing.
    """
    apply_environment()
    settings = config.load()

    if check:
        found = queue_states(settings)
        show([msgspec.structs.asdict(queue) for queue in found], as_json=as_json)
        raise SystemExit(any(queue.state != "there" for queue in found))

    queues = declare_all(settings)
    left = retire_old_queues(settings)

    if as_json:
        show([{"queue": queue.name} for queue in queues], as_json=True)
    else:
        click.echo(f"{len(queues)} queues declared")
        for queue, messages in left.items():
            click.echo(
                f"{queue}: of an older version, {messages} messages wait; it goes once it is empty and unread"
            )
