"""One name space for the ids of all sources: guards and devices of all tenants.

`source_id` has one row for each guard and each device, written by triggers. Its primary key is the id in canonical
form (`789` is `guard-789`), so that the database refuses an id that another source of any kind or tenant holds. The
foreign keys remove a row together with its guard or device.

Ids that several sources share already are reported and not resolved: which of them keeps the id, nobody but the
operator can know.
"""

from alembic import op
from sqlalchemy import Connection, text

from services.contracts.errors import Refused

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MAX_REPORTED = 50

KEY = """
CREATE FUNCTION vigil_source_key(id text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN id ~ '^[0-9]+$' THEN 'guard-' || id ELSE id END;
COMMENT ON FUNCTION vigil_source_key(text) IS 'the canonical form of a source id: 789 and guard-789 are one source';
"""

COLLISIONS = text(
    """
    SELECT vigil_source_key(id) AS key,
           string_agg(format('%s %s of tenant %s', kind, id, tenant_id), ', ' ORDER BY kind, tenant_id, id) AS holders
    FROM (SELECT guard_id AS id, tenant_id, 'guard' AS kind FROM guard
          UNION ALL SELECT device_id, tenant_id, 'device' FROM device) s
    GROUP BY 1 HAVING count(*) > 1 ORDER BY 1
    """
)

TABLE = """
CREATE TABLE source_id (
    source_key text PRIMARY KEY,
    tenant_id  integer NOT NULL REFERENCES tenant,
    guard_id   text,
    device_id  text,
    CHECK (num_nonnulls(guard_id, device_id) = 1),
    CHECK (source_key = vigil_source_key(coalesce(guard_id, device_id))),
    FOREIGN KEY (tenant_id, guard_id) REFERENCES guard (tenant_id, guard_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, device_id) REFERENCES device (tenant_id, device_id) ON DELETE CASCADE
);
COMMENT ON TABLE source_id IS 'ids of all sources over all tenants; triggers on guard and device write it';
CREATE UNIQUE INDEX source_id_guard ON source_id (tenant_id, guard_id) WHERE guard_id IS NOT NULL;
CREATE UNIQUE INDEX source_id_device ON source_id (tenant_id, device_id) WHERE device_id IS NOT NULL;
INSERT INTO source_id (source_key, tenant_id, guard_id)
    SELECT vigil_source_key(guard_id), tenant_id, guard_id FROM guard;
INSERT INTO source_id (source_key, tenant_id, device_id)
    SELECT vigil_source_key(device_id), tenant_id, device_id FROM device;
"""

# After the row, not before: a row that ON CONFLICT passes over claims nothing. The claim of open registration is there
# already (`services.registry`), and is accepted when it is for this very row.
TRIGGERS = """
CREATE FUNCTION vigil_claim_source_id() RETURNS trigger LANGUAGE plpgsql {owners} AS $$
DECLARE
    mine source_id;
    theirs source_id;
BEGIN
    IF TG_TABLE_NAME = 'guard' THEN
        mine := ROW(vigil_source_key(NEW.guard_id), NEW.tenant_id, NEW.guard_id, NULL);
    ELSE
        mine := ROW(vigil_source_key(NEW.device_id), NEW.tenant_id, NULL, NEW.device_id);
    END IF;
    INSERT INTO source_id VALUES (mine.*) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO theirs FROM source_id s WHERE s.source_key = mine.source_key;
        IF theirs IS DISTINCT FROM mine THEN
            RAISE EXCEPTION 'the id is not free' USING ERRCODE = 'unique_violation', CONSTRAINT = 'source_id_pkey';
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION vigil_give_up_source_id() RETURNS trigger LANGUAGE plpgsql {owners} AS $$
-- Before the id or the tenant of a source changes: the foreign keys of the old claim would keep the row as it is.
BEGIN
    IF TG_TABLE_NAME = 'guard' THEN
        DELETE FROM source_id s WHERE s.tenant_id = OLD.tenant_id AND s.guard_id = OLD.guard_id;
    ELSE
        DELETE FROM source_id s WHERE s.tenant_id = OLD.tenant_id AND s.device_id = OLD.device_id;
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION vigil_claim_source_id(), vigil_give_up_source_id() FROM PUBLIC;
"""
SOURCES = (("guard", "guard_id"), ("device", "device_id"))

# Open registration claims ids before it adds rows, so that an id that is not free costs its own message only.
GRANTS = {"vigil_tenant": "SELECT", "vigil_ingest": "SELECT, INSERT"}


def upgrade() -> None:
    connection = op.get_bind()
    schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    # Nobody adds a source between the look for collisions and the first claim.
    op.execute("LOCK TABLE guard, device IN SHARE ROW EXCLUSIVE MODE")
    op.execute(KEY)
    _check_collisions(connection)
    op.execute(TABLE)
    op.execute(TRIGGERS.replace("{owners}", f"SECURITY DEFINER SET search_path = {schema}, pg_temp"))
    for table, column in SOURCES:
        op.execute(
            f"CREATE TRIGGER {table}_claims_id AFTER INSERT OR UPDATE OF {column}, tenant_id ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION vigil_claim_source_id()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_gives_up_id BEFORE UPDATE OF {column}, tenant_id ON {table} FOR EACH ROW"
            f" WHEN (OLD.{column} <> NEW.{column} OR OLD.tenant_id <> NEW.tenant_id)"
            " EXECUTE FUNCTION vigil_give_up_source_id()"
        )
    op.execute("ALTER TABLE source_id ENABLE ROW LEVEL SECURITY")
    for role, rights in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        op.execute(f"GRANT {rights} ON source_id TO {role}")
        op.execute(f"CREATE POLICY {role} ON source_id TO {role} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    for table, _ in SOURCES:
        op.execute(f"DROP TRIGGER {table}_claims_id ON {table}")
        op.execute(f"DROP TRIGGER {table}_gives_up_id ON {table}")
    op.execute("DROP FUNCTION vigil_claim_source_id()")
    op.execute("DROP FUNCTION vigil_give_up_source_id()")
    op.execute("DROP TABLE source_id")
    op.execute("DROP FUNCTION vigil_source_key(text)")


def _check_collisions(connection: Connection) -> None:
    """Raises `Refused` that names every id that several sources share, and how to part them."""
    found = connection.execute(COLLISIONS).all()
    if not found:
        return
    lines = [f"  {row.key}: {row.holders}" for row in found[:MAX_REPORTED]]
    more = f"\n  and {len(found) - MAX_REPORTED} more" if len(found) > MAX_REPORTED else ""
    raise Refused(
        f"{len(found)} source ids belong to several sources; each id must belong to one:\n"
        + "\n".join(lines)
        + more
        + "\nNothing was changed. For each id decide which source keeps it, and give every other one a new id: "
        "`vigil guard rename ID NEW-ID --tenant N` or `vigil device rename ID NEW-ID --tenant N`. "
        "Then run `vigil migrate up` again."
    )
