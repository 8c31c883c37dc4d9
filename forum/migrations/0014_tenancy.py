"""Where the person belongs whom a link in a mail, or a reply to one, came from."""

from django.db import migrations

from quokkaq.lib.database.functions import reach


class Migration(migrations.Migration):
    dependencies = [("forum", "0013_attachments"), ("accounts", "0005_tenancy")]

    operations = [
        reach("reply_address", "SELECT institution_id FROM forum_replyaddress WHERE key = value"),
    ]
