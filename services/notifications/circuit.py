"""A provider behind a circuit breaker: one that fails again and again is left alone for a while.

pybreaker keeps the state. Its own call holds a lock for as long as the provider takes, which would let one slow call
hold up all others; so the provider is called outside, and the breaker is told how it went.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pybreaker
import structlog

from services import metrics
from services.notifications.channels import Accepted, Channel, Outgoing, SendFailed

log = structlog.get_logger(__name__)


class Guarded:
    """One provider of one channel. `send` and `find` raise as `Channel`'s do."""

    def __init__(
        self,
        channel: Channel,
        *,
        failures: int,
        reset_s: float,
        takes: Callable[[str], bool] = lambda _recipient: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = channel.name
        self._takes = takes
        self._channel = channel
        self._reset_s = reset_s
        self._clock = clock
        self._trial_at_s = float("-inf")
        self._breaker = pybreaker.CircuitBreaker(fail_max=failures, reset_timeout=reset_s, name=channel.name)
        self._breaker.add_listener(_Watch(self))
        metrics.external_service_circuit_open.labels(self.name).set(0)

    @property
    def is_open(self) -> bool:
        return bool(self._breaker.current_state == pybreaker.STATE_OPEN)

    def takes(self, recipient: str) -> bool:
        """Whether this provider is the one for such an address."""
        return self._takes(recipient)

    def allows(self) -> bool:
        """Whether a call makes sense now. An open circuit lets one trial through each `reset_s`."""
        if not self.is_open:
            return True
        if self._clock() - self._trial_at_s < self._reset_s:
            return False
        self._trial_at_s = self._clock()
        return True

    def send(self, outgoing: Outgoing) -> Accepted:
        started_s = self._clock()
        try:
            accepted = self._channel.send(outgoing)
        except SendFailed as error:
            # A wrong number is no fault of the provider's.
            self._heard_from(None if error.permanent else error)
            raise
        else:
            self._heard_from(None)
            return accepted
        finally:
            metrics.external_service_call.labels(self.name).observe(self._clock() - started_s)

    def find(self, outgoing: Outgoing, *, since: datetime) -> Accepted | None:
        return self._channel.find(outgoing, since=since)

    def close(self) -> None:
        close = getattr(self._channel, "close", None)
        if close is not None:
            close()

    def opened(self) -> None:
        self._trial_at_s = self._clock()

    def _heard_from(self, error: SendFailed | None) -> None:
        def went() -> None:
            if error is not None:
                raise error

        try:
            self._breaker.call(went)
        except (SendFailed, pybreaker.CircuitBreakerError):
            return  # the caller has the error; a late one after the circuit opened says nothing new


class _Watch(pybreaker.CircuitBreakerListener):
    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        is_open = new_state.name == pybreaker.STATE_OPEN
        metrics.external_service_circuit_open.labels(cb.name).set(1 if is_open else 0)
        if is_open:
            self._guarded.opened()
        log.warning(
            "provider_circuit", provider=cb.name, state=new_state.name, was=getattr(old_state, "name", None)
        )
