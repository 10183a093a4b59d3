"""The words between the delivery and a provider, whichever it is."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec

from services.errors import VigilError

CONNECT_TIMEOUT_S = 5.0


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `reference` is ours and the same for each attempt; `data` is for programs (push, webhooks).

    `template_id` is what the operator's regulator registered the text as (DLT in India). `silent`: whoever raised the
    alert must not be heard, so a message about it makes no sound. `hidden` is not sent: parts of the message that
    records and logs must not hold, and what stands there for each.
    """

    reference: str
    recipient: str
    subject: str
    text: str
    html: str = ""
    data: dict[str, str] = {}
    urgent: bool = False
    silent: bool = False
    possible_duplicate: bool = False
    template_id: str = ""
    hidden: dict[str, str] = {}


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The provider has it, under its own reference."""

    provider_ref: str


class SendFailed(VigilError):  # noqa: N818
    """The provider did not take a message, or nobody knows whether it did.

    `kind` is a short stable word (a metric's label). `permanent`: another attempt is of no use. `maybe_sent`: it may
    have gone out. `retry_after_s`: the provider asked for so much patience. `of_recipient`: it is about this message or
    its recipient, and says nothing about what the provider does with others.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        permanent: bool = False,
        maybe_sent: bool = False,
        retry_after_s: float | None = None,
        of_recipient: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.permanent = permanent
        self.maybe_sent = maybe_sent
        self.retry_after_s = retry_after_s
        self.of_recipient = of_recipient or permanent


class CannotTell(VigilError):  # noqa: N818
    """The provider cannot be asked what it has, or did not answer."""


class Channel(Protocol):
    """A provider. `name` is for people and metrics."""

    name: str

    def send(self, outgoing: Outgoing) -> Accepted:
        """Hand a message over. Raises `SendFailed` and nothing else, within the channel's deadline."""

    def find(self, outgoing: Outgoing, *, since: datetime) -> Accepted | None:
        """Whether the provider took this message since then; None: it did not. Raises `CannotTell`."""
