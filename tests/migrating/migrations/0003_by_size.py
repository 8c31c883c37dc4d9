from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("migrating", "0002_note")]
    operations = [AddIndexConcurrently("row", models.Index(fields=["size"], name="row_by_size"))]
