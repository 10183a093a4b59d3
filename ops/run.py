"""Hosts one Vigil process: `python -m ops.run NAME`, for the supervisor, systemd and containers.

NAME is a part of Vigil, or a group of parts that share a process (`ops.processes`). Each part of a
group has its own container, settings, logins and heartbeats.

The process is ready when all extensions have started, which it reports by the sd_notify protocol.
On the first SIGTERM or SIGINT it finishes the work in hand and ends. When the service dies, it
exits with 1, so that its supervisor starts it again.
"""

from __future__ import annotations

import os
import sys

os.environ["EVENTLET_NO_GREENDNS"] = (
    "yes"  # names are looked up in native threads (ops/hosting/name_lookup.py)
)
sys.modules["rich"] = None  # type: ignore[assignment]  # structlog would load it for terminals: 4 MiB

# eventlet replaces the standard library's blocking calls; nothing else may be imported before.
import eventlet  # noqa: E402

eventlet.monkey_patch()

import gc  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import msgspec  # noqa: E402
import structlog  # noqa: E402

del sys.modules["rich"]
from eventlet.event import Event  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402

from ops.environment import apply_environment, home, read_env, secrets_file  # noqa: E402
from ops.hosting import (  # noqa: E402
    liveness,  # noqa: E402
    name_lookup,
    server_answers,
    stall_watch,
)
from ops.hosting.production import problems  # noqa: E402
from ops.hosting.stall_watch import StallWatch  # noqa: E402
from ops.hosting.stop_signals import StopSignals  # noqa: E402
from ops.hosting.work_watch import WorkWatch  # noqa: E402
from ops.processes import GROUPS, PROCESSES, parts_of, service_class, stall_limit_s  # noqa: E402
from ops.servers.privileges import of_process  # noqa: E402
from services.contracts.errors import Misconfigured, VigilError  # noqa: E402
from services.feed.keyring import read_key_files  # noqa: E402
from services.messaging.consumer import EventHandler  # noqa: E402
from services.messaging.heartbeats import HeartbeatSender  # noqa: E402
from services.messaging.rpc_calls import SERIALIZER, MeasuredRpc  # noqa: E402
from services.platform import config, logging, metrics, metrics_export, tracing  # noqa: E402
from services.platform.config import Config  # noqa: E402
from services.platform.server_lists import amqp_nodes, amqp_shuffled  # noqa: E402
from services.supervision import crash_marker, restarts, sd_notify  # noqa: E402
from services.supervision import work_in_hand as work  # noqa: E402
from services.supervision.work_in_hand import PartWork  # noqa: E402

log = structlog.get_logger(__name__)

SAMPLE_S = 1.0
STOP_TIMEOUT_S = 7.0
"""Time for the work in hand to end after a signal. Supervisors kill after ten seconds or more."""
SECRETS_DIRECTORY = "VIGIL_SECRETS_DIRECTORY"
"""Directory with the secret files of several parts, by the names of `ops.install.secret_files`."""
WATCHED = (EventHandler, MeasuredRpc)
"""Work that ends within limits of its own. Sessions, loops and timers are not watched."""


def nameko_config(settings: Config, service: str) -> dict[str, Any]:
    """Return the settings that Nameko itself needs; all other code reads `config["vigil"]`."""
    return {
        "AMQP_URI": ";".join(amqp_nodes(settings.amqp.uri)),
        "serializer": SERIALIZER,
        "ACCEPT": [SERIALIZER],
        "HEARTBEAT": settings.amqp.heartbeat_s,
        "max_workers": settings.workers.get(service, 4),
        "vigil": settings,
    }


class TracedContainer(ServiceContainer):
    """Container whose workers know their trace and their task, for their log lines.

    It counts the handlers of events and calls that have ended, which shows whether its work goes
    on. Heartbeats are sent and rights are kept under the name `part`.
    """

    def __init__(self, service_cls: Any, config: Any, *, part: str = "") -> None:
        super().__init__(service_cls, config)
        self.settings: Config = config["vigil"]
        self.part = part or self.service_name
        self._finished: Counter[str] = Counter()

    def work(self) -> dict[str, PartWork]:
        """Return the work in hand and the number of finished tasks.

        Each kind of event counts separately. All calls count together.
        """
        in_hand = Counter(_kind_of(context.entrypoint) for context in self._watched())
        return {
            f"{self.part} {kind}": PartWork(f"{in_hand[kind]} {kind}", self._finished[kind])
            for kind in in_hand
        }

    def stacks(self) -> dict[str, str]:
        """Return the stack of each watched worker."""
        threads = {context: self._worker_threads[context] for context in self._watched()}
        return {
            context.call_id: "".join(traceback.format_stack(thread.gr_frame))
            for context, thread in threads.items()
            if thread.gr_frame is not None
        }

    def _watched(self) -> list[Any]:
        return [context for context in self._worker_threads if isinstance(context.entrypoint, WATCHED)]

    def _handle_worker_thread_exited(self, gt: Any, worker_ctx: Any) -> None:
        if isinstance(worker_ctx.entrypoint, WATCHED):
            self._finished[_kind_of(worker_ctx.entrypoint)] += 1
        super()._handle_worker_thread_exited(gt, worker_ctx)

    def _worker_setup(self, worker_ctx: Any) -> None:
        trace_id = worker_ctx.data.get("trace_id")
        if trace_id:
            tracing.begin(trace_id, task=worker_ctx.entrypoint.method_name, service=self.part)
        super()._worker_setup(worker_ctx)


def _kind_of(entrypoint: Any) -> str:
    return "calls" if isinstance(entrypoint, MeasuredRpc) else str(entrypoint.method_name)


class Host:
    """One process: the containers of its parts, started and ended together."""

    def __init__(self, process: str, containers: Sequence[TracedContainer]) -> None:
        self.process = process
        self.containers = list(containers)
        self.is_ready = False
        self.supervision = self.containers[0].settings.supervision
        self.stall_timeout_s = self.supervision.stall_timeout_s
        self._begun: list[TracedContainer] = []

    def start(self) -> None:
        """Start all parts. Raise the error that keeps one of them from starting."""
        for container in self.containers:
            self._begun.append(container)
            container.start()
        self.is_ready = True

    def wait(self) -> None:
        """Wait until one of the parts ends. Raise the error that made it end."""
        over: Event = Event()

        def tell(thread: Any) -> None:
            if not over.ready():
                over.send(thread)

        for container in self.containers:
            eventlet.spawn(container.wait).link(tell)
        over.wait().wait()

    def stop(self) -> None:
        """Stop all parts at the same time; each finishes its work in hand.

        The error of the first part that fails is raised.
        """
        stopping = [eventlet.spawn(container.stop) for container in self.containers]
        for thread in stopping:
            thread.wait()

    def kill(self) -> None:
        """End the parts that have started, in a process that is not ready yet."""
        for container in self._begun:
            container.kill()

    def in_hand(self) -> list[str]:
        """Return the work in hand, in words."""
        return [part.in_hand for container in self.containers for part in container.work().values()]

    def stacks(self) -> dict[str, str]:
        """Return the stack of each watched worker."""
        return {call: stack for container in self.containers for call, stack in container.stacks().items()}

    def away(self) -> list[str]:
        """Return the names of the servers of any part that do not answer now."""
        asked = [
            eventlet.spawn(server_answers.away, container.part, container.settings)
            for container in self.containers
        ]
        return sorted({name for thread in asked for name in thread.wait()})


def sample(host: Host, work_watch: WorkWatch) -> None:
    """Measure busy workers and the lag of the hub, which only the process itself can see.

    Each second that the hub turns, the supervisor gets a sign of life. When the hub hangs, the
    signs stop. An error in this loop also stops the signs, and the process is started again. So the
    process never goes on with figures that no longer change.
    """
    names = [container.service_name for container in host.containers]
    for container in host.containers:
        metrics.worker_capacity.labels(container.service_name).set(container.max_workers)

    lags = [metrics.hub_lag.labels(name) for name in names]
    active = [metrics.worker_active.labels(name) for name in names]

    tells = True
    while True:
        slept_from = time.monotonic()
        eventlet.sleep(SAMPLE_S)
        lag_s = max(0.0, time.monotonic() - slept_from - SAMPLE_S)

        for container, lag, busy in zip(host.containers, lags, active, strict=True):
            lag.set(lag_s)
            busy.set(container._worker_pool.running())

        # Report readiness again each time: the first time, the supervisor's queue may have been
        # full.
        sd_notify.notify("READY=1", "WATCHDOG=1")
        work_watch.look(time.monotonic())

        told = liveness.write_sign(host.process, host.stall_timeout_s)
        if tells and not told:
            log.warning("health_file_not_written", process=host.process)

        tells = told


def begin_watch(process: str, name: str, limit_s: float) -> StallWatch:
    """Note how the run before this one ended, and watch over the hub of this one."""
    watch = StallWatch(limit_s, restarts.report_path(name))
    try:
        for cause in (restarts.STALLED, restarts.DIED):
            metrics.process_restart.labels(
                process, cause
            )  # 0 until the first, so that the first is seen as an increase
        report = watch.last_report()
        why = stall_watch.reason_left_by(report)
        cause, record = restarts.begin(name, stalled_s=limit_s if report else None, why=why)
        watch.start()
    except OSError as error:
        # When the directory cannot be written, only the record is lost. The service goes on.
        log.warning("restart_record_not_written", error=str(error))
        watch = StallWatch(limit_s, None)
        watch.start()
    else:
        if cause:
            metrics.process_restart.labels(process, cause).inc()
            stall_watch.log_end(process, record, report)

    return watch


def environment_of(part: str, *, alone: bool) -> Mapping[str, str]:
    """Return the environment that configures a part; in a group, with the secrets of this part.

    The secrets come from the directory that `VIGIL_SECRETS_DIRECTORY` names. Without it, they come
    from the file of the part in the home of a stack. There, a variable that the operator sets wins.
    """
    if alone:
        return os.environ

    directory = os.environ.get(SECRETS_DIRECTORY)
    if not directory:
        return read_env(secrets_file(home(), part)) | os.environ

    from ops.install import secret_files

    files = {
        f"{variable}_FILE": Path(directory, name) for variable, name in secret_files.files_of(part).items()
    }
    return os.environ | {variable: str(file) for variable, file in files.items() if file.exists()}


def settings_of(part: str, *, alone: bool) -> Config:
    """Return the settings of a part. Raises `Misconfigured`."""
    settings = config.load(environ=environment_of(part, alone=alone))
    if settings.environment == "production" and (
        found := problems(settings, files=read_key_files(settings), secrets=of_process(part).secrets)
    ):
        raise Misconfigured(
            "production does not start with this:\n" + "\n".join(f"  {line}" for line in found)
        )

    # Each process begins with another node of a cluster. Otherwise all would connect to the first
    # one.
    uri = amqp_shuffled(settings.amqp.uri, random.shuffle)
    return msgspec.structs.replace(
        settings,
        amqp=msgspec.structs.replace(settings.amqp, uri=uri),
        database=msgspec.structs.replace(settings.database, process=part),
    )


def container_of(part: str, settings: Config) -> TracedContainer:
    """Return the container of a part, not started yet."""
    cls = service_class(part)
    return TracedContainer(cls, nameko_config(settings, cls.name), part=part)


def host(process: str, signals: StopSignals) -> None:
    """Run one process until a signal asks it to stop. Raise the error that made a service end."""
    parts = parts_of(process)
    settings = {part: settings_of(part, alone=parts == (process,)) for part in parts}
    name = metrics_export.claim(process)
    logging.configure(settings[parts[0]].logging.level, service=process)
    hosted = Host(process, [container_of(part, settings[part]) for part in parts])
    watch = begin_watch(process, name, stall_limit_s(process, hosted.stall_timeout_s))

    service = eventlet.spawn(serve, hosted, watch)
    signum = first_of(service, signals)
    if signum is None:
        error = service.wait()
        if error is not None:
            raise error
        in_order = True
    else:
        log.info("stop_requested", process=process, signal=signal.Signals(signum).name)
        in_order = stop(hosted, service)

    watch.stop()
    crash_marker.release_all()

    try:
        restarts.end(name)
    except OSError as error:
        log.warning("restart_record_not_written", error=str(error))

    log.info("process_stopped", process=process)
    if not in_order:
        # Work that still runs would keep the interpreter from ending. Its message is not
        # acknowledged, so it is delivered again.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def first_of(service: Any, signals: StopSignals) -> int | None:
    """Wait for a signal to stop and return its number, or None when the service ends before."""
    over: Event = Event()

    def tell(signum: int | None) -> None:
        if not over.ready():
            over.send(signum)

    service.link(lambda _: tell(None))
    eventlet.spawn_n(lambda: tell(signals.wait()))
    found: int | None = over.wait()

    return found


def serve(hosted: Host, watch: StallWatch) -> Exception | None:
    """Run the services until one ends.

    Return the error that ended it, or None when it was stopped.
    """
    try:
        run(hosted, watch)
    except Exception as error:
        return error
    return None


def run(hosted: Host, watch: StallWatch) -> None:
    """Start the services, report that they are ready, and wait for the end of one.

    The error that made it end is raised.
    """
    hosted.start()
    # Objects that exist now stay. A full collection would look at all of them again and again.
    gc.collect()
    gc.freeze()

    for container in hosted.containers:
        work.watch(container.work)

    work_watch = WorkWatch(
        hosted.supervision, away=hosted.away, end=lambda why: end_stalled_process(hosted, why, watch)
    )
    log.info("process_started", process=hosted.process)
    sd_notify.notify("READY=1", "WATCHDOG=1", "STATUS=")
    liveness.write_sign(hosted.process, hosted.stall_timeout_s)
    eventlet.spawn_n(sample, hosted, work_watch)

    for container in hosted.containers:
        if of_process(container.part).tables:
            eventlet.spawn_n(report_schema, container.settings, container.part)
        eventlet.spawn_n(HeartbeatSender(container.settings, container.part).run)

    hosted.wait()


def report_schema(settings: Config, part: str) -> None:
    """Log what the tables of a part lack."""
    from ops.data.schema import startup_report  # with the database's library, which some parts do without

    startup_report.report(settings, part)


def end_stalled_process(hosted: Host, why: str, watch: StallWatch) -> None:
    """End this process because its work stands still; the log shows the stack of each worker."""
    log.critical("stalled_process_ended", problem=why, stacks=hosted.stacks())
    sd_notify.notify(f"{sd_notify.FAULT}={why}")
    sys.stdout.flush()
    watch.end(why)


def stop(hosted: Host, service: Any) -> bool:
    """Stop the services within `STOP_TIMEOUT_S`.

    Returns:
        Whether they stopped in order, with no work left in hand.
    """
    sd_notify.notify("STOPPING=1")
    patience = eventlet.Timeout(STOP_TIMEOUT_S)

    try:
        if hosted.is_ready:
            hosted.stop()
        else:
            service.kill()
            hosted.kill()
    except eventlet.Timeout as late:
        if late is not patience:
            raise
        log.warning("work_abandoned", work=hosted.in_hand(), after_s=STOP_TIMEOUT_S)
        return False
    except Exception:
        log.exception("stop_failed")
        return False
    finally:
        patience.cancel()

    return True


def main() -> None:
    names = (*PROCESSES, *GROUPS)
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python -m ops.run {'|'.join(names)}")

    process = sys.argv[1]
    signals = StopSignals()
    name_lookup.use_threads()
    apply_environment(process=process)

    try:
        host(process, signals)
    except VigilError as error:
        sys.exit(f"{process}: {error}")


if __name__ == "__main__":
    main()
