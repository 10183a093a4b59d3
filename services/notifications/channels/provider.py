"""Declaration of an SMS provider, and the calls that Vigil makes to it. Pure.

Everything that an installation needs for a provider is derived from its class: configuration keys,
environment variables, secret files, the check of the settings, and the routes of its callbacks.

To add an SMS provider:

1. Write `services/notifications/channels/<name>.py` with one subclass of `Provider`. Take the
   public documentation of the provider's HTTP API as the source, and `plivo.py` as the model.
2. Declare `name`, `title` and `settings`. The name is part of the URLs of callbacks, of metrics and
   of records, so it never changes. A password or token is a `ProviderSecret`.
3. Write `send`. Call `self.http.call` once, pass each answer that is no success to
   `self.http.check`, and return the provider's reference. Say `maybe_sent` when the answer to an
   accepted message cannot be read.
4. Write `find` if the provider can be asked which messages it has.
5. Write `is_signed` and `status_report` if the provider reports deliveries, and `reply` and
   `answer` if it forwards SMS to the installation's number.
6. Write `problems` for faults that the kinds of the settings do not find.
7. Add the class to `SMS_PROVIDERS` in `sms_providers.py`. The order is the order of preference.
8. Run `python -m ops.install.provider_files`. It writes the settings into the files that cannot
   read this declaration: config.yaml, docker-compose.yml, units, examples, the table of the docs.
9. Add a stand-in to `tests/providers/server.py` that refuses what the documentation does not have,
   and the provider's moods to `tests/integration/test_channels.py`.

docs/howto/add-an-sms-provider.md has a whole provider.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from services.contracts.errors import NotFound
from services.notifications.channels import SMS_MARK, AcceptedMessage, CannotTell, OutgoingMessage

MAX_MESSAGE_ID = 64
"""Longest name of an incoming SMS that is kept as it is, in characters."""

Kind = Literal["text", "phone", "sender", "url", "fields"]
Values = Mapping[str, str | Mapping[str, str]]
"""Settings of all providers by name, as the configuration has them."""


class ProviderSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a provider: a key under `notifications` in config.yaml, and a variable.

    Attributes:
        name: the key. The environment variable has the same name in capitals.
        help: one sentence for the files that list settings.
        kind: `phone` is a number in E.164. `sender` is one too, or up to 11 letters and digits.
            `url` needs https in production. `fields` is `Name=value,Name=value` or a mapping.
        required: the provider is not used without this setting.
    """

    name: str
    help: str = ""
    kind: Kind = "text"
    default: str = ""
    required: bool = True

    @property
    def variable(self) -> str:
        return self.name.upper()

    @property
    def is_secret(self) -> bool:
        return False


class ProviderSecret(ProviderSetting, frozen=True, kw_only=True):
    """A password or token. Its value may be a file, which the variable NAME_FILE names."""

    @property
    def is_secret(self) -> bool:
        return True


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a provider to this installation.

    Attributes:
        url: the URL that the provider called, as it was given to the provider.
        params: fields of a form.
        body: a body that is no form.
        headers: headers about the signature, with names in small letters.
    """

    url: str
    params: dict[str, str] = {}
    body: str = ""
    headers: dict[str, str] = {}


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """News of a provider about a message that it accepted."""

    state: Literal["delivered", "failed"]
    error: str = ""
    provider_ref: str | None = None


class SmsReply(msgspec.Struct, frozen=True):
    """SMS from a recipient to the installation's number.

    `from_number` is in E.164. `message_id` is the same when the same request comes again.
    """

    from_number: str
    text: str
    message_id: str


class HttpAnswer(Protocol):
    """Answer of a provider's server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpSender(Protocol):
    """HTTP client of one provider, with the rule and the deadline of its calls."""

    def call(self, method: str, url: str, **options: Any) -> HttpAnswer:
        """Make one request, with the options of `requests`.

        Raises:
            SendFailed: no whole answer came.
        """

    def check(self, answer: HttpAnswer, *, permanent: bool = False, said: str = "") -> None:
        """Check that the status is a success.

        Args:
            permanent: the provider refuses the message for good.
            said: the provider's error text.

        Raises:
            SendFailed: the status is not a success.
        """


class Provider(ABC):
    """One account at an SMS provider. The class is the declaration; see the module.

    Args:
        values: settings of all providers by name.
        http: client for the provider's API.
        public_url: base of the URLs of callbacks; empty: no delivery reports are requested.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[tuple[ProviderSetting, ...]]

    def __init__(self, values: Values, http: HttpSender, *, public_url: str = "") -> None:
        self.values = values
        self.http = http
        self.public_url = public_url.rstrip("/")

    @classmethod
    def problems(cls, values: Values) -> Iterator[str]:  # noqa: ARG003
        """Yield a sentence for each further fault of the settings, with variable and remedy."""
        yield from ()

    def text(self, name: str) -> str:
        """Return the value of a setting, or its default."""
        return text_of(self.values, next(setting for setting in self.settings if setting.name == name))

    def status_url(self, reference: str) -> str:
        """Return the URL for delivery reports about a message; empty: there is none."""
        if not self.public_url:
            return ""
        return f"{self.public_url}/api/v1/providers/{self.name}/status/{reference}"

    @abstractmethod
    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        """Send a message. Raises `SendFailed` and nothing else."""

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:  # noqa: ARG002
        """Return the acceptance if the provider took this message since then, else None.

        Raises:
            CannotTell: the provider cannot say.
        """
        raise CannotTell(f"{self.name} cannot be asked which messages it has")

    def is_signed(self, callback: Callback) -> bool:  # noqa: ARG002
        """Return whether the provider signed a request. Without a signature, it has no effect."""
        return False

    def status_report(self, callback: Callback) -> StatusReport | None:  # noqa: ARG002
        """Return the news of a delivery report; None when there are none."""
        return None

    def reply(self, callback: Callback) -> SmsReply:  # noqa: ARG002
        """Return the SMS that a request has."""
        raise NotFound(f"{self.name} forwards no SMS")

    def answer(self, callback: Callback, text: str) -> tuple[str, str]:  # noqa: ARG002
        """Return (body, content type) of the answer to a forwarded SMS.

        `text` goes back to the sender of the SMS; empty: nothing does.
        """
        return "", "text/plain"


def body_of(outgoing: OutgoingMessage) -> str:
    """Return the text that is sent.

    A possible duplicate has a mark, and each text leaves room for it.
    """
    return SMS_MARK + outgoing.text if outgoing.possible_duplicate else outgoing.text


def text_of(values: Values, setting: ProviderSetting) -> str:
    """Return the value of a setting, or its default. A mapping has no text."""
    value = values.get(setting.name, "")
    return (value if isinstance(value, str) else "") or setting.default


def required_of(provider: type[Provider]) -> list[ProviderSetting]:
    return [setting for setting in provider.settings if setting.required]


def is_begun(provider: type[Provider], values: Values) -> bool:
    """Return whether the operator set any setting that the provider needs."""
    return any(text_of(values, setting) for setting in required_of(provider))


def variables(settings: list[ProviderSetting]) -> str:
    """Return the variables of settings as words: `A, B and C`."""
    *first, last = [setting.variable for setting in settings]
    return f"{', '.join(first)} and {last}" if first else last


def reply_id(given: str, params: Mapping[str, str]) -> str:
    """Return the name of an incoming SMS: the provider's, or a hash of all parameters."""
    if 0 < len(given) <= MAX_MESSAGE_ID:
        return given
    signed = "".join(f"{name}\0{params[name]}\0" for name in sorted(params))
    return hashlib.sha256(signed.encode()).hexdigest()
