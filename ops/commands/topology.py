"""`vigil topology`: declare exchanges and queues before anybody publishes."""

from __future__ import annotations

# The classes of the services are looked at here, and they need their world as it is when they run.
import eventlet

eventlet.monkey_patch()

import click  # noqa: E402

from ops.environment import apply_environment  # noqa: E402
from ops.processes import PROCESSES, service_class  # noqa: E402
from ops.topology import all_queues  # noqa: E402
from services import config  # noqa: E402
from services.bus.publishing import Outlet, connect  # noqa: E402
from services.bus.topology import retire_rpc_queue  # noqa: E402


@click.command()
def topology() -> None:
    """Declare every queue that Vigil uses. Harmless when they are there. Takes away what older versions left."""
    apply_environment()
    settings = config.load()
    queues = all_queues(settings)
    Outlet(settings.amqp).declare(queues)
    with connect(settings.amqp.uri) as connection:
        for service in sorted({service_class(process).name for process in PROCESSES}):
            retire_rpc_queue(connection, service)
    click.echo(f"{len(queues)} queues declared")
