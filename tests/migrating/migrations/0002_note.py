from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("migrating", "0001_initial")]
    operations = [
        # Its foreign key is put off to the end of the migration.
        migrations.AddField(
            "row", "note", models.ForeignKey("migrating.row", models.CASCADE, null=True, db_index=False)
        ),
        migrations.RunSQL("SELECT pg_sleep(2)", migrations.RunSQL.noop),
    ]
