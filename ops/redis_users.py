"""Users of Redis, from `ops.privileges`: each sees the keys and commands of its process alone. Pure.

The user of operators' commands may do everything. Who says no name comes in as a server that follows this one, as a
sentinel or a health check, where these have a password; else nobody does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ops.privileges import PRIVILEGES, Redis

OPERATOR = "vigil"
OF_EVERYBODY = ("auth", "hello", "ping", "select", "quit", "client|setname")
"""What a client library says of itself when it connects, and its health checks."""


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
"""What replicas and sentinels say to each other; no key."""


def acl_file(
    passwords: Mapping[str, str],
    *,
    operator_password: str,
    prefix: str,
    operator: str = OPERATOR,
    servers_password: str = "",
) -> str:
    """The file that Redis's `aclfile` names. `passwords`: by process; `prefix`: of all keys.

    An installation of old has `default` for its operator: it is Redis's name of who says none.
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


def rules_of(may: Redis, *, prefix: str) -> str:
    """Keys and commands of one process, as Redis's ACL writes them."""
    escaped = prefix.translate({ord(letter): f"\\{letter}" for letter in "*?[]\\"})
    keys = [f"%R~{escaped}:{key}" for key in may.read] + [f"%RW~{escaped}:{key}" for key in may.write]
    return " ".join([*keys, "-@all", *(f"+{command}" for command in (*OF_EVERYBODY, *may.commands))])


def _hash(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"
