"""The thin layer over Nameko: the parts that the libraries lack for messages that must not be lost.

This is the only package that names Nameko's classes. A service shell may use:

- `event_handler`, `shard_handler`, `fair_handler`, `gathering_handler`, `rpc`, `timer`, `loop`,
  `http`, `upgrade`: start a method
- `rpc_of`, `rpc_methods_of`: serve methods of the service's parts as RPC
- `Publisher`, `RpcProxy`, `Resource`, `QueueDepth`, `RequestRates`, `HeartbeatListener`:
  dependencies of a method
- `within`: a call with a deadline
- `report_away`, `report_back`: the faults that the next heartbeat reports

A name is imported when it is used: no process loads an HTTP server because it publishes events.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.messaging.call_deadline import within
    from services.messaging.consumer import event_handler, gathering_handler
    from services.messaging.handlers.fair_handler import fair_handler
    from services.messaging.handlers.fair_turns import Sender
    from services.messaging.handlers.shard_handler import shard_handler
    from services.messaging.heartbeats import HeartbeatListener, report_away, report_back
    from services.messaging.http_server.server import RequestRates, http, upgrade
    from services.messaging.publisher import Publisher
    from services.messaging.queue_depth import QueueDepth
    from services.messaging.rpc_calls import RpcProxy, rpc, rpc_methods_of, rpc_of
    from services.messaging.shards import shard_key, shard_of, split
    from services.messaging.timer_pace import NOTHING_DUE
    from services.messaging.timers import Resource, loop, timer
    from services.messaging.topology import (
        DEAD_QUEUE,
        HEADER_HISTORY,
        HEADER_QUEUE,
        HEADER_REASON,
        event_queue_name,
        shard_queue_names,
    )

__all__ = [
    "DEAD_QUEUE",
    "HEADER_HISTORY",
    "HEADER_QUEUE",
    "HEADER_REASON",
    "NOTHING_DUE",
    "HeartbeatListener",
    "Publisher",
    "QueueDepth",
    "RequestRates",
    "Resource",
    "RpcProxy",
    "Sender",
    "event_handler",
    "event_queue_name",
    "fair_handler",
    "gathering_handler",
    "http",
    "loop",
    "report_away",
    "report_back",
    "rpc",
    "rpc_methods_of",
    "rpc_of",
    "shard_handler",
    "shard_key",
    "shard_of",
    "shard_queue_names",
    "split",
    "timer",
    "upgrade",
    "within",
]

_FILES = {
    "services.messaging.rpc_calls": (
        "RpcProxy",
        "rpc",
        "rpc_methods_of",
        "rpc_of",
    ),
    "services.messaging.consumer": (
        "event_handler",
        "gathering_handler",
    ),
    "services.messaging.call_deadline": ("within",),
    "services.messaging.queue_depth": ("QueueDepth",),
    "services.messaging.handlers.fair_handler": ("fair_handler",),
    "services.messaging.handlers.fair_turns": ("Sender",),
    "services.messaging.heartbeats": (
        "HeartbeatListener",
        "report_away",
        "report_back",
    ),
    "services.messaging.timer_pace": ("NOTHING_DUE",),
    "services.messaging.publisher": ("Publisher",),
    "services.messaging.timers": (
        "Resource",
        "loop",
        "timer",
    ),
    "services.messaging.handlers.shard_handler": ("shard_handler",),
    "services.messaging.shards": (
        "shard_key",
        "shard_of",
        "split",
    ),
    "services.messaging.topology": (
        "DEAD_QUEUE",
        "HEADER_HISTORY",
        "HEADER_QUEUE",
        "HEADER_REASON",
        "event_queue_name",
        "shard_queue_names",
    ),
    "services.messaging.http_server.server": (
        "RequestRates",
        "http",
        "upgrade",
    ),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_FILE_OF[name]), name)
    globals()[name] = found
    return found
