"""Rights of each credential at the broker: Mosquitto's dynamic-security plugin and ACL file. Pure.

The plugin holds the credentials (password hash, client id, enabled or not) and the actions that a
source must not do. The patterns of the ACL file hold the actions that a source may do, with its
user name as the source in the topic. A separate role for each source would give the same rights.
But the file would be ten times as large, and the broker writes it with every change
(docs/adr/0006).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from services.contracts.events import AlertType
from services.contracts.families import ALERT, FAMILIES

Command = dict[str, Any]
Role = dict[str, Any]

ADMIN, GATEWAY, WATCHDOG, SOURCE, DISABLED = "admin", "gateway", "watchdog", "source", "disabled"
TEST_TOPICS = ("alert/unknown/vigil-watchdog", "guard/guard-vigil-watchdog/gps")
"""Topics of the watchdog's test messages, one for the alert lane and one for the bulk lane.

With them the watchdog checks the whole pipeline.
"""
HEALTH, ALIVE_TOPIC = "health", "$SYS/broker/uptime"
"""Health checks of the broker may receive this topic, and have no other right."""
FAMILY_ROLES = tuple(row.name for row in FAMILIES if not row.is_optional)
"""Roles of families. A source has the role of its family, and may not publish under the others."""
NUMERIC = "numeric-guard"
EVERYTHING = ("#", "$share/#", "$SYS/#", "$CONTROL/#")
"""Topics that begin with $ are not within #."""
HASH_ITERATIONS = 101
"""Number of iterations of Mosquitto 2.0.

The hashed password is 24 random bytes, which nobody guesses.
"""

_TOPICS = {row.name: row.may_write for row in FAMILIES if row is not ALERT}
"""Topics with a source's own name.

They include wrong last words: `guard/789/panic` must raise an alert, not vanish at the broker.
"""
_OWN_ALERTS = ALERT.may_write
"""Alert topics that end with the source's name, also with an extra slash or an extra site."""
_OF_GUARDS = tuple(row.name for row in FAMILIES if row.names_guard)
"""A guard's phone may use OwnTracks.

`gateway.owntracks` in config.yaml switches its reception on.
"""
_FIRST, _USUAL, _LAST = 10, 0, -1


def acl_file(prefix: str, *, anonymous: bool) -> str:
    """Return the ACL file: the rights of every source on topics with its name.

    `anonymous` gives clients without a credential all rights, for manual commands on a development
    machine.
    """
    types = [word for kind in AlertType for word in (kind.lower(), kind.upper())]
    write = [topic.format("%u") for own in (*_TOPICS.values(), _OWN_ALERTS) for topic in own]
    # Only known types come before the name: any other word there would be read as the source.
    write += [f"alert/%u/{word}" for word in types]
    lines = [f"pattern write {prefix}{topic}" for topic in write]
    lines += [f"pattern read {prefix}{topic}/%u" for topic in ("receipt", "command")]
    return "\n".join([*(["topic readwrite #"] if anonymous else []), *lines, ""])


def roles(prefix: str) -> list[Role]:
    """Return all roles. The broker's file holds them next to the clients."""
    families = [
        _role(
            family,
            *(
                _deny("publishClientSend", f"{prefix}{other}/#")
                for other in _TOPICS
                if not _own(family, other)
            ),
        )
        for family in FAMILY_ROLES
    ]

    heard = [f"{prefix}{row.name}/#" for row in FAMILIES]
    # The gateway clears retained positions of persons.
    cleared = (row.name for row in FAMILIES if row.holds_place)
    told = [f"{prefix}{topic}/#" for topic in ("receipt", "command", *cleared)]
    own = [f"{prefix}{topic}" for topic in ("receipt/+", "command/+")]

    # The ACL file grants every subscription, and then limits the delivery. So each role ends with a
    # refusal.
    no_more = [_deny("subscribePattern", topic, _LAST) for topic in EVERYTHING]
    return [
        _role(
            ADMIN,
            *(
                _allow(kind, "$CONTROL/dynamic-security/#")
                for kind in ("publishClientSend", "publishClientReceive")
            ),
            _allow("subscribePattern", "$CONTROL/dynamic-security/#"),
            *no_more,
        ),
        _role(
            GATEWAY,
            *(
                _allow(kind, topic)
                for kind in ("subscribePattern", "publishClientReceive")
                for topic in heard
            ),
            # Several gateways share the topics of one gateway. A group with any name gives no
            # further topics.
            *(_allow("subscribePattern", f"$share/+/{topic}") for topic in heard),
            *(_allow("publishClientSend", topic) for topic in told),
            *no_more,
        ),
        _role(
            WATCHDOG,
            *(_allow("publishClientSend", f"{prefix}{topic}") for topic in TEST_TOPICS),
            *(_allow(kind, "$SYS/broker/#") for kind in ("subscribePattern", "publishClientReceive")),
            *no_more,
        ),
        # The ACL file limits the messages that a source receives. This role also limits its
        # subscriptions.
        _role(
            SOURCE,
            *(_deny("subscribeLiteral", topic, _FIRST) for topic in own),
            *(_allow("subscribePattern", topic) for topic in own),
            *no_more,
        ),
        _role(
            DISABLED,
            *(
                _deny(kind, topic)
                for kind in ("publishClientSend", "publishClientReceive", "subscribePattern")
                for topic in EVERYTHING
            ),
        ),
        _role(
            HEALTH,
            *(_allow(kind, ALIVE_TOPIC) for kind in ("subscribeLiteral", "publishClientReceive")),
            *(_deny("publishClientSend", topic) for topic in EVERYTHING),
            *no_more,
        ),
        *families,
    ]


def broker_file(
    held: dict[str, Any], *, prefix: str, people: dict[str, tuple[str, str, bytes]]
) -> dict[str, Any]:
    """Return the plugin's file with our roles and clients. The sources in `held` stay unchanged.

    `people` maps user names to (password, role, 12 random bytes of salt).
    """
    sources = [client for client in held.get("clients", []) if client.get("username") not in people]
    own = [
        {"username": name, "roles": [{"rolename": role}], **_hashed(password, salt)}
        for name, (password, role, salt) in people.items()
    ]

    numbers = [
        role["rolename"].removeprefix(f"{NUMERIC}-")
        for role in held.get("roles", [])
        if role["rolename"].startswith(NUMERIC)
    ]
    nothing = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe"), False)

    return {
        "defaultACLAccess": {**nothing, "unsubscribe": True},
        "roles": [*roles(prefix), *(_numeric(number, prefix) for number in numbers)],
        "clients": [*own, *sources],
        "groups": held.get("groups", []),
    }


def add(
    source_id: str, *, family: str, password: str | None, prefix: str, number: str | None = None
) -> list[Command]:
    """Return the commands that add a source. Without a password the source needs its certificate.

    `number`: this guard also publishes as `guard/<number>/...`, `owntracks/<number>/...` and
    `alert/<type>/<number>`.
    """
    client: Command = {
        "command": "createClient",
        "username": source_id,
        "clientid": source_id,
        "roles": [{"rolename": family}, {"rolename": SOURCE}],
    }

    if password is not None:
        client["password"] = password
    if number is None:
        return [client]

    role = _numeric(number, prefix)
    client["roles"].append({"rolename": role["rolename"]})
    return [{"command": "createRole", **role}, client]


def remove(source_id: str) -> list[Command]:
    return [{"command": "deleteClient", "username": source_id}]


def rotate(source_id: str, password: str) -> list[Command]:
    """Return the commands for a new password.

    The broker disconnects clients with the old password.
    """
    return [{"command": "setClientPassword", "username": source_id, "password": password}]


def switch(source_id: str, *, enabled: bool) -> list[Command]:
    """Return the commands that enable a source, or that disconnect and disable it at once.

    The plugin does not check that a client with a certificate is disabled. The role `DISABLED` does
    that.
    """
    role = {"username": source_id, "rolename": DISABLED}
    if enabled:
        return [{"command": "removeClientRole", **role}, {"command": "enableClient", "username": source_id}]
    return [
        {"command": "addClientRole", **role, "priority": 1000},
        {"command": "disableClient", "username": source_id},
    ]


def _own(family: str, topics: str) -> bool:
    return topics == family or (family == "guard" and topics in _OF_GUARDS)


def _numeric(number: str, prefix: str) -> Role:
    """Return the role with the further rights of a guard that was entered as a number."""
    own = (*(topic for name in _OF_GUARDS for topic in _TOPICS[name]), *_OWN_ALERTS)
    topics = (f"{prefix}{topic.format(number)}" for topic in own)
    return _role(f"{NUMERIC}-{number}", *(_allow("publishClientSend", topic) for topic in topics))


def _hashed(password: str, salt: bytes) -> dict[str, Any]:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ITERATIONS)
    return {
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": HASH_ITERATIONS,
    }


def _role(name: str, *acls: dict[str, Any]) -> Role:
    return {"rolename": name, "acls": list(acls)}


def _allow(kind: str, topic: str, priority: int = _USUAL) -> dict[str, Any]:
    return {"acltype": kind, "topic": topic, "priority": priority, "allow": True}


def _deny(kind: str, topic: str, priority: int = _USUAL) -> dict[str, Any]:
    return {"acltype": kind, "topic": topic, "priority": priority, "allow": False}
