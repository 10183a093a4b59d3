"""A guard company's customer as tests need one.

It has guards, somebody to notify, and the messages that the providers took.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.providers import Provider
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

TELL_AT_ONCE = {
    "CRITICAL": {
        "steps": [{"after_s": 0, "channels": ["sms", "email", "push"], "who": ["contact:Asha"]}],
        "repeat_s": 600,
    }
}


class Customer:
    """A tenant of its own, with its guards and one person who is notified."""

    def __init__(
        self, outside: OutsideClients, directory: Path, outer: dict[str, Provider], *, more_guards: int = 0
    ) -> None:
        self.outside = outside
        self.outer = outer
        self.tenant_id = int(outside.run, 16) % 1_000_000 + 1000
        self.guard = f"guard-{outside.run}"
        self._vigil("tenant", "add", str(self.tenant_id), f"House {outside.run}")
        self._vigil("guard", "add", self.guard, "--name", "Ravi", "--no-credential", *self._mine())
        self.more = [f"{self.guard}-{number}" for number in range(more_guards)]
        outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) SELECT unnest(%s::text[]), %s, 'one of many'",
            self.more,
            self.tenant_id,
        )
        self.addresses = {
            "phone": f"+9198{int(outside.run, 16) % 10**8:08}",
            "email": f"asha-{outside.run}@example.com",
            "push-token": f"token-of-ashas-phone-{outside.run}",
        }
        options = [word for name, value in self.addresses.items() for word in (f"--{name}", value)]
        self._vigil("contact", "add", "Asha", *options, *self._mine())
        self.set_policy(TELL_AT_ONCE, directory)

    def close(self) -> None:
        """Stop all notifications: repeats would come among the messages of later tests."""
        self.outside.execute("DELETE FROM alert_timer WHERE tenant_id = %s", self.tenant_id)

    def set_policy(self, policy: dict[str, Any], directory: Path) -> None:
        file = directory / "policy.yaml"
        file.write_text(json.dumps(policy))
        self._vigil("policy", "set", str(file), *self._mine())

    def press(self, topic: str = "panic", **payload: Any) -> None:
        self.outside.publish(f"alert/{topic}/{self.guard}", {"message": "help", **payload})

    def alerts(self) -> list[tuple[Any, ...]]:
        """Return (id, status, acknowledged_by) of the guard's alerts, oldest first."""
        query = (
            "SELECT alert_id::text, status, acknowledged_by FROM mqtt_device_alert WHERE source_id = %s"
            " ORDER BY received_at"
        )
        return self.outside.rows(query, self.guard)

    def notifications(self) -> list[tuple[Any, ...]]:
        """Return (channel, state, reference as hex) in the order in which the rows were written."""
        query = (
            "SELECT channel, state, replace(reference::text, '-', '') FROM notification"
            " JOIN mqtt_device_alert USING (alert_id) WHERE source_id = %s ORDER BY notification_id"
        )
        return self.outside.rows(query, self.guard)

    def taken(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages that a provider took for the tenant's person, in order."""
        mine = set(self.addresses.values())
        return [message for message in self.outer[kind].accepted() if message["to"] in mine]

    def message(self, kind: str, number: int = 0) -> dict[str, Any]:
        return self.outside.until(lambda: self.taken(kind)[number:])[0]

    def _mine(self) -> list[str]:
        return ["--tenant", str(self.tenant_id)]

    def _vigil(self, *arguments: str) -> None:
        run_vigil(self.outside.env, *arguments)
