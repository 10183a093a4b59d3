"""The one error tree of Vigil.

    VigilError
    ├── InvalidMessage        the sender's fault: never retried, kept with its reason.
    ├── Unavailable           a dependency's fault: retried, then dead-lettered.
    │   ├── Outage            a server is away for all: its consumers pause until it is back.
    │   ├── Unanswered        a request got no answer: it may have been carried out.
    │   └── SchemaBehind      the database lacks a table, column or function that the code names.
    ├── Refused               the caller's fault, reported to the caller (RPC, HTTP, websocket).
    │   ├── NotFound          there is no such thing.
    │   ├── Conflict          the thing is not in a state that allows it.
    │   ├── NotAuthenticated  the caller is unknown.
    │   ├── Forbidden         the caller is known, and may not do this.
    │   ├── TooMany           too often; the message says when to try again.
    │   └── TooLarge          more bytes than the operation takes; the message names the limit.
    └── Misconfigured         the operator's fault, reported at start.

Every error carries a message that a person can act on. Errors cross RabbitMQ by name and message
only (see `services.messaging`). Each is therefore made from one string.
"""

from typing import Self


class VigilError(Exception):
    """Any error that Vigil itself raises."""


class InvalidMessage(VigilError):  # noqa: N818 - the name says what it is, as in the design
    """A message that can never be processed.

    `reason` is a short stable word (a metric label, a column). `detail` is for a person.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Unavailable(VigilError):  # noqa: N818
    """A server or service that did not answer; the same step may work later."""


class Outage(Unavailable):
    """A server that all processes need is away; no message is to blame.

    `server` and `hung_up` do not cross RabbitMQ. An outage pauses only the process that met it.
    """

    server: str = ""
    hung_up: bool = False

    @classmethod
    def of(cls, server: str, message: str, *, hung_up: bool = False) -> Self:
        """Return an error that names the server.

        `hung_up`: the server broke off while it worked on what it was given.
        """
        error = cls(message)
        error.server = server
        error.hung_up = hung_up
        return error


class Unanswered(Unavailable):
    """A request that a service did not answer in time.

    The service may have carried it out, or may still do so.
    """


class SchemaBehind(Unavailable):
    """A database that lacks what a statement names.

    No message is at fault. All messages wait until an operator migrates.
    """


class Refused(VigilError):  # noqa: N818
    """A request that cannot be carried out; the message says why."""


class NotFound(Refused):
    """A thing that does not exist in this tenant."""


class Conflict(Refused):
    """A thing that exists but is not in a state that allows the request."""


class NotAuthenticated(Refused):
    """A caller whose identity is not, or no longer, proved."""


class Forbidden(Refused):
    """A caller who may not do this."""


class TooMany(Refused):
    """A caller who asks too often; the message says when to try again.

    `retry_after_s` does not cross RabbitMQ. An error that came from there has the class's own
    value.
    """

    retry_after_s: float = 1.0

    @classmethod
    def after(cls, retry_after_s: float, message: str) -> Self:
        """Return an error that asks the caller to wait for so many seconds."""
        error = cls(message)
        error.retry_after_s = retry_after_s
        return error


class TooLarge(Refused):
    """A request with more bytes than the operation takes; the message names the limit."""


class Misconfigured(VigilError):  # noqa: N818
    """A configuration that cannot work; the message names the setting and the remedy."""
