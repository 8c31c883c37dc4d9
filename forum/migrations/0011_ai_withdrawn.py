"""People are told when an answer of the AI is withdrawn."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("forum", "0010_thread_vectors"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="notification",
            name="notification_kind_known",
        ),
        migrations.RemoveConstraint(
            model_name="preference",
            name="preference_kind_known",
        ),
        migrations.AlterField(
            model_name="notification",
            name="kind",
            field=models.CharField(
                choices=[
                    ("reply", "Replies in threads I follow"),
                    ("mention", "Somebody calls me by name"),
                    ("endorsement", "Staff endorse what I wrote"),
                    ("accepted", "My answer is accepted"),
                    ("announcement", "Announcements"),
                    ("ai_answer", "The answer from the materials is ready"),
                    ("ai_withdrawn", "An answer from the materials is withdrawn"),
                    ("decision", "Staff decide about what I wrote"),
                    ("assigned", "A question is assigned to me (staff)"),
                    ("flagged", "Somebody flags a text (staff)"),
                    ("pending", "A text waits for approval (staff)"),
                ],
                max_length=14,
            ),
        ),
        migrations.AlterField(
            model_name="preference",
            name="kind",
            field=models.CharField(
                choices=[
                    ("reply", "Replies in threads I follow"),
                    ("mention", "Somebody calls me by name"),
                    ("endorsement", "Staff endorse what I wrote"),
                    ("accepted", "My answer is accepted"),
                    ("announcement", "Announcements"),
                    ("ai_answer", "The answer from the materials is ready"),
                    ("ai_withdrawn", "An answer from the materials is withdrawn"),
                    ("decision", "Staff decide about what I wrote"),
                    ("assigned", "A question is assigned to me (staff)"),
                    ("flagged", "Somebody flags a text (staff)"),
                    ("pending", "A text waits for approval (staff)"),
                ],
                max_length=14,
            ),
        ),
        migrations.AddConstraint(
            model_name="notification",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "reply",
                            "mention",
                            "endorsement",
                            "accepted",
                            "announcement",
                            "ai_answer",
                            "ai_withdrawn",
                            "decision",
                            "assigned",
                            "flagged",
                            "pending",
                        ],
                    )
                ),
                name="notification_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="preference",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "reply",
                            "mention",
                            "endorsement",
                            "accepted",
                            "announcement",
                            "ai_answer",
                            "ai_withdrawn",
                            "decision",
                            "assigned",
                            "flagged",
                            "pending",
                        ],
                    )
                ),
                name="preference_kind_known",
            ),
        ),
        migrations.RunSQL(
            migrations.RunSQL.noop,
            [
                "DELETE FROM forum_notification WHERE kind = 'ai_withdrawn'",
                "DELETE FROM forum_preference WHERE kind = 'ai_withdrawn'",
            ],
        ),
    ]
