from django.db import migrations, models

from quokkaq.lib.database.operations import AddUniqueConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("migrating", "0003_by_size")]
    operations = [AddUniqueConcurrently("row", models.UniqueConstraint(fields=["size"], name="row_size_once"))]
