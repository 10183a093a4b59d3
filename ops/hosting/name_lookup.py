"""Look up host names in native threads, with the system's resolver, while the hub turns.

eventlet's own resolver loads dnspython twice, which takes 13 MiB in each process. `ops.run` does
without it (`EVENTLET_NO_GREENDNS`). Then eventlet leaves `getaddrinfo` as it is. A name server that
does not answer would stop the hub for many seconds.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from eventlet import patcher, tpool
from eventlet.green import _socket_nodns
from eventlet.green import socket as green_socket

MOST = 10
"""Most look-ups at once.

A look-up that hangs holds its thread after its caller has left. Half of the threads are for other
work.
"""
KNOWN = frozenset({None, "", b"", "localhost"})

_threading: Any = patcher.original("threading")


class NameLookups:
    """Runs a blocking `getaddrinfo` in native threads.

    Args:
        look_up: the system's `getaddrinfo`.
        most: the largest number of look-ups at once.
    """

    def __init__(self, look_up: Callable[..., Any], *, most: int = MOST) -> None:
        self._look_up = look_up
        self._free = most
        self._lock = _threading.Lock()

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        """Return the result of the system's function. Raises `socket.gaierror`."""
        if is_known(host):
            return self._look_up(host, port, *args, **options)
        if not self._take():
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        return tpool.execute(self._in_thread, host, port, *args, **options)

    def _in_thread(self, *args: Any, **options: Any) -> Any:
        try:
            return self._look_up(*args, **options)
        finally:
            with self._lock:
                self._free += 1

    def _take(self) -> bool:
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True


def is_known(host: Any) -> bool:
    """Return whether a host needs no name server, as it is an address or this machine."""
    if host in KNOWN:
        return True
    try:
        ipaddress.ip_address(host.partition("%")[0] if isinstance(host, str) else host)
    except ValueError:
        return False
    return True


def use_threads() -> None:
    """Let every look-up of this process run in a native thread.

    Call it once, before anything connects.
    """
    lookups = NameLookups(socket.getaddrinfo)
    modules: tuple[Any, ...] = (socket, green_socket, _socket_nodns)
    for module in modules:
        module.getaddrinfo = lookups.getaddrinfo
