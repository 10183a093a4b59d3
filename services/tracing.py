"""The trace of what is being done: one id from the device's message to the operator's screen, in every log line.

An alert's trace is the key of its message, so that a message delivered twice is one trace. It travels in the header
of events and calls, and on the clear outside of frames of the feed.
"""

from __future__ import annotations

from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars


def begin(trace_id: str, **known: str) -> None:
    """What this green thread does from now on belongs to this trace; `known` stands in its log lines besides."""
    bind_contextvars(trace_id=trace_id, **known)


def end() -> None:
    unbind_contextvars("trace_id")


def current() -> str | None:
    """The trace of this green thread, if it has one."""
    found: str | None = get_contextvars().get("trace_id")
    return found
