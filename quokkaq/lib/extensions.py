"""Extensions of PostgreSQL that migrations need."""

from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def install_vector(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Install pgvector, or say what to do where the server doesn't have it."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'")
        if cursor.fetchone():
            return
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
        if not cursor.fetchone():
            raise RuntimeError(
                "This PostgreSQL server has no pgvector. Install it there (Debian: postgresql-NN-pgvector; managed "
                "servers have it), then run `manage.py migrate` again."
            )
        cursor.execute("CREATE EXTENSION vector")
