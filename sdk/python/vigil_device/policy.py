"""Waits of the outbox for a receipt, and the limits that end a message. Pure."""

from __future__ import annotations

from typing import NamedTuple

from vigil_device.messages import Kind

HOUR_S = 3600.0
DAY_S = 86_400.0


class Policy(NamedTuple):
    """Limits of an outbox. Times are in seconds of the outbox's own clock.

    Attributes:
        max_messages: Messages that are kept. Above this number the oldest position is dropped, then
            the oldest reading. An alert is never dropped.
        window: Positions and readings that are sent and have no receipt yet. Alerts are not
            counted.
        alert_wait_s, bulk_wait_s: Shortest wait for a receipt before a message is sent again.
        cap_s: Longest back-off that is added to that wait.
        slow_cap_s: The same for an alert that is older than an hour.
        max_age_s: Age at which a message is given up and set aside.
        max_passed: Sends of a position or reading after which it is given up, when receipts of
            other messages came after each of them.
        connect_cap_s: Longest pause before the next attempt to connect.
        urgent_connect_cap_s: The same while an alert waits.
    """

    max_messages: int = 10_000
    window: int = 100
    alert_wait_s: float = 5.0
    bulk_wait_s: float = 15.0
    cap_s: float = 60.0
    slow_cap_s: float = 300.0
    max_age_s: float = 7 * DAY_S
    max_passed: int = 8
    connect_cap_s: float = 60.0
    urgent_connect_cap_s: float = 10.0

    def wait_s(self, kind: Kind) -> float:
        """Return the shortest wait for a receipt."""
        return self.alert_wait_s if kind is Kind.ALERT else self.bulk_wait_s

    def resend_after_s(self, kind: Kind, *, sends: int, age_s: float, chance: float) -> float:
        """Return the wait after the latest of `sends` sends.

        It is the shortest wait and a back-off with full jitter. `chance` is a random number from 0
        to 1.
        """
        wait_s = self.wait_s(kind)
        cap_s = self.slow_cap_s if kind is Kind.ALERT and age_s > HOUR_S else self.cap_s
        return wait_s + chance * min(cap_s, wait_s * 2.0 ** min(sends - 1, 30))

    def connect_after_s(self, *, failures: int, chance: float, urgent: bool = False) -> float:
        """Return the pause before the next attempt to connect: exponential with full jitter."""
        cap_s = min(self.connect_cap_s, self.urgent_connect_cap_s) if urgent else self.connect_cap_s
        return chance * min(cap_s, 2.0 ** min(failures, 30))
