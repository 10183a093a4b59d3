"""All other services that apprise knows (Slack, Teams, PagerDuty, ntfy ...): one URL per recipient.

A URL does not show every request that apprise makes for it. Therefore apprise's plugins get another
`requests`. Each of their requests goes through the guarded client, and to the hosts of their
service only, whatever the URL says.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import ModuleType
from typing import Any

import eventlet
import requests

from services.notifications.channels import (
    AcceptedMessage,
    CannotTell,
    OutgoingMessage,
    SendFailed,
    http_client,
)
from services.outgoing.apprise_urls import SERVICES, host_of, options_fault, scheme_of, url_fault
from services.outgoing.client import GuardedSession, HttpResponse, OutgoingClient
from services.outgoing.rules import Destination, ForbiddenDestination

METHODS = frozenset({"get", "post", "put", "patch", "delete", "head", "options"})
NAMES = frozenset({"codes", "status_codes", "exceptions", "RequestException", "Response"})
"""Names of the real `requests` that plugins may use. All others would be a way around the guard."""
ALSO_BY_REQUESTS = ("apprise.attachment.http", "apprise.config.http")
"""Modules of apprise, besides its plugins, that fetch URLs."""
GONE = (404, 410)
MOST_REQUESTS = 20
"""Limit of requests for one message. A URL may name any number of readers."""


class _Call:
    """Delivery of one message: its session, and the results of the plugin's requests."""

    def __init__(self, session: GuardedSession, provider: str) -> None:
        self._session = session
        self._provider = provider
        self._forbidden = False
        self.made = 0
        self.taken = 0
        self.failure: SendFailed | None = None

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """Make a request of a plugin.

        Raises:
            requests.RequestException: any error, because plugins know no other.
        """
        self.made += 1
        try:
            self._check_count()
            response = self._session.request(method, url, **options)
        except Exception as error:
            self._forbidden = isinstance(error, ForbiddenDestination)
            if self.failure is None or not self.failure.permanent:
                self.failure = http_client.failure_of(error, provider=self._provider)
            raise requests.RequestException(str(self.failure)) from error

        self._note(HttpResponse(response.status_code, response.headers, response.content))
        return response

    def failed(self, otherwise: SendFailed) -> SendFailed:
        """Return the error of a message that was not taken as a whole.

        Some of its readers may have it.
        """
        why = self.failure or otherwise
        why.maybe_sent = why.maybe_sent or self.taken > 0
        return why

    def _check_count(self) -> None:
        if self._forbidden:
            raise ForbiddenDestination("no further request after one that was forbidden")
        if self.made > MOST_REQUESTS:
            raise ForbiddenDestination(f"the URL asks for more than {MOST_REQUESTS} requests for one message")

    def _note(self, answer: HttpResponse) -> None:
        said = "redirects are not followed" if 300 <= answer.status < 400 else ""
        try:
            http_client.check(answer, provider=self._provider, permanent=answer.status in GONE, said=said)
        except SendFailed as error:
            self.failure = error
        else:
            self.taken += 1


_current: ContextVar[_Call] = ContextVar("vigil_apprise_call")


class GuardedRequests(ModuleType):
    """Stand-in for the module `requests` in apprise.

    Without a call under way it makes no request.
    """

    def __init__(self) -> None:
        super().__init__("requests")

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        return _current.get().request(method, url, **options)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            return lambda url, *args, **options: self.request(name, url, **_named(args), **options)
        if name in NAMES:
            return getattr(requests, name)
        raise AttributeError(f"apprise may not use requests.{name}")


GUARDED = GuardedRequests()


class AppriseChannel:
    """apprise, by a client with the rule for tenants' URLs."""

    name = "apprise"

    def __init__(self, client: OutgoingClient, *, deadline_s: float = 15.0) -> None:
        self._client = client
        self._deadline_s = deadline_s

    def send(self, outgoing: OutgoingMessage) -> AcceptedMessage:
        url, scheme = outgoing.recipient, scheme_of(outgoing.recipient)
        fault = url_fault(url)
        if fault is not None:
            raise SendFailed(f"apprise: {fault}", kind="forbidden_address", permanent=True)

        plugin = self._plugin(url, scheme)
        with self._calling(url, scheme) as call:
            try:
                with eventlet.Timeout(
                    self._deadline_s, TimeoutError(f"no answer within {self._deadline_s:g} s")
                ):
                    taken = plugin.notify(
                        title=outgoing.subject, body=outgoing.text, notify_type=_kind(outgoing)
                    )
            except Exception as error:  # plugins have many authors, and raise anything
                raise call.failed(http_client.failure_of(error, provider=f"apprise: {scheme}")) from error

        # A plugin with nothing to do (an alert of "information" closes what is open) reports
        # success too.
        if not taken or not call.taken:
            text = f"apprise: {scheme} did not accept it"
            raise call.failed(SendFailed(text, kind="refused", maybe_sent=call.made > 0, of_recipient=True))

        return AcceptedMessage(provider_ref=outgoing.reference)

    def find(self, outgoing: OutgoingMessage, *, since: datetime) -> AcceptedMessage | None:  # noqa: ARG002
        raise CannotTell("a service behind apprise has no list of accepted messages")

    def _plugin(self, url: str, scheme: str) -> Any:
        """Make the plugin of a URL, with the options as apprise has read them.

        Raises `SendFailed`.
        """
        import apprise  # it imports over a hundred modules; most installations never need it
        import apprise.plugins

        found = apprise.plugins.url_to_dict(url, secure_logging=True)  # type: ignore[no-untyped-call]
        if not found or found.get("schema") != scheme:
            raise SendFailed(
                f"apprise: this {scheme}:// URL is not complete", kind="invalid_recipient", permanent=True
            )

        for mark in ("qsd", "qsd+", "qsd-", "qsd:"):
            fault = options_fault(scheme, found.get(mark) or {})
            if fault is not None:
                raise SendFailed(f"apprise: {fault}", kind="forbidden_address", permanent=True)

        asset = apprise.AppriseAsset(
            async_mode=False, http_redirects=False, secure_logging=True, storage_mode="memory"
        )
        plugin = apprise.Apprise.instantiate({**found, "verify": True, "redirect": False}, asset=asset)
        if plugin is None:
            raise SendFailed(
                f"apprise: this {scheme}:// URL is not complete", kind="invalid_recipient", permanent=True
            )

        _guard(type(plugin))
        return plugin

    @contextmanager
    def _calling(self, url: str, scheme: str) -> Iterator[_Call]:
        """Let the requests of plugins through, to the hosts of this service."""
        service, host = SERVICES[scheme], host_of(url)

        def allows(target: Destination) -> bool:
            return service.has_host(target.host, named=host)

        with self._client.session(deadline_s=self._deadline_s, allows=allows) as session:
            call = _Call(session, f"apprise: {scheme}")
            token = _current.set(call)
            try:
                yield call
            finally:
                _current.reset(token)


def _kind(outgoing: OutgoingMessage) -> Any:
    """Return the kind of a message for apprise.

    Incident services take information or success for the end of an incident.
    """
    import apprise

    return apprise.NotifyType.FAILURE if outgoing.urgent else apprise.NotifyType.WARNING


def _guard(plugin: type) -> None:
    """Give the guarded `requests` to every module that a plugin is made of.

    Raises:
        SendFailed: no module of the plugin uses `requests`.
    """
    modules = {kind.__module__ for kind in plugin.__mro__ if kind.__module__.startswith("apprise.plugins.")}
    guarded = 0
    for name in (*modules, *ALSO_BY_REQUESTS):
        module = importlib.import_module(name)
        if hasattr(module, "requests"):
            module.requests = GUARDED  # type: ignore[attr-defined]
            guarded += 1

    if guarded <= len(ALSO_BY_REQUESTS):
        raise SendFailed(
            f"apprise: {plugin.__name__} makes its requests in a way that cannot be guarded",
            kind="forbidden_address",
            permanent=True,
        )


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the one positional argument of `requests.post(url, data)` besides the URL, by name."""
    return {"data": args[0]} if args else {}
