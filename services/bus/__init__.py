"""The thin layer over Nameko: the parts that the libraries lack for messages that must not be lost.

This is the only package that names Nameko's classes. A service shell may use:

- `event_handler`, `shard_handler`, `fair_handler`, `gathering_handler`, `rpc`, `timer`, `loop`,
  `http`, `upgrade`: start a method
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
    from services.bus.calling import RpcProxy, rpc
    from services.bus.consuming import event_handler, gathering_handler
    from services.bus.deadline import within
    from services.bus.depth import QueueDepth
    from services.bus.fair_handling import fair_handler
    from services.bus.fair_turns import Sender
    from services.bus.heartbeats import HeartbeatListener, report_away, report_back
    from services.bus.pace import NOTHING_DUE
    from services.bus.publishing import Publisher
    from services.bus.running import Resource, loop, timer
    from services.bus.shard_handling import shard_handler
    from services.bus.shards import shard_key, shard_of, split
    from services.bus.topology import (
        DEAD_QUEUE,
        HEADER_HISTORY,
        HEADER_QUEUE,
        HEADER_REASON,
        event_queue_name,
        shard_queue_names,
    )
    from services.bus.web import RequestRates, http, upgrade

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
    "services.bus.calling": (
        "RpcProxy",
        "rpc",
    ),
    "services.bus.consuming": (
        "event_handler",
        "gathering_handler",
    ),
    "services.bus.deadline": ("within",),
    "services.bus.depth": ("QueueDepth",),
    "services.bus.fair_handling": ("fair_handler",),
    "services.bus.fair_turns": ("Sender",),
    "services.bus.heartbeats": (
        "HeartbeatListener",
        "report_away",
        "report_back",
    ),
    "services.bus.pace": ("NOTHING_DUE",),
    "services.bus.publishing": ("Publisher",),
    "services.bus.running": (
        "Resource",
        "loop",
        "timer",
    ),
    "services.bus.shard_handling": ("shard_handler",),
    "services.bus.shards": (
        "shard_key",
        "shard_of",
        "split",
    ),
    "services.bus.topology": (
        "DEAD_QUEUE",
        "HEADER_HISTORY",
        "HEADER_QUEUE",
        "HEADER_REASON",
        "event_queue_name",
        "shard_queue_names",
    ),
    "services.bus.web": (
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
