"""Rules: what tenants and sites change in them, and since when a condition that must hold has been met."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OVERRIDES = """
CREATE TABLE rule_override (
    override_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   integer NOT NULL REFERENCES tenant,
    site_id     integer,
    source_type text,
    rule        text NOT NULL,
    change      jsonb NOT NULL CHECK (jsonb_typeof(change) = 'object'),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (tenant_id, site_id, source_type, rule),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, site_id)
);
COMMENT ON TABLE rule_override IS 'what differs from the rules of config.yaml: site and type before site, type, tenant';
COMMENT ON COLUMN rule_override.source_type IS 'device, sensor, system or a type of sensor; null = all sources';
CREATE TRIGGER rule_override_changed AFTER INSERT OR UPDATE OR DELETE ON rule_override
    FOR EACH STATEMENT EXECUTE FUNCTION vigil_registry_changed();
ALTER TABLE rule_override ENABLE ROW LEVEL SECURITY;
"""
PENDING = """
ALTER TABLE source_state ADD COLUMN pending jsonb;
COMMENT ON COLUMN source_state.pending IS
    'conditions met and not yet raised, because they must hold: name to the device time since when; null = none';
"""
RIGHTS = {
    "vigil_tenant": ("SELECT, INSERT, UPDATE, DELETE", "tenant_id = vigil_tenant_id()"),
    "vigil_ingest": ("SELECT", "true"),
}


def upgrade() -> None:
    op.execute(OVERRIDES)
    for role, (rights, mine) in RIGHTS.items():
        op.execute(f"GRANT {rights} ON rule_override TO {role}")
        op.execute(f"CREATE POLICY {role} ON rule_override TO {role} USING ({mine}) WITH CHECK ({mine})")
    op.execute(PENDING)


def downgrade() -> None:
    op.execute("ALTER TABLE source_state DROP COLUMN pending")
    op.execute("DROP TABLE rule_override")
