"""The trace of the current work: one id from the device's message to the operator's console.

The id stands in every log line. An alert's trace is the key of its message, so that a message
delivered twice is one trace. It travels in the header of events and calls, and unsealed in frames
of the feed.
"""

from __future__ import annotations

from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars


def begin(trace_id: str, **known: str) -> None:
    """Let this green thread's work belong to a trace from now on.

    `known` is added to its log lines.
    """
    bind_contextvars(trace_id=trace_id, **known)


def end() -> None:
    unbind_contextvars("trace_id")


def current() -> str | None:
    """Return the trace of this green thread; None when it has none."""
    found: str | None = get_contextvars().get("trace_id")
    return found
