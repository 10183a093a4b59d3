"""Roles of the database for each process, in place of one for all of them.

A process takes one of its own roles, `vigil_<process>_<access>`, which holds the grants of that process alone
(`ops.grants` brings them to the declaration in `ops.privileges` after the migrations). Which rows it sees is still
said by the policies of `vigil_tenant`, `vigil_ingest` and `vigil_login`: each now holds for a second role, `..._rows`,
that has no grants and of which the roles of processes are members. The three themselves stay as they were, for
operators' commands.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ACCESSES = ("tenant", "ingest", "login")
PROCESSES = {
    "directory": ("tenant", "ingest", "login"),
    "telemetry": ("tenant", "ingest"),
    "location": ("tenant", "ingest"),
    "alerts": ("tenant", "ingest"),
    "notifications": ("tenant", "ingest"),
    "watchdog": ("ingest",),
}
ROLES = [f"vigil_{process}_{access}" for process, accesses in PROCESSES.items() for access in accesses]

# Roles belong to the whole server: made when it has none, and left when this database goes. A login that could be
# all of the three can be each of the new ones, so that an installation goes on with the one URL that it has.
MAKE_ROLES = """
DO $$
DECLARE
    wanted text;
    login text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[{roles}] LOOP
        IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXECUTE format('GRANT %I TO %I', wanted, current_user);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing and this user may not make it', wanted
                    USING HINT = 'Run `vigil database prepare`, which makes it as a superuser, and migrate again.';
        END;
        IF wanted NOT LIKE '%\\_rows' THEN
            EXECUTE format('GRANT %I TO %I', 'vigil_' || substring(wanted FROM '[a-z]+$') || '_rows', wanted);
            FOR login IN SELECT m.member::regrole::text FROM pg_auth_members m
                         WHERE m.roleid = 'vigil_ingest'::regrole AND m.member <> current_user::regrole LOOP
                EXECUTE format('GRANT %I TO %s', wanted, login);
            END LOOP;
        END IF;
    END LOOP;
END $$
"""

POLICIES = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT schemaname, tablename, policyname, roles[1]::text AS role FROM pg_policies
               WHERE schemaname = current_schema()
                 AND roles[1] IN ('vigil_tenant', 'vigil_ingest', 'vigil_login') LOOP
        EXECUTE format('ALTER POLICY %I ON %I TO %I{also}', one.policyname, one.tablename, one.role{argument});
    END LOOP;
END $$
"""

GIVE_UP = """
DO $$
DECLARE
    one text;
    held regprocedure;
BEGIN
    FOREACH one IN ARRAY ARRAY[{roles}] LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), one);
        -- Only those that it holds: of each function of PostGIS there would be a warning.
        FOR held IN SELECT p.oid FROM pg_proc p, aclexplode(p.proacl) a
                    WHERE p.pronamespace = current_schema()::regnamespace AND a.grantee = one::regrole LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', held, one);
        END LOOP;
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), one);
    END LOOP;
END $$
"""


def upgrade() -> None:
    rows = [f"vigil_{access}_rows" for access in ACCESSES]
    _run(MAKE_ROLES.format(roles=_quoted([*rows, *ROLES])))
    _run(POLICIES.format(also=", %I", argument=", one.role || '_rows'"))


def downgrade() -> None:
    _run(GIVE_UP.format(roles=_quoted(ROLES)))
    _run(POLICIES.format(also="", argument=""))


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _run(script: str) -> None:
    """As it stands: `%` means nothing here."""
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
