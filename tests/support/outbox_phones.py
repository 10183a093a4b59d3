"""A process with phones that use vigil-device.

Usage: `python -m tests.support.outbox_phones DIRECTORY PORT RUN COUNT RATE PANICS`. Every message
whose send returned is a line in DIRECTORY/ledger. SIGTERM ends the sending. The process then waits
for the receipts, and its last line has the counts. With a rate of 0 it only sends the messages in
the outboxes.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from vigil_device import Outbox

DRAIN_S = 240.0


class OutboxPhones:
    """Phones with an outbox each, and the ledger of the messages that they sent."""

    def __init__(self, directory: Path, *, port: int, run: str, count: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ledger = (directory / "ledger").open("a", buffering=1)
        self.outboxes = [
            Outbox(
                directory / f"phone-{number}.db",
                source_id=f"guard-{run}-{number}",
                host="127.0.0.1",
                port=port,
            )
            for number in range(count)
        ]
        self.messages = sum(outbox.pending() for outbox in self.outboxes)
        self._turns = 0

    def fix(self) -> None:
        outbox = self._next()
        self._note("fix", outbox.send_position(12.97, 77.59 + self._turns % 100 / 1e5, accuracy=5))

    def panic(self) -> None:
        self._note("panic", self._next().send_alert("PANIC", message="crash test"))

    def _next(self) -> Outbox:
        self._turns += 1
        return self.outboxes[self._turns % len(self.outboxes)]

    def _note(self, kind: str, msg_id: str) -> None:
        self.messages += 1
        self.ledger.write(f"{kind} {msg_id}\n")

    @property
    def pending(self) -> int:
        return sum(outbox.pending() for outbox in self.outboxes)

    @property
    def sends(self) -> int:
        return sum(outbox.sends for outbox in self.outboxes)


def main() -> None:
    directory, port, run, count, rate, panics = sys.argv[1:]
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    phones = OutboxPhones(Path(directory), port=int(port), run=run, count=int(count))
    began_s, sent, pressed = time.monotonic(), 0, 0
    while float(rate) and not stopped:
        elapsed_s = time.monotonic() - began_s
        if pressed < elapsed_s * float(panics):
            phones.panic()
            pressed += 1
        elif sent < elapsed_s * float(rate):
            phones.fix()
            sent += 1
        else:
            time.sleep(0.002)  # the test sets the rate

    deadline_s = time.monotonic() + DRAIN_S
    while phones.pending and time.monotonic() < deadline_s:
        time.sleep(0.05)  # receipts come in threads of the outboxes
    for outbox in phones.outboxes:
        outbox.close()
    print(json.dumps({"messages": phones.messages, "sends": phones.sends, "pending": phones.pending}))


if __name__ == "__main__":
    main()
