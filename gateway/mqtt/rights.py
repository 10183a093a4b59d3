"""What each credential may do at the broker: Mosquitto's dynamic-security plugin and its topic patterns. Pure.

The plugin knows who somebody is (password hash, client id, enabled or not) and what a source must not do; the patterns
of the ACL file say what a source may do, with its user name as the source in the topic. A role of its own for each
source would say the same, at ten times the size of a file that the broker writes anew with every change
(docs/adr/0006).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from services.messages import AlertType

Command = dict[str, Any]
Role = dict[str, Any]

ADMIN, GATEWAY, WATCHDOG, SOURCE, DISABLED = "admin", "gateway", "watchdog", "source", "disabled"
TEST_TOPICS = ("alert/unknown/vigil-watchdog", "guard/guard-vigil-watchdog/gps")
"""What the watchdog publishes, by which it sees whether the road is whole: of the alert and of the bulk lane."""
HEALTH, ALIVE_TOPIC = "health", "$SYS/broker/uptime"
"""Whoever looks whether the broker is well hears this topic, and can do nothing else."""
FAMILY_ROLES = ("guard", "device", "sensor", "system", "alert")
"""A source has the role of its family; it may not publish under the others'."""
NUMERIC = "numeric-guard"
EVERYTHING = ("#", "$share/#", "$SYS/#", "$CONTROL/#")
"""Topics that begin with $ are not within #."""
HASH_ITERATIONS = 101
"""Mosquitto 2.0's own number: what is hashed is 24 random bytes, which no guessing finds."""

_TOPICS = {
    "guard": ("guard/{}/+",),
    "device": ("device/{}/+",),
    "sensor": ("sensor/{}/+", "sensor/{}/+/"),
    "system": ("system/health/{}", "system/health/{}/+"),
    "owntracks": ("owntracks/{}/+",),
}
"""Topics of a source's own name. Wrong last words too: `guard/789/panic` must raise, not vanish at the broker."""
_OWN_ALERTS = ("alert/+/{}", "alert/+/{}/", "alert/+/+/{}")
"""Alert topics that end with the source's name, as a device with a slash or a site too many writes them."""
_OF_GUARDS = ("guard", "owntracks")
"""A guard's phone may speak OwnTracks; whether anybody listens, config.yaml says (`gateway.owntracks`)."""
_FIRST, _USUAL, _LAST = 10, 0, -1


def acl_file(prefix: str, *, anonymous: bool) -> str:
    """The ACL file: what every source may do with topics that bear its name.

    `anonymous` lets clients without a credential do anything, for lines typed by hand on a development machine.
    """
    types = [word for kind in AlertType for word in (kind.lower(), kind.upper())]
    write = [topic.format("%u") for own in (*_TOPICS.values(), _OWN_ALERTS) for topic in own]
    # Only known types before the name: any other word there would itself be read as the source.
    write += [f"alert/%u/{word}" for word in types]
    lines = [f"pattern write {prefix}{topic}" for topic in write]
    lines += [f"pattern read {prefix}{topic}/%u" for topic in ("receipt", "command")]
    return "\n".join([*(["topic readwrite #"] if anonymous else []), *lines, ""])


def roles(prefix: str) -> list[Role]:
    """All roles; the broker's file holds them beside the clients."""
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
    heard = [
        f"{prefix}{family}/#" for family in ("device", "guard", "sensor", "alert", "system", "owntracks")
    ]
    # The last ones are where the gateway clears what the broker retains of somebody's place.
    told = [f"{prefix}{topic}/#" for topic in ("receipt", "command", "guard", "alert", "device", "owntracks")]
    own = [f"{prefix}{topic}" for topic in ("receipt/+", "command/+")]
    # The ACL file grants every subscription (and then holds what is delivered): each role ends with a refusal.
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
            # Several gateways share what one would hear; whatever the group is called, it is no more than that.
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
        # What a source hears is held by the ACL file; that it does not even ask for more is held here.
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
    """The plugin's file with our roles and our own clients in it; the sources in `held` are kept as they are.

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
    """Commands that let a source in; without a password only by its certificate.

    `number`: this guard also publishes as `guard/<number>/...`, `owntracks/<number>/...` and `alert/<type>/<number>`.
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
    """A new password; who is connected with the old one is put off."""
    return [{"command": "setClientPassword", "username": source_id, "password": password}]


def switch(source_id: str, *, enabled: bool) -> list[Command]:
    """Let a source in again, or put it off at once and keep it off.

    The role holds what the plugin does not look at for somebody who came with a certificate: being disabled.
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
    """What a guard that was entered as a number may do besides."""
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
