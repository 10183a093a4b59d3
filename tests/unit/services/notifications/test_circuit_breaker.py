"""Tests of circuit breakers.

Each URL is a destination of its own, and a shared account is one. One recipient opens none.
"""

from datetime import datetime

import pytest

from services.notifications import circuit_breaker
from services.notifications.channels import AcceptedMessage, CannotTell, OutgoingMessage, SendFailed
from services.notifications.circuit_breaker import SHARED, ProtectedChannel


class Line:
    """A channel that fails for some recipients."""

    name = "line"

    def __init__(self) -> None:
        self.failures: dict[str, SendFailed] = {}

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        if outgoing.recipient in self.failures:
            raise self.failures[outgoing.recipient]
        return AcceptedMessage(provider_ref=outgoing.reference)

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:
        raise CannotTell(f"{outgoing.reference}, {since}")


@pytest.fixture
def line() -> Line:
    return Line()


def guarded(line: Line, *, by_recipient: bool) -> ProtectedChannel:
    return ProtectedChannel(line, failures=3, reset_s=20, by_recipient=by_recipient, clock=lambda: 100.0)


def send(provider: ProtectedChannel, recipient: str, *, tenant_id: int = 1, times: int = 1) -> None:
    outgoing = OutgoingMessage(reference="r", recipient=recipient, subject="", text="")
    for _ in range(times):
        try:
            provider.send(outgoing, provider.destination(tenant_id, recipient))
        except SendFailed:
            continue


def test_a_dead_url_opens_the_circuit_of_its_tenant_and_url_alone(line: Line) -> None:
    line.failures["dead"] = SendFailed("away", kind="unreachable")
    provider = guarded(line, by_recipient=True)
    send(provider, "dead", times=3)
    assert not provider.allows((1, "dead"))
    assert provider.wait_s((1, "dead")) == 20
    assert provider.allows((2, "dead"))
    assert provider.allows((1, "alive"))
    assert provider.open_circuits == 1


def test_a_shared_account_is_one_destination(line: Line) -> None:
    line.failures |= {"a": SendFailed("away", kind="timeout"), "b": SendFailed("away", kind="server_error")}
    provider = guarded(line, by_recipient=False)
    send(provider, "a", tenant_id=1, times=2)
    send(provider, "b", tenant_id=2)
    assert not provider.allows(SHARED)


@pytest.mark.parametrize(
    "failure",
    [
        SendFailed("no such number", kind="invalid_recipient", permanent=True),
        SendFailed("the mailbox is full", kind="refused", of_recipient=True),
        SendFailed("too many for this phone", kind="rate_limited", of_recipient=True),
    ],
)
def test_refusals_of_one_recipient_never_open_a_shared_circuit(line: Line, failure: SendFailed) -> None:
    line.failures["wrong"] = failure
    provider = guarded(line, by_recipient=False)
    send(provider, "wrong", times=50)
    assert provider.allows(SHARED)


def test_the_number_of_circuits_is_bounded(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "MOST_CIRCUITS", 10)
    line.failures["dead"] = SendFailed("away", kind="unreachable")
    provider = guarded(line, by_recipient=True)
    send(provider, "dead", times=3)
    for number in range(50):
        send(provider, f"alive-{number}")
    assert provider.known_circuits == 10
    assert provider.open_circuits == 0
    assert provider.allows((1, "dead")), "what was forgotten starts closed"
