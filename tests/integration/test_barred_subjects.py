"""Tests of bars of subjects in the real database.

They cover how long a bar is known, and when it is forgotten.
"""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from services.contracts.errors import NotFound
from services.directory.users.barred_subjects import BarredSubjects
from services.platform.database import Database

TOKEN_LIFE = timedelta(days=1)


def test_a_bar_is_known_for_as_long_as_a_token_of_its_time_may_live(
    database: Database, engine: Engine
) -> None:
    bars, now = BarredSubjects(database, issuer="https://id.example"), datetime.now(UTC)
    # Given a bar without an end, one with an end, and two that ended, one of them long ago
    for subject in ("ann", "bob", "cid", "dan"):
        until = None if subject == "ann" else now + timedelta(hours=1)
        bars.bar(subject, tenant_id=1, by="admin", until=until)
    ended = text("UPDATE barred_subject SET until = :until WHERE subject = :subject")
    with engine.begin() as connection:
        connection.execute(ended, {"subject": "cid", "until": now - TOKEN_LIFE / 2})
        connection.execute(ended, {"subject": "dan", "until": now - TOKEN_LIFE - timedelta(seconds=1)})
    # Then the bars of all tokens that may still live are known, and no others
    known = {subject: until for _, _, subject, until in bars.in_force(since=now - TOKEN_LIFE)}
    assert set(known) == {"ann", "bob", "cid"}
    assert known["ann"] is None
    assert known["cid"] == pytest.approx((now - TOKEN_LIFE / 2).timestamp())
    # And only the bars that void no token any more are forgotten
    bars.forget(now=now, token_life=TOKEN_LIFE)
    assert [row["subject"] for row in bars.list_rows(tenant_id=1, limit=10)] == ["ann", "bob", "cid"]


def test_a_bar_that_is_set_again_is_changed_and_one_that_is_lifted_has_an_end(
    database: Database, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')"))
    bars = BarredSubjects(database)
    first = bars.bar("ann", tenant_id=1, by="admin", reason="lost phone")
    other = bars.bar("ann", tenant_id=2, by="other")
    assert bars.bar("ann", tenant_id=1, by="boss", reason="left") == first != other
    [row] = bars.list_rows(tenant_id=1, limit=10)
    assert (row["issuer"], row["by"], row["reason"], row["until"]) == ("vigil", "boss", "left", None)
    with pytest.raises(NotFound):
        bars.lift(first, tenant_id=2, by="other")
    bars.lift(first, tenant_id=1, by="boss")
    [row] = bars.list_rows(tenant_id=1, limit=10)
    assert row["until"] <= datetime.now(UTC)
    with pytest.raises(NotFound):
        bars.lift(first, tenant_id=1, by="boss")
