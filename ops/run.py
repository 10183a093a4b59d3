"""Hosts one Vigil process: `python -m ops.run NAME`, for the supervisor, systemd and containers alike.

Ready when all extensions have started (said by the sd_notify protocol), ends on the first SIGTERM or SIGINT
after the work in hand is done, and exits with 1 when the service died, so that whoever supervises starts it again.
"""

from __future__ import annotations

# eventlet replaces the standard library's blocking calls; nothing may be imported before.
import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import structlog  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402

from ops.environment import apply_environment  # noqa: E402
from ops.processes import PROCESSES, service_class  # noqa: E402
from services import config, exposition, logs, metrics  # noqa: E402
from services.bus.calling import SERIALIZER  # noqa: E402
from services.config import Config  # noqa: E402
from services.deploy import problems  # noqa: E402
from services.errors import Misconfigured, VigilError  # noqa: E402

SAMPLE_S = 1.0


def nameko_config(settings: Config, service: str) -> dict[str, Any]:
    """What Nameko itself wants to know; everything else reads `config["vigil"]`."""
    return {
        "AMQP_URI": settings.amqp.uri,
        "serializer": SERIALIZER,
        "ACCEPT": [SERIALIZER],
        "HEARTBEAT": settings.amqp.heartbeat_s,
        "max_workers": settings.workers.get(service, 4),
        "vigil": settings,
    }


def notify(message: str) -> None:
    """Tell the supervisor (sd_notify(3)); without one, nobody needs to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(message.encode())


def sample(container: ServiceContainer) -> None:
    """Measure what only the process itself can see: busy workers, and how late the hub wakes a sleeper."""
    name = container.service_name
    metrics.worker_capacity.labels(name).set(container.max_workers)
    active, lag = metrics.worker_active.labels(name), metrics.hub_lag.labels(name)
    while True:
        slept_from = time.monotonic()
        eventlet.sleep(SAMPLE_S)
        lag.set(max(0.0, time.monotonic() - slept_from - SAMPLE_S))
        active.set(container._worker_pool.running())


def host(process: str) -> None:
    """Run one process until it is told to stop. Raises what made the service end."""
    log = structlog.get_logger("ops.run")
    settings = config.load()
    exposition.claim(process)
    logs.configure(settings.logging.level, service=process)
    if settings.environment == "production" and (found := problems(settings)):
        raise Misconfigured(
            "production does not start with this:\n" + "\n".join(f"  {line}" for line in found)
        )
    cls = service_class(process)
    container = ServiceContainer(cls, nameko_config(settings, cls.name))
    stopping: list[int] = []

    def stop(signum: int, _frame: Any) -> None:
        if not stopping:  # a second stop while the first is under way would hang Nameko
            stopping.append(signum)
            notify("STOPPING=1")
            eventlet.spawn_n(container.stop)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    container.start()
    eventlet.spawn_n(sample, container)
    log.info("ready", process=process)
    notify("READY=1")
    container.wait()
    log.info("stopped", process=process)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in PROCESSES:
        sys.exit(f"usage: python -m ops.run {'|'.join(PROCESSES)}")
    apply_environment(as_operator=False)
    try:
        host(sys.argv[1])
    except VigilError as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
