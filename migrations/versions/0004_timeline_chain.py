"""The timeline is append-only, and each of its rows seals the one before: an edit can be found, by anybody.

Per tenant, at commit: `seq` counts 1, 2, 3 without a gap, `hash = sha256(prev_hash || sha256(canonical))`, and
`prev_hash` is the hash of the row before (32 zero bytes for the first). The inner digest lets a chain be followed
past rows whose content is not shown. `timeline_head` holds the last seq and hash.

`canonical` is the UTF-8 of what Python writes with

    json.dumps([seq, tenant_id, alert_id, at, action, status, by, note], ensure_ascii=False, separators=(",", ":"))

where alert_id is the UUID in lower case with hyphens, and `at` is UTC text, always `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
Both sides escape the same: quotation mark, backslash, \\b \\f \\n \\r \\t, other controls below U+0020 as \\u00xx in
lower case, and nothing else. `announced_at` is not covered: it tells of the telling, and is set after the fact.

A row gets its place at commit, not at insert, so that one tenant's writers wait for each other only while they
commit, and so that the order of the chain is the order of commits. No deadlock comes of it: a transaction locks
heads in the order of its inserts, every transaction inserts in the order of tenants, and who holds a head waits for
nothing but further heads (all other locks of a transaction are taken before its commit begins). A transaction that
broke that order would at worst be told of a deadlock, be rolled back whole, and be tried again.

An alert is erased whole, by the owner (ON DELETE CASCADE): what remains of its rows is their place and digests in
`timeline_erased`, so that the chain holds across them, and an erasure differs from a row that was taken out.
"""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CANONICAL = """
CREATE FUNCTION vigil_timeline_canonical(
    seq bigint, tenant_id integer, alert_id uuid, at timestamptz, action text, status text, by_whom text, note text
) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT convert_to(
        '[' || $1 || ',' || $2 || ',"' || $3 || '","'
            || to_char($4 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",'
            || to_json($5)::text || ',' || to_json($6)::text || ',' || to_json($7)::text || ',' || to_json($8)::text
            || ']', 'UTF8')
$$;
"""

TABLES = """
ALTER TABLE alert_timeline ADD COLUMN seq bigint, ADD COLUMN prev_hash bytea, ADD COLUMN hash bytea;
COMMENT ON COLUMN alert_timeline.seq IS 'place in the tenant''s chain; null only before the commit';
COMMENT ON COLUMN alert_timeline.hash IS 'sha256(prev_hash || sha256(canonical)); see migration 0004';

CREATE TABLE timeline_head (
    tenant_id integer PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    seq       bigint NOT NULL,
    hash      bytea NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE timeline_head IS 'the last link of each tenant''s chain of timeline rows';

CREATE TABLE timeline_erased (
    tenant_id integer NOT NULL REFERENCES tenant ON DELETE CASCADE,
    seq       bigint NOT NULL,
    prev_hash bytea NOT NULL,
    hash      bytea NOT NULL,
    digest    bytea NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, seq)
);
COMMENT ON TABLE timeline_erased IS 'where rows of erased alerts stood in the chain, without their content';
"""

# Before there are triggers: the rows that are there, in the order in which they were written.
EXISTING = """
DO $$
DECLARE
    line record;
    last timeline_head;
BEGIN
    FOR line IN SELECT * FROM alert_timeline ORDER BY tenant_id, entry_id LOOP
        IF last.tenant_id IS DISTINCT FROM line.tenant_id THEN
            IF last.tenant_id IS NOT NULL THEN
                INSERT INTO timeline_head SELECT last.*;
            END IF;
            last := ROW(line.tenant_id, 0, decode(repeat('00', 32), 'hex'));
        END IF;
        UPDATE alert_timeline SET
            seq = last.seq + 1, prev_hash = last.hash,
            hash = sha256(last.hash || sha256(vigil_timeline_canonical(
                last.seq + 1, line.tenant_id, line.alert_id, line.at, line.action, line.status, line."by", line.note)))
        WHERE entry_id = line.entry_id RETURNING tenant_id, seq, hash INTO last;
    END LOOP;
    IF last.tenant_id IS NOT NULL THEN
        INSERT INTO timeline_head SELECT last.*;
    END IF;
END $$;
"""

# The writer's rights do not reach the head or the place of a row, so the function has the owner's.
CHAIN = """
CREATE FUNCTION vigil_chain_timeline() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {schema}, pg_temp AS $$
DECLARE
    last timeline_head;
    next_hash bytea;
BEGIN
    SELECT * INTO last FROM timeline_head h WHERE h.tenant_id = NEW.tenant_id FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO timeline_head VALUES (NEW.tenant_id, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT last FROM timeline_head h WHERE h.tenant_id = NEW.tenant_id FOR UPDATE;
    END IF;
    next_hash := sha256(last.hash || sha256(vigil_timeline_canonical(
        last.seq + 1, NEW.tenant_id, NEW.alert_id, NEW.at, NEW.action, NEW.status, NEW."by", NEW.note)));
    UPDATE alert_timeline SET seq = last.seq + 1, prev_hash = last.hash, hash = next_hash
    WHERE entry_id = NEW.entry_id AND seq IS NULL;
    -- A row that its own transaction has erased again takes no place.
    IF FOUND THEN
        UPDATE timeline_head h SET seq = last.seq + 1, hash = next_hash WHERE h.tenant_id = NEW.tenant_id;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION vigil_chain_timeline() FROM PUBLIC;
"""

GUARD = """
CREATE FUNCTION vigil_guard_timeline() RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    same alert_timeline;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        same := NEW;
        same.announced_at := OLD.announced_at;
        IF OLD.seq IS NULL AND pg_trigger_depth() > 1 THEN  -- vigil_chain_timeline gives the row its place
            same.seq := NULL; same.prev_hash := NULL; same.hash := NULL;
        END IF;
        IF same IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        -- A cascade deletes as the table's owner, whoever deleted the alert.
        IF current_user = (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = TG_RELID)
           AND NOT EXISTS (SELECT FROM mqtt_device_alert a WHERE a.alert_id = OLD.alert_id) THEN
            IF OLD.seq IS NOT NULL THEN
                INSERT INTO timeline_erased (tenant_id, seq, prev_hash, hash, digest)
                VALUES (OLD.tenant_id, OLD.seq, OLD.prev_hash, OLD.hash, sha256(vigil_timeline_canonical(
                    OLD.seq, OLD.tenant_id, OLD.alert_id, OLD.at, OLD.action, OLD.status, OLD."by", OLD.note)));
            END IF;
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the timeline is append-only: % of alert_timeline is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'A row stays as it was written; an alert is erased whole, by the owner.';
END $$;
REVOKE ALL ON FUNCTION vigil_guard_timeline() FROM PUBLIC;
"""

TRIGGERS = """
CREATE TRIGGER alert_timeline_no_place BEFORE INSERT ON alert_timeline FOR EACH ROW
    WHEN (NEW.seq IS NOT NULL OR NEW.prev_hash IS NOT NULL OR NEW.hash IS NOT NULL)
    EXECUTE FUNCTION vigil_guard_timeline();
CREATE TRIGGER alert_timeline_guard BEFORE UPDATE OR DELETE ON alert_timeline FOR EACH ROW
    EXECUTE FUNCTION vigil_guard_timeline();
CREATE TRIGGER alert_timeline_whole BEFORE TRUNCATE ON alert_timeline FOR EACH STATEMENT
    EXECUTE FUNCTION vigil_guard_timeline();
CREATE CONSTRAINT TRIGGER alert_timeline_chain AFTER INSERT ON alert_timeline DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION vigil_chain_timeline();
"""

READABLE = ("timeline_head", "timeline_erased")


def upgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    op.execute(CANONICAL)
    op.execute("REVOKE ALL ON FUNCTION vigil_timeline_canonical FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION vigil_timeline_canonical TO vigil_tenant")
    op.execute(TABLES)
    op.execute(EXISTING)
    op.execute(
        "ALTER TABLE alert_timeline ADD CONSTRAINT alert_timeline_place UNIQUE (tenant_id, seq),"
        " ADD CONSTRAINT alert_timeline_link CHECK (num_nulls(seq, prev_hash, hash) IN (0, 3))"
    )
    op.execute(CHAIN.format(schema=schema))
    op.execute(GUARD.format(schema=schema))
    op.execute(TRIGGERS)
    for table in READABLE:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT ON {table} TO vigil_tenant")
        op.execute(
            f"CREATE POLICY vigil_tenant ON {table} TO vigil_tenant USING (tenant_id = vigil_tenant_id())"
        )


def downgrade() -> None:
    for trigger in ("chain", "whole", "guard", "no_place"):
        op.execute(f"DROP TRIGGER alert_timeline_{trigger} ON alert_timeline")
    op.execute("DROP FUNCTION vigil_chain_timeline(), vigil_guard_timeline(), vigil_timeline_canonical")
    for table in reversed(READABLE):
        op.execute(f"DROP TABLE {table}")
    op.execute(
        "ALTER TABLE alert_timeline DROP CONSTRAINT alert_timeline_place, DROP CONSTRAINT alert_timeline_link,"
        " DROP COLUMN seq, DROP COLUMN prev_hash, DROP COLUMN hash"
    )
