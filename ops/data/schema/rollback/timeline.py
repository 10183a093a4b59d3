"""The chain of the timeline across a rollback.

Rows that the older version wrote continue from the old head. Rows that it erased leave their place
and digest, as an erasure does.
"""

from __future__ import annotations

from sqlalchemy import Connection

from ops.data.schema.rollback.data_loss import TableLoss

TABLE, HEADS, PLACE = "alert_timeline", "timeline_head", "seq"

# A place in the chain whose row is gone: the older schema erased without a trace.
ERASED = """
INSERT INTO timeline_erased (tenant_id, seq, prev_hash, hash, digest)
SELECT k.tenant_id, k.seq, k.prev_hash, k.hash, sha256(vigil_timeline_canonical(
    k.seq, k.tenant_id, k.alert_id, k.at, k.action, k.status, k."by", k.note))
FROM {chain} k JOIN tenant USING (tenant_id)
WHERE k.seq IS NOT NULL AND NOT EXISTS (SELECT FROM alert_timeline t WHERE t.entry_id = k.entry_id)
ON CONFLICT DO NOTHING
"""
# The migration gave every tenant a head of its own. A tenant without a head at the rollback begins
# at the first place.
HEADS_OF_MIGRATION = (
    "DELETE FROM timeline_head h WHERE NOT EXISTS (SELECT FROM {heads} k WHERE k.tenant_id = h.tenant_id)"
)
CHAIN = """
DO $$
DECLARE
    line record;
    last timeline_head;
BEGIN
    FOR line IN SELECT t.* FROM alert_timeline t
                WHERE NOT EXISTS (SELECT FROM {chain} k WHERE k.entry_id = t.entry_id)
                ORDER BY t.tenant_id, t.entry_id LOOP
        INSERT INTO timeline_head VALUES (line.tenant_id, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT last FROM timeline_head h WHERE h.tenant_id = line.tenant_id;
        UPDATE alert_timeline SET
            seq = last.seq + 1, prev_hash = last.hash,
            hash = sha256(last.hash || sha256(vigil_timeline_canonical(
                last.seq + 1, line.tenant_id, line.alert_id, line.at, line.action, line.status, line."by", line.note)))
        WHERE entry_id = line.entry_id RETURNING tenant_id, seq, hash INTO last;
        UPDATE timeline_head h SET seq = last.seq, hash = last.hash WHERE h.tenant_id = last.tenant_id;
    END LOOP;
END $$
"""


def concerns(loss: TableLoss) -> bool:
    """Return whether the rollback took the chain."""
    return loss.table == TABLE and PLACE in loss.lost


def clear(connection: Connection) -> None:
    """Clear the places that the migration gave, which could collide with the kept places."""
    connection.exec_driver_sql("UPDATE alert_timeline SET seq = NULL, prev_hash = NULL, hash = NULL")


def join(connection: Connection, *, chain: str, heads: str | None) -> None:
    """Join kept and new rows to one chain, while triggers are off.

    `chain` and `heads` are the kept copies.
    """
    connection.exec_driver_sql(ERASED.format(chain=chain))
    if heads is not None:
        connection.exec_driver_sql(HEADS_OF_MIGRATION.format(heads=heads))
    connection.exec_driver_sql(CHAIN.format(chain=chain))
