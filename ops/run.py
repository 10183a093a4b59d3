"""Hosts one Vigil process: `python -m ops.run NAME`, for the supervisor, systemd and containers alike.

Ready when all extensions have started (said by the sd_notify protocol), ends on the first SIGTERM or SIGINT
after the work in hand is done, and exits with 1 when the service died, so that whoever supervises starts it again.
"""

from __future__ import annotations

# eventlet replaces the standard library's blocking calls; nothing may be imported before.
import eventlet

eventlet.monkey_patch()

import gc  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import msgspec  # noqa: E402
import structlog  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402

from ops import alive, stall_watch  # noqa: E402
from ops.environment import apply_environment  # noqa: E402
from ops.privileges import of_process  # noqa: E402
from ops.processes import PROCESSES, service_class, stall_limit_s  # noqa: E402
from ops.stall_watch import StallWatch  # noqa: E402
from services import config, exposition, logs, metrics, restarts, tracing  # noqa: E402
from services.addresses import amqp_nodes, amqp_shuffled  # noqa: E402
from services.bus.calling import SERIALIZER  # noqa: E402
from services.bus.heartbeats import HeartbeatSender  # noqa: E402
from services.config import Config  # noqa: E402
from services.deploy import problems  # noqa: E402
from services.errors import Misconfigured, VigilError  # noqa: E402
from services.keyring import read_key_files  # noqa: E402

SAMPLE_S = 1.0


def nameko_config(settings: Config, service: str) -> dict[str, Any]:
    """What Nameko itself wants to know; everything else reads `config["vigil"]`."""
    return {
        "AMQP_URI": ";".join(amqp_nodes(settings.amqp.uri)),
        "serializer": SERIALIZER,
        "ACCEPT": [SERIALIZER],
        "HEARTBEAT": settings.amqp.heartbeat_s,
        "max_workers": settings.workers.get(service, 4),
        "vigil": settings,
    }


class TracedContainer(ServiceContainer):
    """Every worker knows which trace it belongs to, and which task it is: its log lines say so."""

    def _worker_setup(self, worker_ctx: Any) -> None:
        trace_id = worker_ctx.data.get("trace_id")
        if trace_id:
            tracing.begin(trace_id, task=worker_ctx.entrypoint.method_name)
        super()._worker_setup(worker_ctx)


def notify(message: str) -> None:
    """Tell the supervisor (sd_notify(3)); without one, nobody needs to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(message.encode())


def sample(container: ServiceContainer, process: str) -> None:
    """Measure what only the process itself can see: busy workers, and how late the hub wakes a sleeper.

    Whoever supervises hears that the hub turns, and a hub that hangs falls silent.
    """
    name = container.service_name
    metrics.worker_capacity.labels(name).set(container.max_workers)
    active, lag = metrics.worker_active.labels(name), metrics.hub_lag.labels(name)
    while True:
        slept_from = time.monotonic()
        eventlet.sleep(SAMPLE_S)
        lag.set(max(0.0, time.monotonic() - slept_from - SAMPLE_S))
        active.set(container._worker_pool.running())
        notify("WATCHDOG=1")
        alive.tell(process)


def begin_watch(process: str, name: str) -> StallWatch:
    """Note how the run before this one ended, and watch over the hub of this one."""
    limit_s = stall_limit_s(process)
    watch = StallWatch(limit_s, restarts.report_path(name))
    try:
        for cause in (restarts.STALLED, restarts.DIED):
            metrics.process_restart.labels(
                process, cause
            )  # 0 until the first, so that the first is seen to be one
        report = watch.last_report()
        cause, record = restarts.begin(name, stalled_s=limit_s if report else None)
        watch.start()
    except OSError as error:
        # A directory that cannot be written to costs the record, not the service.
        structlog.get_logger("ops.run").warning("restart_record_unusable", error=str(error))
        watch = StallWatch(limit_s, None)
        watch.start()
    else:
        if cause:
            metrics.process_restart.labels(process, cause).inc()
            stall_watch.log_end(process, record, report)
    return watch


def host(process: str) -> None:
    """Run one process until it is told to stop. Raises what made the service end."""
    log = structlog.get_logger("ops.run")
    settings = config.load()
    name = exposition.claim(process)
    logs.configure(settings.logging.level, service=process)
    if settings.environment == "production" and (
        found := problems(settings, files=read_key_files(settings), secrets=of_process(process).secrets)
    ):
        raise Misconfigured(
            "production does not start with this:\n" + "\n".join(f"  {line}" for line in found)
        )
    # Each process begins with another node of a cluster: they would else all sit on the first one.
    uri = amqp_shuffled(settings.amqp.uri, random.shuffle)
    settings = msgspec.structs.replace(
        settings,
        amqp=msgspec.structs.replace(settings.amqp, uri=uri),
        database=msgspec.structs.replace(settings.database, process=process),
    )
    cls = service_class(process)
    container = TracedContainer(cls, nameko_config(settings, cls.name))
    stopping: list[int] = []

    def stop(signum: int, _frame: Any) -> None:
        if not stopping:  # a second stop while the first is under way would hang Nameko
            stopping.append(signum)
            notify("STOPPING=1")
            eventlet.spawn_n(container.stop)

    watch = begin_watch(process, name)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    container.start()
    # What is there now stays: a full collection would look at all of it again and again.
    gc.collect()
    gc.freeze()
    eventlet.spawn_n(sample, container, process)
    eventlet.spawn_n(HeartbeatSender(settings, process).run)
    log.info("ready", process=process)
    notify("READY=1")
    alive.tell(process)
    container.wait()
    watch.stop()
    try:
        restarts.end(name)
    except OSError as error:
        log.warning("restart_record_unusable", error=str(error))
    log.info("stopped", process=process)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in PROCESSES:
        sys.exit(f"usage: python -m ops.run {'|'.join(PROCESSES)}")
    apply_environment(process=sys.argv[1])
    try:
        host(sys.argv[1])
    except VigilError as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
