"""SQL of policies and rotas, and the preview of an escalation's recipients."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.alerts import assignee, lifecycle, sql
from services.alerts.escalation import on_call as rotas
from services.alerts.escalation import policy as escalation
from services.alerts.escalation_worker import EscalationPolicies
from services.contracts.errors import NotFound, Refused
from services.contracts.events import DEFAULT_SEVERITY, Alert, AlertStatus, AlertType, Severity
from services.outgoing.contact_addresses import masked_address
from services.platform.database import Database

SELECT_POLICY = text(
    "SELECT policy FROM escalation_policy"
    " WHERE tenant_id = :tenant_id AND site_id IS NOT DISTINCT FROM CAST(:site_id AS integer)"
)
PUT_POLICY = text(
    """
    INSERT INTO escalation_policy (tenant_id, site_id, policy, changed_by)
    VALUES (:tenant_id, :site_id, CAST(:policy AS jsonb), :by)
    ON CONFLICT (tenant_id, site_id) DO UPDATE
    SET policy = excluded.policy, changed_by = excluded.changed_by, changed_at = now()
    """
)
DROP_POLICY = text(
    "DELETE FROM escalation_policy"
    " WHERE tenant_id = :tenant_id AND site_id IS NOT DISTINCT FROM CAST(:site_id AS integer)"
)
PUT_ROTA = text(
    """
    INSERT INTO rota (tenant_id, name, rota) VALUES (:tenant_id, :name, CAST(:rota AS jsonb))
    ON CONFLICT (tenant_id, name) DO UPDATE SET rota = excluded.rota, changed_at = now()
    """
)
DROP_ROTA = text("DELETE FROM rota WHERE tenant_id = :tenant_id AND name = :name")


class PolicyStore:
    """Policies and rotas in the database.

    Each method is one transaction of one tenant. Raises `Refused`, `NotFound`, `Unavailable`.
    """

    def __init__(self, database: Database, guidance: EscalationPolicies) -> None:
        self._database = database
        self._guidance = guidance

    def get_policy(self, *, tenant_id: int, site_id: int | None = None) -> dict[str, Any]:
        """Return the policy that a site or a tenant has of its own; empty when it has none."""
        with self._database.of(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "site_id": site_id}
            return connection.execute(SELECT_POLICY, values).scalar_one_or_none() or {}

    def set_policy(
        self, *, tenant_id: int, by: str, policy: dict[str, Any], site_id: int | None = None
    ) -> None:
        """Replace a policy; an empty one removes it. Every contact and rota in it must exist.

        A policy that notifies nobody must not stay unnoticed until the night.
        """
        ladders = escalation.parse(policy)
        with self._database.of(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "site_id": site_id}
            if not ladders:
                connection.execute(DROP_POLICY, values)
                return

            book = self._guidance.book(connection, tenant_id)
            known = {f"contact:{contact.name}" for contact in book.contacts} | {
                f"rota:{n}" for n in book.rotas
            }

            for ladder in ladders.values():
                for word in (word for step in ladder.steps for word in step.who):
                    if ":" in word and word not in known:
                        raise Refused(
                            f"policy: there is no {word.replace(':', ' ', 1)!r} in tenant {tenant_id}"
                        )

            document = msgspec.json.encode(ladders).decode()
            try:
                connection.execute(PUT_POLICY, {**values, "policy": document, "by": by})
            except IntegrityError as error:
                raise NotFound(f"no site {site_id} in tenant {tenant_id}") from error

    def preview(
        self, *, tenant_id: int, alert_type: str, severity: str | None, site_id: int | None, at: datetime
    ) -> list[dict[str, Any]]:
        """Return one row for each step: its time, its channels and its recipients.

        The row also says when the ladder ends, how the last step repeats and when an
        acknowledgement expires. Recipients are those on call at the time of the step, not of the
        alert.
        """
        alert = _imagined(tenant_id, alert_type, severity, site_id, at)
        with self._database.of(tenant_id) as connection:
            ladder = self._guidance.ladder(connection, alert)
            rows = []
            for number, step in enumerate(ladder.steps):
                then = at + timedelta(seconds=step.after_s)
                told = self._guidance.targets(connection, alert, step, at=then)
                addresses = [
                    {
                        "name": t.name,
                        **{channel: masked_address(channel, a) for channel, a in t.addresses.items()},
                    }
                    for t in told
                ]

                rows.append(
                    {
                        "step": number + 1,
                        "at": then,
                        "after_s": step.after_s,
                        "channels": list(step.channels),
                        "told": addresses,
                        "until": ladder.until,
                        "repeat_s": ladder.repeat_s if number + 1 == len(ladder.steps) else 0,
                        "expires_s": ladder.expires_s,
                    }
                )

            return rows

    def find_person(self, name: str, *, tenant_id: int, by: str, now: datetime) -> str:
        """Return the registered form of a person's name: a login, a guard id or a contact.

        `by` may always name themself. Raises `Refused` with similar names.
        """
        with self._database.of(tenant_id) as connection:
            known = self._guidance.people(connection, tenant_id, now=now)
        return assignee.find(
            name, [*known, assignee.Assignee("operator", by)], tenant_id=tenant_id
        ).registered

    def list_rotas(self, *, tenant_id: int, at: datetime) -> list[dict[str, Any]]:
        with self._database.of(tenant_id) as connection:
            rows = connection.execute(sql.ROTAS, {"tenant_id": tenant_id}).all()
        return [
            {"name": row.name, **_on_call(row.rota, at), "rota": row.rota}
            for row in sorted(rows, key=lambda row: row.name)
        ]

    def set_rota(self, *, tenant_id: int, name: str, document: dict[str, Any]) -> None:
        rota = rotas.parse(document)
        name = lifecycle.check_name(name, what="name")

        with self._database.of(tenant_id) as connection:
            known = {contact.name for contact in self._guidance.book(connection, tenant_id).contacts}
            named = {*rota.members, *(exchange.member for exchange in rota.exceptions)}
            if missing := sorted(named - known):
                raise Refused(
                    f"members: no contact {missing[0]!r} in tenant {tenant_id}; add it with `vigil contact add`"
                )
            values = {"tenant_id": tenant_id, "name": name, "rota": msgspec.json.encode(rota).decode()}
            connection.execute(PUT_ROTA, values)

    def remove_rota(self, *, tenant_id: int, name: str) -> None:
        with self._database.of(tenant_id) as connection:
            if not connection.execute(DROP_ROTA, {"tenant_id": tenant_id, "name": name}).rowcount:
                raise NotFound(f"no rota {name!r} in tenant {tenant_id}")


def _on_call(document: Any, at: datetime) -> dict[str, str]:
    """Return the member on call; for a rota that cannot be read, nobody and the reason."""
    try:
        return {"on_call": rotas.on_call(rotas.parse(document), at)}
    except Refused as error:
        return {"on_call": "", "problem": str(error)}


def _imagined(
    tenant_id: int, alert_type: str, severity: str | None, site_id: int | None, at: datetime
) -> Alert:
    if alert_type not in AlertType.__members__:
        raise Refused(f"alert_type must be one of {', '.join(AlertType)}, not {alert_type!r}")

    kind = AlertType(alert_type)
    if severity is not None and severity not in Severity.__members__:
        raise Refused(f"severity must be one of {', '.join(Severity)}, not {severity!r}")

    return Alert(
        id=str(uuid4()),
        tenant_id=tenant_id,
        alert_type=kind,
        severity=Severity(severity) if severity else DEFAULT_SEVERITY[kind],
        status=AlertStatus.NEW,
        source_id="",
        dedup_key="",
        message="",
        occurrences=1,
        recorded_at=at,
        received_at=at,
        last_seen_at=at,
        site_id=site_id,
    )
