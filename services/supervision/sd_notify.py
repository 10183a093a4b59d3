"""Messages to the supervisor of this process, by the protocol of sd_notify(3).

No message ever blocks its sender or raises. A supervisor that does not read, or is gone, must not
delay the work. Linux queues ten datagrams of a socket (net.unix.max_dgram_qlen). A message that
does not fit is dropped and counted; the next one, a second later, says the same.

Supervisors import this file to read. A module that only senders need is imported when they send.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

VARIABLE = "NOTIFY_SOCKET"
FAULT = "X_VIGIL_FAULT"
"""The reason for which the process is about to end itself."""
BLOCKED = "X_VIGIL_BLOCKED"
"""The reason for which the process cannot get ready; empty when it no longer holds."""


@cache
def _blocking_socket() -> Any:
    from eventlet import patcher

    return patcher.original("socket")


def _dropped(reason: str) -> None:
    from services.platform import metrics

    metrics.notification_dropped.labels(reason).inc()


def notify(*assignments: str) -> bool:
    """Send assignments such as `READY=1` in one datagram.

    Returns:
        Whether the supervisor will read them. True without a supervisor: there is nothing to send.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return True

    name = "\0" + address[1:] if address.startswith("@") else address
    message = "\n".join(assignments).encode()

    blocking = _blocking_socket()
    try:
        with blocking.socket(blocking.AF_UNIX, blocking.SOCK_DGRAM) as sock:
            sock.sendto(message, blocking.MSG_DONTWAIT, name)
    except BlockingIOError:
        _dropped("queue_full")
        return False
    except OSError:
        # No process listens there any more, or no descriptor is free. The work goes on without a
        # supervisor.
        _dropped("nobody_listens")
        return False

    return True


def status(text: str) -> bool:
    """Report in one line what this process is doing; an empty text withdraws the report."""
    return notify("STATUS=" + " ".join(text.split()))


def read(datagram: bytes) -> dict[str, str]:
    """Return the assignments of a datagram; lines that are none are left out."""
    lines = datagram.decode("utf-8", "replace").split("\n")
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, equals, value in pairs if equals}
