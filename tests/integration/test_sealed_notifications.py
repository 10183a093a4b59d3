"""Tests of notifications from before the seals.

Links and codes leave every readable column. Waiting messages are still sent.
"""

from __future__ import annotations

import json
import secrets
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from tests.support.commands import run_vigil

OLDER = text(
    """
    INSERT INTO notification (alert_id, tenant_id, channel, recipient, state, subject, body, html, words, code, error,
                              created_at, step)
    VALUES (CAST(:alert AS uuid), 1, :channel, 'r', :state, :subject, :body, :html, CAST(:words AS jsonb), :code,
            :error, now(), :step)
    """
)
ALERT = text(
    "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id, dedup_key, message,"
    " recorded_at, received_at, last_seen_at) VALUES (CAST(:alert AS uuid), 1, 'PANIC', 'CRITICAL', 'NEW', 'g', 'k',"
    " 'm', now(), now(), now())"
)
STATES = ("pending", "attempting", "accepted", "delivered", "failed", "unknown", "withdrawn")


@pytest.mark.parametrize("state", STATES)
def test_links_and_codes_of_older_rows_are_gone_and_the_rows_are_there(
    environment: dict[str, str], engine: Engine, state: str
) -> None:
    # Given rows as the revision before wrote them
    run_vigil(environment, "migrate", "down", "--to", "0009")
    alert, token, code = str(uuid4()), secrets.token_urlsafe(36), "K7RM"
    link = f"https://noc.example.com/a/{token}"
    forms = {
        "sms": {"body": f"PANIC Reply {code} help", "code": code, "words": {"code": code, "source": "g"}},
        "email": {
            "subject": link,
            "body": f"Take this alert: {link}\nnow",
            "html": f'<a href="{link}">x</a>',
            "words": {"link": link, "source": "g"},
            "error": f"refused {link}",
        },
        "push": {"body": f"{code.lower()} {link}", "code": code, "words": {"link": link}},
        "url": {"body": "nothing to hide", "words": {"source": "g"}},
    }
    with engine.begin() as connection:
        connection.execute(ALERT, {"alert": alert})
        for channel, form in forms.items():
            values = {"subject": "", "html": "", "code": "", "error": "", "step": 0, **form}
            values["words"] = json.dumps(form["words"])
            connection.execute(OLDER, {"alert": alert, "channel": channel, "state": state, **values})
    # When the schema goes up
    run_vigil(environment, "migrate", "up")
    # Then no readable column holds them, and waiting messages are marked to be written again
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT n.*, to_jsonb(n)::text AS whole FROM notification n")).all()
    assert {row.channel for row in rows} == set(forms)
    for row in rows:
        assert token not in row.whole
        assert code.lower() not in row.whole.lower()
        waits = state in ("pending", "attempting") and row.channel != "url"
        assert (bytes(row.sealed) if row.sealed is not None else None) == (b"" if waits else None)
    bodies = {row.channel: row.body for row in rows}
    assert bodies["sms"] == "PANIC Reply **** help"
    assert bodies["email"] == "Take this alert: [link]\nnow"
    assert bodies["url"] == "nothing to hide"
    assert {row.words.get("source") for row in rows} == {"g", None}
