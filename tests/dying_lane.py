"""A lane as it is, but for a decoder that does not survive certain bytes: `python -m tests.dying_lane PROCESS`.

Its messages, connections, marker and supervisor are the real ones.
"""

# eventlet replaces the standard library's blocking calls; nothing may be imported before.
import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
from typing import Any  # noqa: E402

from eventlet import patcher  # noqa: E402

from gateway.mqtt import payloads  # noqa: E402
from ops import run  # noqa: E402

COMPUTES, WAITS, KILLED = b"makes the lane compute", b"makes the lane wait", b"kills the lane"
_decode = payloads.decode


def decode(topic_text: str, topic: Any, payload: bytes, **options: Any) -> Any:
    """Decode a message, unless it is one of these."""
    if COMPUTES in payload:
        re.match(rb"(a+)+$", b"a" * 60 + b"b")
    if WAITS in payload:
        patcher.original("time").sleep(3600)
    if KILLED in payload:
        os.kill(os.getpid(), signal.SIGKILL)
    return _decode(topic_text, topic, payload, **options)


payloads.decode = decode

if __name__ == "__main__":
    run.main()
