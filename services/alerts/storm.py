"""Storms: many alerts of one site within a window become one group; every member is still an alert of its own.

People are told of the storm by the alerts that came before it. A member is told of after a while all the same when
nobody has taken it, at once when it is graver than what was told. An alert of `NEVER_HELD_BACK` is never grouped (the
flood of EEMUA 191 is met by suppressing the telling, not the alarm).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Row

from services.alerts import statements as sql
from services.config import Storm
from services.messages import NEVER_HELD_BACK, Alert, Severity

RANK = {
    severity: rank
    for rank, severity in enumerate((Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL))
}


class Joined(NamedTuple):
    """The alert's row in its group, and the timeline's note."""

    row: Row[Any]
    note: str


class Storms:
    def __init__(self, config: Storm) -> None:
        self._config = config

    def join(self, connection: Connection, alert: Alert, *, now: datetime) -> Joined | None:
        """Put a new alert into its site's storm; None when there is none. Within the transaction that raised it."""
        if alert.site_id is None or alert.alert_type in NEVER_HELD_BACK:
            return None
        where = {
            "tenant_id": alert.tenant_id,
            "site_id": alert.site_id,
            "alert_id": alert.id,
            "since": now - timedelta(seconds=self._config.window_s),
            "now": now,
            "exempt": sorted(NEVER_HELD_BACK),
        }
        connection.execute(sql.LOCK_SITE, where)
        count = connection.execute(sql.IN_WINDOW, where).scalar_one()
        group = connection.execute(sql.OPEN_GROUP, where).one_or_none()
        if group is None:
            if count <= self._config.alerts:
                return None
            group = connection.execute(sql.NEW_GROUP, {**where, "group_id": uuid4()}).one()
            connection.execute(sql.GATHER, {**where, "group_id": group.group_id})
        values = {"group_id": group.group_id, "alert_id": alert.id, "severity": alert.severity, "now": now}
        row = connection.execute(sql.JOIN_GROUP, values).one()
        connection.execute(sql.GROW_GROUP, values)
        note = f"one of {count} alerts of this site within {self._config.window_s:g} s"
        if RANK[alert.severity] <= RANK[Severity(group.severity)]:
            quiet_until = now + timedelta(seconds=self._config.quiet_s)
            connection.execute(sql.HUSH, {"alert_id": alert.id, "until": quiet_until})
            note += f"; told of on its own in {self._config.quiet_s:g} s if nobody takes it"
        return Joined(row, note)
