"""Logs: one JSON object a line on standard error, for Vigil's own events and for the libraries'."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure(level: str, *, service: str) -> None:
    """Set up structlog and the standard library's logging alike.

    JSON escapes control characters.
    """

    def name_service(
        _logger: Any, _method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        # Not a contextvar: every green thread starts with an empty context.
        event.setdefault("service", service)
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        # This comes after the context variables. In a process that hosts several services, they
        # name the service of a task.
        name_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )

    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)

    # amqp logs every frame at DEBUG. nameko logs every worker at DEBUG, and expected errors with
    # tracebacks.
    for noisy in ("amqp", "kombu", "nameko"):
        logging.getLogger(noisy).setLevel("WARNING" if level != "ERROR" else level)

    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
