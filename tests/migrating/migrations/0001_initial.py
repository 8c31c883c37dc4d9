from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Row",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("institution_id", models.UUIDField(null=True)),
                ("size", models.IntegerField()),
            ],
        ),
        migrations.RunSQL(
            "INSERT INTO migrating_row (size) SELECT number FROM generate_series(1, 1000) number", migrations.RunSQL.noop
        ),
    ]
