"""`vigil topology`: declare exchanges and queues before anybody publishes."""

from __future__ import annotations

# The classes of the services are looked at here, and they need their world as it is when they run.
import eventlet

eventlet.monkey_patch()

import click  # noqa: E402
import msgspec  # noqa: E402

from ops.environment import apply_environment  # noqa: E402
from ops.processes import PROCESSES, service_class  # noqa: E402
from ops.tables import as_json_option, show  # noqa: E402
from ops.topology import all_queues, standing  # noqa: E402
from services import config  # noqa: E402
from services.bus.publishing import Outlet, connect  # noqa: E402
from services.bus.topology import retire_rpc_queue  # noqa: E402


@click.command()
@click.option(
    "--check", is_flag=True, help="Only tell which queues are missing or differ; exit code 1 when any is."
)
@as_json_option
def topology(check: bool, as_json: bool) -> None:
    """Declare every queue that Vigil uses. Harmless when they are there. Takes away what older versions left."""
    apply_environment()
    settings = config.load()
    if check:
        found = standing(settings)
        show([msgspec.structs.asdict(queue) for queue in found], as_json=as_json)
        raise SystemExit(any(queue.state != "there" for queue in found))
    queues = all_queues(settings)
    Outlet(settings.amqp).declare(queues)
    with connect(settings.amqp.uri) as connection:
        for service in sorted({service_class(process).name for process in PROCESSES}):
            retire_rpc_queue(connection, service)
    if as_json:
        show([{"queue": queue.name} for queue in queues], as_json=True)
    else:
        click.echo(f"{len(queues)} queues declared")
