"""Every queue that a handler of Vigil reads from, found by looking at the service classes."""

from __future__ import annotations

import inspect

from kombu import Queue
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from ops.processes import PROCESSES, service_class
from services.bus.consuming import EventHandler
from services.bus.topology import event_queue, shared_queues
from services.config import Config


def all_queues(config: Config) -> list[Queue]:
    """The shared queues first, then one for each event handler."""
    queues = list(shared_queues(config.amqp))
    for process in PROCESSES:
        cls = service_class(process)
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ()):
                if isinstance(entrypoint, EventHandler):
                    source, event = entrypoint.source_service, entrypoint.event_type
                    queues.append(event_queue(source, event, cls.name, name, amqp=config.amqp))
    return queues
