"""URLs of apprise services: the services offered, their hosts and their allowed options. Pure.

A tenant writes such a URL, and apprise makes requests of it. Some options are in no list, and so
are refused. They lead elsewhere (`template`, `avatar_url`, `attach`), weaken a request (`verify`,
`redirect`) or stretch it (`retry`, `rto`). `AppriseChannel` refuses a request to a host that the
service does not have, when the request is made.

To offer a further service:

1. Add its schemes to `SERVICES`, with the hosts that its plugin calls (`notify_url` and the like in
   the plugin).
2. List the options that set the recipient and the urgency. Leave out an option whose value is a
   URL, a file or a time.
3. Add a URL of it to tests/unit/services/outgoing/test_apprise_urls.py. The guard relies on one
   thing: the plugin makes every request by `requests`. tests/interface/test_apprise.py tests that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

FORM = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:@/#-]*")
OPTION = re.compile(r"[a-z_]+")
MAX_URL = 2048


class AppriseService(msgspec.Struct, frozen=True, kw_only=True):
    """A service behind apprise: its hosts and the options that its URLs may have.

    `suffixes`: the ends of its hosts. `self_hosted`: the URL names the host of a private server.
    `host_in_url`: the host that the URL names must be one of the service's.
    """

    hosts: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    self_hosted: bool = False
    host_in_url: bool = False

    def has_host(self, host: str, *, named: str) -> bool:
        """Return whether requests to this host are the service's.

        `named` is the host that the URL names.
        """
        own = self.self_hosted and host == named.removesuffix(".")
        return own or host in self.hosts or (bool(self.suffixes) and host.endswith(self.suffixes))


def _service(hosts: str = "", options: str = "", *, suffixes: str = "", **kind: bool) -> AppriseService:
    """Return a service; `hosts`, `options` and `suffixes` are words separated by spaces.

    Every service has the option `format`, which says how the text is marked up.
    """
    return AppriseService(
        hosts=tuple(hosts.split()),
        suffixes=tuple(suffixes.split()),
        options=frozenset({*options.split(), "format"}),
        **kind,
    )


_NTFY = _service("ntfy.sh", "to priority xtags tags token auth mode", self_hosted=True)
_ROCKET = _service("", "to mode", self_hosted=True)
_SPLUNK = _service("alert.victorops.com", "apikey routing_key route entity_id")
_WEBEX = _service("webexapis.com api.ciscospark.com", "to token mode")
_WORKFLOWS = _service(
    options="id sig ver pa powerautomate route routeid wrap",
    # Microsoft, "IP address configuration for Power Automate" and "Azure Logic Apps": public, US
    # government, China.
    suffixes=".logic.azure.com .logic.azure.us .logic.azure.cn .api.powerplatform.com",
    host_in_url=True,
)
SERVICES: Mapping[str, AppriseService] = {
    "discord": _service("discord.com", "tts thread ping flags fields footer"),
    "flock": _service("api.flock.com api.flock.co", "to"),
    "gchat": _service("chat.googleapis.com", "workspace key token thread"),
    "guilded": _service("media.guilded.gg", "tts"),
    "ifttt": _service("maker.ifttt.com", "to"),
    "line": _service("api.line.me", "to"),
    "msg91": _service("control.msg91.com", "to short_url"),
    "ntfy": _NTFY,
    "ntfys": _NTFY,
    "opsgenie": _service("api.opsgenie.com api.eu.opsgenie.com", "to region priority entity alias tags"),
    "pagerduty": _service("events.pagerduty.com events.eu.pagerduty.com", "group class region severity"),
    "pagertree": _service("api.pagertree.com", "urgency tags"),
    "pbul": _service("api.pushbullet.com", "to"),
    "pover": _service("api.pushover.net", "to priority sound interval expire"),
    "revolt": _service("api.revolt.chat", "to channel"),
    "rocket": _ROCKET,
    "rockets": _ROCKET,
    "schan": _service("sctapi.ftqq.com"),
    "signl4": _service("connect.signl4.com", "service location alerting_scenario filtering"),
    "slack": _service(
        "slack.com hooks.slack.com hooks.slack-gov.com", "to mode token footer timestamp blocks"
    ),
    "spike": _service("api.spike.sh", "token"),
    "splunk": _SPLUNK,
    "squadcast": _service("api.squadcast.com api.eu.squadcast.com", "key region priority"),
    "tgram": _service("api.telegram.org", "to silent topic thread preview mdv"),
    "twist": _service("api.twist.com", "to"),
    "victorops": _SPLUNK,
    "webex": _WEBEX,
    "workflow": _WORKFLOWS,
    "workflows": _WORKFLOWS,
    "wxteams": _WEBEX,
    "zoom": _service("inbots.zoom.us", "mode token"),
    "zulip": _service("", "to token", suffixes=".zulipchat.com"),
}
"""Services by the scheme of the URL."""


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case; an empty text when the URL has no scheme."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else ""


def url_fault(url: str) -> str | None:
    """Return the fault of a URL of an apprise service, with the remedy; None: it may be used.

    This function reads URLs more strictly than apprise does. A URL that the two might read
    differently is a fault.
    """
    scheme = scheme_of(url)
    service = SERVICES.get(scheme)
    if service is None:
        offered = ", ".join(sorted(SERVICES))
        return f"{scheme[:20]}:// is not offered; offered are https:// webhooks and {offered}"

    rest, mark, query = url.partition("://")[2].partition("?")
    if len(url) > MAX_URL or not FORM.fullmatch(rest) or "://" in rest:
        return f"this {scheme}:// URL has characters that it may not have; write others as %xx"
    if mark:
        fault = _query_fault(query, scheme, service)
        if fault is not None:
            return fault

    host = host_of(url)
    if service.host_in_url and not service.has_host(host, named=host):
        return f"{host[:100]} is not a host of {scheme}://; its hosts end in {' or '.join(service.suffixes)}"

    return None


def host_of(url: str) -> str:
    """Return the host of a URL of the form that `url_fault` takes, without the port.

    The URLs of most services have a token in the place of the host.
    """
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    return authority.rpartition("@")[2].partition(":")[0].lower()


def options_fault(scheme: str, options: Mapping[str, object]) -> str | None:
    """Return the fault of the options as apprise has read them; None when there is none."""
    return _options_fault(list(options), scheme, SERVICES[scheme])


def _query_fault(query: str, scheme: str, service: AppriseService) -> str | None:
    if "?" in query or "#" in query or ";" in query or not FORM.fullmatch(query):
        return f"the part of this {scheme}:// URL after ? has characters that it may not have"
    return _options_fault([part.partition("=")[0] for part in query.split("&") if part], scheme, service)


def _options_fault(names: list[str], scheme: str, service: AppriseService) -> str | None:
    for name in names:
        if not OPTION.fullmatch(name) or name not in service.options:
            allowed = ", ".join(sorted(service.options))
            return f"the option {name[:40]!r} of {scheme}:// is not allowed; allowed are {allowed}"
    return None
