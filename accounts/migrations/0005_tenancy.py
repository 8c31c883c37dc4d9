"""What row-level security asks: for whom a connection works, and where to begin for who isn't signed in."""

from django.db import migrations

from quokkaq.lib.database.functions import DROP_TENANCY, TENANCY, reach


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_uploads")]

    operations = [
        migrations.RunSQL(TENANCY, DROP_TENANCY),
        reach("email", "SELECT institution_id FROM accounts_user WHERE email = value"),
        reach("person", "SELECT institution_id FROM accounts_user WHERE id::text = value"),
        reach("feed", "SELECT institution_id FROM accounts_user WHERE feed_key = value"),
    ]
