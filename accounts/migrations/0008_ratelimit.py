"""Tables of rate limits: one that survives a crash, one (unlogged) that needn't."""

import django.contrib.postgres.fields
from django.db import migrations, models

COLUMNS = [
    ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
    ("hits", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
    ("expires_at", models.DateTimeField()),
]
# Room on each page for the next version of a row, which then needs no new index entry.
ROOM = "ALTER TABLE {} SET (fillfactor = 50)"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_roster"),
    ]

    operations = [
        migrations.CreateModel(name="RateCount", fields=COLUMNS, options={"abstract": False}),
        migrations.CreateModel(name="PassingRateCount", fields=COLUMNS, options={"abstract": False}),
        migrations.RunSQL(
            [
                "ALTER TABLE accounts_passingratecount SET UNLOGGED",
                ROOM.format("accounts_ratecount"),
                ROOM.format("accounts_passingratecount"),
            ],
            migrations.RunSQL.noop,
        ),
    ]
