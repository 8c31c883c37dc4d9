"""What threads ask, as vectors. They need pgvector, which the first step installs; it stays when this is undone."""

import django.db.models.deletion
import pgvector.django.halfvec
from django.db import migrations, models

import quokkaq.lib.uuid7
from quokkaq.lib.extensions import install_vector


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_feed_key"),
        ("forum", "0009_search_threads_only"),
    ]

    operations = [
        migrations.RunPython(install_vector, migrations.RunPython.noop),
        migrations.CreateModel(
            name="ThreadVector",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("model", models.CharField(max_length=80)),
                ("digest", models.CharField(max_length=64)),
                ("made_from", models.DateTimeField()),
                ("of_title", pgvector.django.halfvec.HalfVectorField()),
                ("of_all", pgvector.django.halfvec.HalfVectorField()),
                (
                    "course",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.course"
                    ),
                ),
                (
                    "institution",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.institution",
                    ),
                ),
                (
                    "thread",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="meaning", to="forum.thread"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["course", "model"], name="thread_vector_by_course")],
            },
        ),
    ]
