from django.db import migrations

from quokkaq.lib.database.operations import RemoveIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("migrating", "0004_once")]
    operations = [RemoveIndexConcurrently("row", "row_by_size")]
