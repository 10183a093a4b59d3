"""A real process with a decoder or handler that certain messages stop.

Run it with `python -m tests.support.dying_process PROCESS`. Its messages, connections, notes and
supervisor are the real ones.
"""

# eventlet replaces the standard library's blocking calls: nothing may be imported before this.
import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
from functools import wraps  # noqa: E402
from typing import Any  # noqa: E402

from eventlet import patcher  # noqa: E402
from eventlet.event import Event  # noqa: E402

from gateway.mqtt.decoding import payloads  # noqa: E402
from ops import run  # noqa: E402
from services.alerts.service import AlertsService  # noqa: E402
from services.location.service import LocationService  # noqa: E402

COMPUTES, WAITS, KILLED = b"makes it compute", b"makes it wait", b"kills it"
HANDLER_KILLED = "kills the handler"
HANDLER_HANGS = "makes the handler wait for nothing"


def stop_at(payload: bytes) -> None:
    """Do what the payload says, which ends the process."""
    if COMPUTES in payload:
        re.match(rb"(a+)+$", b"a" * 60 + b"b")
    if WAITS in payload:
        patcher.original("time").sleep(3600)
    if KILLED in payload:
        os.kill(os.getpid(), signal.SIGKILL)


def dying_decoder(decode: Any) -> Any:
    @wraps(decode)
    def wrapped(topic_text: str, topic: Any, payload: bytes, **options: Any) -> Any:
        stop_at(payload)
        return decode(topic_text, topic, payload, **options)

    return wrapped


def dying_handler(handle: Any) -> Any:
    @wraps(handle)
    def wrapped(service: Any, alert: Any) -> Any:
        if HANDLER_KILLED in alert.message:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANDLER_HANGS in alert.message:
            Event().wait()
        return handle(service, alert)

    return wrapped


def dying_intake(handle: Any) -> Any:
    @wraps(handle)
    def wrapped(service: Any, events: Any) -> Any:
        if any(HANDLER_KILLED in fix.origin.raw for event in events for fix in event.fixes):
            os.kill(os.getpid(), signal.SIGKILL)
        return handle(service, events)

    return wrapped


if __name__ == "__main__":
    payloads.decode = dying_decoder(payloads.decode)
    AlertsService.process_device_alert = dying_handler(AlertsService.process_device_alert)  # type: ignore[method-assign]
    LocationService.process_guard_gps = dying_intake(LocationService.process_guard_gps)  # type: ignore[method-assign]
    run.main()
