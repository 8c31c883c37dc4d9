"""Functions in the database that row-level security stands on, and how migrations make them."""

from django.db import migrations

# Every institution's rows are shown to who owns the tables, when they ask for that.
TENANCY = """
CREATE FUNCTION quokkaq_institution() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT nullif(nullif(current_setting('quokkaq.institution', true), ''), '*')::uuid
$$;
CREATE FUNCTION quokkaq_person() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT nullif(current_setting('quokkaq.person', true), '')::uuid
$$;
CREATE FUNCTION quokkaq_everything() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('quokkaq.institution', true), '') = '*' AND pg_has_role(
        current_user, (SELECT relowner FROM pg_class WHERE oid = 'public.accounts_institution'::regclass), 'MEMBER'
    )
$$;
CREATE FUNCTION quokkaq_institutions() RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE before text := current_setting('quokkaq.institution', true);
BEGIN
    PERFORM set_config('quokkaq.institution', '*', true);
    RETURN QUERY SELECT id FROM accounts_institution ORDER BY id;
    PERFORM set_config('quokkaq.institution', coalesce(before, ''), true);
END
$$;
"""
# The policies and defaults that `secure()` of `quokkaq/row_security.py` made stand on the functions, and go before them.
DROP_TENANCY = """
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT polrelid::regclass AS name FROM pg_policy WHERE polname = 'tenancy' LOOP
        EXECUTE format('DROP POLICY tenancy ON %s', found.name);
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', found.name);
    END LOOP;
    FOR found IN SELECT adrelid::regclass AS name FROM pg_attrdef
        WHERE pg_get_expr(adbin, adrelid) = 'quokkaq_institution()' LOOP
        EXECUTE format('ALTER TABLE %s ALTER institution_id DROP DEFAULT', found.name);
    END LOOP;
END
$$;
DROP FUNCTION quokkaq_institutions();
DROP FUNCTION quokkaq_everything();
DROP FUNCTION quokkaq_person();
DROP FUNCTION quokkaq_institution();
"""


def reach(what: str, query: str) -> migrations.RunSQL:
    """Make the look-up `quokkaq.lib.tenancy.reach(what, …)`: which institution a row belongs to, and nothing else of it.

    Args:
        query: selects one `institution_id` for the text `value`.
    """
    return migrations.RunSQL(
        f"""
CREATE FUNCTION quokkaq_reach_{what}(value text) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE before text := current_setting('quokkaq.institution', true); found uuid;
BEGIN
    PERFORM set_config('quokkaq.institution', '*', true);
    found := ({query});
    PERFORM set_config('quokkaq.institution', coalesce(before, ''), true);
    RETURN found;
END
$$;
""",
        f"DROP FUNCTION quokkaq_reach_{what}(text);",
    )
