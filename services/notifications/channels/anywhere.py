"""Everything else that apprise knows (Slack, Teams, PagerDuty, ntfy ...): one URL a recipient.

apprise says yes or no and not why, so a no may be a message that arrived. Schemes that reach this machine, or hosts
that the URL's writer chooses freely, are not offered: those would be ways around the webhooks' checks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import eventlet

from services.notifications.channels import Accepted, CannotTell, Outgoing, SendFailed
from services.notifications.channels.addresses import is_public
from services.notifications.channels.webhook import Resolve, resolve

SCHEMES = frozenset(
    [
        "discord", "flock", "gchat", "googlechat", "guilded", "ifttt", "line", "msg91", "msteams", "ntfy", "ntfys",
        "opsgenie", "pagerduty", "pagertree", "pover", "pushover", "pbul", "pushbullet", "revolt", "rocket", "rockets",
        "schan", "signl4", "slack", "spike", "splunk", "victorops", "squadcast", "tgram", "twist", "webexteams",
        "wxteams", "workflow", "workflows", "zoom", "zulip",
    ]
)  # fmt: skip
"""What is offered; each is a service with a name of its own, but for ntfy and Rocket.Chat, which people host."""
SELF_HOSTED = frozenset({"ntfy", "ntfys", "rocket", "rockets"})


class AnywhereChannel:
    """`allow_private`: services that people host themselves may be on private addresses."""

    name = "apprise"

    def __init__(
        self, *, allow_private: bool = False, deadline_s: float = 15.0, resolver: Resolve = resolve
    ) -> None:
        self._allow_private = allow_private
        self._deadline_s = deadline_s
        self._resolve = resolver

    def send(self, outgoing: Outgoing) -> Accepted:
        scheme = outgoing.recipient.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise SendFailed(
                f"apprise: {scheme[:20]}:// is not offered; https:// webhooks and {', '.join(sorted(SCHEMES))} are",
                kind="forbidden_address",
                permanent=True,
            )
        if scheme in SELF_HOSTED and not self._allow_private:
            self._check_host(outgoing.recipient, scheme)
        import apprise  # it brings over a hundred modules; most installations never need it

        room: Any = apprise.Apprise()
        if not room.add(outgoing.recipient):
            raise SendFailed(
                f"apprise: this {scheme}:// URL is not complete", kind="invalid_recipient", permanent=True
            )
        try:
            with eventlet.Timeout(self._deadline_s, TimeoutError(f"no answer within {self._deadline_s:g} s")):
                taken = room.notify(title=outgoing.subject, body=outgoing.text)
        except TimeoutError as error:
            raise SendFailed(f"apprise: {scheme}: {error}", kind="timeout", maybe_sent=True) from error
        except Exception as error:  # over a hundred plugins by many hands
            text = f"apprise: {scheme}: {type(error).__name__}"
            raise SendFailed(text, kind="bad_answer", maybe_sent=True) from error
        if not taken:
            raise SendFailed(f"apprise: {scheme} did not take it", kind="refused", maybe_sent=True)
        return Accepted(provider_ref=outgoing.reference)

    def _check_host(self, url: str, scheme: str) -> None:
        """Every address of the host must be public. apprise looks the name up again: who owns the name could change it
        in between, to a service that takes such a message."""
        try:
            host = urlsplit(url).hostname or ""
            public = "." not in host and ":" not in host or all(map(is_public, self._resolve(host, 443)))
        except (OSError, ValueError) as error:
            raise SendFailed(f"apprise: {scheme}: {error}", kind="unreachable") from error
        if not public or host == "localhost":
            raise SendFailed(f"apprise: {host} is not public", kind="forbidden_address", permanent=True)

    def find(self, outgoing: Outgoing, *, since: datetime) -> Accepted | None:  # noqa: ARG002
        raise CannotTell("a service behind apprise cannot be asked what it has taken")
