"""The one error tree of Vigil.

    VigilError
    ├── InvalidMessage        the sender's fault: never retried, kept with its reason
    ├── Unavailable           a dependency's fault: retried, then dead-lettered
    │   ├── Outage            a server is away for everybody: its consumers pause until it is back
    │   ├── Unanswered        it was asked, and nobody knows whether it was done
    │   └── SchemaBehind      the database lacks a table, column or function that the code names
    ├── Refused               the caller's fault, told to the caller (RPC, HTTP, websocket)
    │   ├── NotFound
    │   ├── Conflict          the thing is not in a state that allows it
    │   ├── NotAuthenticated  we do not know who calls
    │   ├── Forbidden         we know, and they may not
    │   ├── TooMany           too often; the message says when again
    │   └── TooLarge          more bytes than the operation takes; the message names the limit
    └── Misconfigured         the operator's fault, told at start

Every error carries a message that a person can act on. Errors cross RabbitMQ by name
and message only (see `services.bus`), so each is made from one string.
"""

from typing import Self


class VigilError(Exception):
    """Anything that Vigil itself raises."""


class InvalidMessage(VigilError):  # noqa: N818 - the name says what it is, as in the design
    """A message that can never be processed.

    `reason` is a short stable word (a metric label, a column), `detail` is for a person.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Unavailable(VigilError):  # noqa: N818
    """Something that Vigil depends on did not answer; the same step may work later."""


class Outage(Unavailable):
    """A server that all lean on is away; no message is to blame.

    `server` and `hung_up` do not cross RabbitMQ: another process than the one that met the outage is not paused by it.
    """

    server: str = ""
    hung_up: bool = False

    @classmethod
    def of(cls, server: str, message: str, *, hung_up: bool = False) -> Self:
        """Return an error that names the server. `hung_up`: it broke off while it worked on what it was given."""
        error = cls(message)
        error.server = server
        error.hung_up = hung_up
        return error


class Unanswered(Unavailable):
    """A service was asked and did not answer in time: it may have done it, or do it yet."""


class SchemaBehind(Unavailable):
    """The database lacks what a statement names: no message is at fault, and all wait until an operator migrates."""


class Refused(VigilError):  # noqa: N818
    """The caller asked for something that cannot be done; the message says why."""


class NotFound(Refused):
    """No such thing in this tenant."""


class Conflict(Refused):
    """The thing exists but is not in a state that allows this."""


class NotAuthenticated(Refused):
    """The caller has not (or no longer) proved who they are."""


class Forbidden(Refused):
    """The caller may not do this."""


class TooMany(Refused):
    """The caller asks too often; the message says when to come again.

    `retry_after_s` does not cross RabbitMQ; an error that came from there has the class's own.
    """

    retry_after_s: float = 1.0

    @classmethod
    def after(cls, retry_after_s: float, message: str) -> Self:
        """Return an error that asks the caller to wait for so many seconds."""
        error = cls(message)
        error.retry_after_s = retry_after_s
        return error


class TooLarge(Refused):
    """The caller sent more bytes than the operation takes; the message names the limit."""


class Misconfigured(VigilError):  # noqa: N818
    """The configuration cannot work; the message names the setting and the remedy."""
