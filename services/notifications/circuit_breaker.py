"""Provider behind circuit breakers: calls to a destination that keeps failing stop for a while.

A provider with one account for all tenants (SMS, a mail server, FCM) is one destination. For a
provider of URLs, each tenant's URL is a destination of its own. A dead destination does not affect
others. An error about a message or its recipient alone (a wrong number, a full mailbox) opens no
circuit.

pybreaker keeps the state. Its own call holds a lock for as long as the provider takes, so one slow
call would delay all others. Therefore the provider is called outside, and the breaker gets the
result.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pybreaker
import structlog

from services.notifications.channels import AcceptedMessage, Channel, OutgoingMessage, SendFailed
from services.platform import metrics

log = structlog.get_logger(__name__)

MOST_CIRCUITS = 5000
"""Limit of circuits of one provider.

The circuit that was used longest ago makes room. It starts closed when it is needed again.
"""
SHARED = (0, "")
"""Destination of a provider that has one account for all tenants."""

Destination = tuple[int, str]
"""(tenant, recipient)."""


class ProtectedChannel:
    """One provider of one channel. `send` and `find` raise the same errors as those of `Channel`.

    For `by_recipient`, see the module.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        failures: int,
        reset_s: float,
        takes: Callable[[str], bool] = lambda _recipient: True,
        by_recipient: bool = False,
        shown: Callable[[str], str] = lambda _recipient: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = channel.name
        self._takes = takes
        self._channel = channel
        self._failures = failures
        self._reset_s = reset_s
        self._by_recipient = by_recipient
        self._shown = shown
        self._clock = clock
        self._circuits: OrderedDict[Destination, _Circuit] = OrderedDict()
        self._open: set[Destination] = set()
        self._show()

    @property
    def open_circuits(self) -> int:
        return len(self._open)

    @property
    def known_circuits(self) -> int:
        return len(self._circuits)

    def takes(self, recipient: str) -> bool:
        """Return whether this provider is the one for such an address."""
        return self._takes(recipient)

    def destination(self, tenant_id: int, recipient: str) -> Destination:
        """Return the destination of a message: all messages to it share one circuit."""
        return (tenant_id, recipient) if self._by_recipient else SHARED

    def allows(self, destination: Destination = SHARED) -> bool:
        """Return whether a call makes sense now.

        An open circuit allows one trial each `reset_s`.
        """
        return destination not in self._open or self._circuit(destination).take_trial(self._clock())

    def wait_s(self, destination: Destination = SHARED) -> float:
        """Return the seconds until the next trial of an open circuit."""
        return self._circuit(destination).wait_s(self._clock()) if destination in self._open else 0.0

    def send(self, outgoing: OutgoingMessage, destination: Destination = SHARED) -> AcceptedMessage:
        started_s = self._clock()
        try:
            accepted = self._channel.send(outgoing)
        except SendFailed as error:
            # A wrong number is not a fault of the provider.
            self._circuit(destination).receive(None if error.of_recipient else error)
            raise
        else:
            self._circuit(destination).receive(None)
            return accepted
        finally:
            metrics.external_service_call.labels(self.name).observe(self._clock() - started_s)

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:
        return self._channel.find(outgoing, since=since)

    def close(self) -> None:
        close = getattr(self._channel, "close", None)
        if close is not None:
            close()

    def _circuit(self, destination: Destination) -> _Circuit:
        found = self._circuits.get(destination)
        if found is None:
            found = _Circuit(self, destination, failures=self._failures, reset_s=self._reset_s)
            self._circuits[destination] = found
            if len(self._circuits) > MOST_CIRCUITS:
                oldest, _ = self._circuits.popitem(last=False)
                self._open.discard(oldest)
                self._show()

        self._circuits.move_to_end(destination)
        return found

    def changed(self, circuit: _Circuit, *, state: str, was: str | None) -> None:
        """Note that a circuit has another state now."""
        tenant_id, recipient = circuit.destination
        if self._circuits.get(circuit.destination) is circuit:
            (self._open.add if state == pybreaker.STATE_OPEN else self._open.discard)(circuit.destination)
        if state == pybreaker.STATE_OPEN:
            circuit.opened(self._clock())
        self._show()
        where = {"tenant_id": tenant_id, "recipient": self._shown(recipient)} if self._by_recipient else {}
        log.warning("circuit_breaker_changed", provider=self.name, state=state, was=was, **where)

    def _show(self) -> None:
        metrics.external_service_circuit_open.labels(self.name).set(1 if self._open else 0)


class _Circuit:
    """Breaker of one destination. Times are of the clock of its provider."""

    def __init__(
        self, owner: ProtectedChannel, destination: Destination, *, failures: int, reset_s: float
    ) -> None:
        self.destination = destination
        self._reset_s = reset_s
        self._trial_at_s = float("-inf")
        self._breaker = pybreaker.CircuitBreaker(fail_max=failures, reset_timeout=reset_s, name=owner.name)
        self._breaker.add_listener(_CircuitListener(owner, self))

    def take_trial(self, now_s: float) -> bool:
        """Return whether the trial is this caller's."""
        if self.wait_s(now_s) > 0:
            return False
        self._trial_at_s = now_s
        return True

    def wait_s(self, now_s: float) -> float:
        return max(0.0, self._trial_at_s + self._reset_s - now_s)

    def opened(self, now_s: float) -> None:
        self._trial_at_s = now_s

    def receive(self, error: SendFailed | None) -> None:
        def went() -> None:
            if error is not None:
                raise error

        try:
            self._breaker.call(went)
        except (SendFailed, pybreaker.CircuitBreakerError):
            return  # the caller has the error; a late one after the circuit opened says nothing new


class _CircuitListener(pybreaker.CircuitBreakerListener):
    def __init__(self, owner: ProtectedChannel, circuit: _Circuit) -> None:
        self._owner = owner
        self._circuit = circuit

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002
        self._owner.changed(self._circuit, state=new_state.name, was=getattr(old_state, "name", None))
