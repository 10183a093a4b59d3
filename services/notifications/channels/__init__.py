"""Interface between the delivery and providers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec

from services.contracts.errors import VigilError

CONNECT_TIMEOUT_S = 5.0
SMS_MARK = "2x? "
"""Mark before the text of an SMS that may have been sent already."""


class OutgoingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one recipient.

    Attributes:
        reference: Vigil's id of the message, the same for each attempt.
        data: values for programs (push, webhooks).
        silent: an attacker near the guard must hear nothing, so a message about the alert makes no
            sound.
        template_id: the id under which the operator's regulator registered the text (DLT in India).
        hidden: parts of the message that records and logs must not hold, with their replacements.
            They are not sent.
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


class AcceptedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Acceptance of a message by a provider, under the provider's own reference."""

    provider_ref: str


class SendFailed(VigilError):  # noqa: N818
    """The provider did not take a message, or it is unknown whether it did.

    Attributes:
        kind: a short stable word (a metric's label).
        permanent: another attempt is of no use.
        maybe_sent: the message may have gone out.
        retry_after_s: seconds that the provider asks to wait.
        of_recipient: the error is about this message or its recipient, and says nothing about
            messages to others.
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
    """The provider cannot say which messages it has, or did not answer."""


class Channel(Protocol):
    """A provider."""

    @property
    def name(self) -> str:
        """The provider's name for users, records and metrics."""

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        """Send a message. Raises `SendFailed` and nothing else, within the channel's deadline."""

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:
        """Return the acceptance if the provider took this message since then, else None.

        Raises:
            CannotTell: the provider cannot say.
        """
