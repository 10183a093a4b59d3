"""Users of Redis, from `ops.servers.privileges`.

Each may use only the keys and commands of its process. Pure.

The user of operators' commands may do everything. A connection without a user name is a replica, a
sentinel or a health check, where these have a password. Otherwise no such connection is allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ops.servers.privileges import PRIVILEGES, RedisRights

OPERATOR = "vigil"
OF_EVERYBODY = ("auth", "hello", "ping", "select", "quit", "client|setname")
"""Commands of a client library when it connects, and of its health checks."""


OF_SERVERS = (
    *(
        "ping",
        "info",
        "role",
        "psync",
        "replconf",
        "replicaof",
        "slaveof",
        "multi",
        "exec",
        "subscribe",
        "publish",
    ),
    *("config|rewrite", "client|kill", "script|kill"),
)
"""Commands between replicas and sentinels, which touch no key."""


def acl_file(
    passwords: Mapping[str, str],
    *,
    operator_password: str,
    prefix: str,
    operator: str = OPERATOR,
    servers_password: str = "",
) -> str:
    """Return the file that Redis's `aclfile` names.

    An old installation has `default` for its operator, which is Redis's name for a user without a
    name.

    Args:
        passwords: the password of each process.
        operator_password: the password of operators' commands.
        prefix: the prefix of all keys.
        operator: the user of operators' commands.
        servers_password: the password of replicas and sentinels; empty when there are none.
    """
    lines = [f"user {operator} reset on {_hash(operator_password)} ~* &* +@all"]
    if operator != "default":
        commands = " ".join(f"+{command}" for command in (*OF_EVERYBODY, *OF_SERVERS))
        of_servers = f"on {_hash(servers_password)} &* -@all {commands}" if servers_password else "off"
        lines.append(f"user default reset {of_servers}")

    for process, password in sorted(passwords.items()):
        may = PRIVILEGES[process].redis
        assert may is not None, f"{process} has nothing to do at Redis"
        lines.append(f"user {process} reset on {_hash(password)} {rules_of(may, prefix=prefix)}")

    return "\n".join(lines) + "\n"


def rules_of(may: RedisRights, *, prefix: str) -> str:
    """Return keys and commands of one process in the words of Redis's ACL."""
    escaped = prefix.translate({ord(letter): f"\\{letter}" for letter in "*?[]\\"})
    keys = [f"%R~{escaped}:{key}" for key in may.read] + [f"%RW~{escaped}:{key}" for key in may.write]
    return " ".join([*keys, "-@all", *(f"+{command}" for command in (*OF_EVERYBODY, *may.commands))])


def _hash(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"
