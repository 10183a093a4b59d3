"""Storms: many alerts of one site within a window become one group.

Every member stays an alert of its own. Contacts learn of the storm from the alerts before it. A
member that is graver than the group so far notifies at once. Any other member notifies after a
while, unless somebody has taken it.

An alert type in `NEVER_HELD_BACK` is never grouped. Vigil answers the flood of EEMUA 191 by
suppressing notifications, not alarms.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Row

from services.alerts import sql
from services.contracts.events import NEVER_HELD_BACK, Alert, Severity
from services.platform.config import StormSettings

RANK = {
    severity: rank
    for rank, severity in enumerate((Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL))
}


class GroupEntry(NamedTuple):
    """Row of an alert in its group, and the timeline's note."""

    row: Row[Any]
    note: str


class AlertGrouping:
    def __init__(self, config: StormSettings) -> None:
        self._config = config

    def join(self, connection: Connection, alert: Alert, *, now: datetime) -> GroupEntry | None:
        """Put a new alert into its site's storm. Return None when there is no storm.

        The connection is in the transaction that raised the alert.
        """
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
            note += f"; notified separately in {self._config.quiet_s:g} s unless it is acknowledged"

        return GroupEntry(row, note)
