"""People of an identity provider who are barred: Vigil has no row of them, only what their tokens say."""

from alembic import op
from sqlalchemy import text

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE barred_subject (
    bar_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    issuer    text NOT NULL,
    subject   text NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    until     timestamptz CHECK (until < 'infinity'),
    by        text NOT NULL,
    reason    text NOT NULL DEFAULT '',
    UNIQUE (tenant_id, issuer, subject)
);
COMMENT ON TABLE barred_subject IS
    'tokens of this issuer, subject and tenant are void that were issued before `until`; null: all of them';
"""

# The log-in learns who is barred, over all tenants, and forgets bars after which no token of their time can live.
GRANTS = {"vigil_tenant": "SELECT, INSERT, UPDATE", "vigil_login": "SELECT, DELETE"}


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("ALTER TABLE barred_subject ENABLE ROW LEVEL SECURITY")
    for role, rights in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        # Where each process has a role of its own, its rows are said by this second role.
        holders = ", ".join([role, *_there(f"{role}_rows")])
        op.execute(f"GRANT {rights} ON barred_subject TO {role}")
        op.execute(f"CREATE POLICY {role} ON barred_subject TO {holders} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    op.execute("DROP TABLE barred_subject")


def _there(role: str) -> list[str]:
    query = text("SELECT rolname FROM pg_roles WHERE rolname = :role")
    return list(op.get_bind().execute(query, {"role": role}).scalars())
