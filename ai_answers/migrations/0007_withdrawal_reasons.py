"""Staff say why they take an answer back."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ai_answers", "0006_life_of_an_answer"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="answer",
            name="answer_withdrawal_reason_known",
        ),
        migrations.AlterField(
            model_name="answer",
            name="withdrawal_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "not withdrawn"),
                    ("staff", "Staff took it back"),
                    ("wrong", "It was wrong"),
                    ("off_topic", "It answered something else"),
                    ("solution", "It gave away too much of an assignment"),
                    ("source_changed", "A source no longer says what it quoted"),
                    ("source_deleted", "A source was removed"),
                ],
                default="",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "withdrawal_reason__in",
                        ["", "staff", "wrong", "off_topic", "solution", "source_changed", "source_deleted"],
                    )
                ),
                name="answer_withdrawal_reason_known",
            ),
        ),
        migrations.RunSQL(
            migrations.RunSQL.noop,
            "UPDATE ai_answers_answer SET withdrawal_reason = 'staff' WHERE withdrawal_reason IN ('wrong', 'off_topic', 'solution')",
        ),
    ]
