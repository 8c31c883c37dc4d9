"""Imports, vectors, policy, budget, calibration, conversations, summaries, evaluation; an answer's whole life."""

import django.core.validators
import django.db.models.constraints
import django.db.models.deletion
import django.utils.timezone
import pgvector.django.halfvec
from django.conf import settings
from django.db import migrations, models

import quokkaq.lib.uuid7


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_feed_key"),
        ("ai_answers", "0004_answers_that_travel"),
        ("forum", "0010_thread_vectors"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AIConsent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("is_given", models.BooleanField()),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "AI consent",
            },
        ),
        migrations.CreateModel(
            name="AnswerFeedback",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("is_helpful", models.BooleanField(null=True)),
                (
                    "reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "no reason"),
                            ("wrong", "It is wrong"),
                            ("off_topic", "It answers something else"),
                            ("unclear", "I don't understand it"),
                            ("incomplete", "Something is missing"),
                        ],
                        default="",
                        max_length=12,
                    ),
                ),
                ("comment", models.CharField(blank=True, max_length=500)),
                ("wants_person", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Calibration",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("prior", "Prior (nobody has judged an answer yet)"),
                            ("platt", "Platt scaling"),
                            ("isotonic", "Isotonic regression"),
                        ],
                        max_length=10,
                    ),
                ),
                ("parameters", models.JSONField(default=dict)),
                ("judged", models.PositiveIntegerField(default=0)),
                ("endorsed", models.PositiveIntegerField(default=0)),
                ("brier", models.FloatField(blank=True, null=True)),
                ("calibration_error", models.FloatField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Conversation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("chat", "Conversation"), ("preview", "Preview before posting")],
                        default="chat",
                        max_length=8,
                    ),
                ),
                ("title", models.CharField(blank=True, max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_message_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["-last_message_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="CourseAI",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            ("off", "Off"),
                            ("draft", "Write drafts, which staff publish"),
                            ("publish", "Publish, marked as not reviewed"),
                        ],
                        default="publish",
                        max_length=8,
                    ),
                ),
                (
                    "engine",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "As the institution chose"),
                            ("extractive", "Quotations only (on this server)"),
                            ("openai", "OpenAI-compatible model"),
                            ("anthropic", "Anthropic model"),
                        ],
                        default="",
                        max_length=12,
                    ),
                ),
                (
                    "publish_from",
                    models.FloatField(
                        default=0.5,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                (
                    "draft_from",
                    models.FloatField(
                        default=0.25,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                ("daily_cap_micros", models.PositiveBigIntegerField(blank=True, null=True)),
                ("conversations", models.BooleanField(default=True, verbose_name="private conversations")),
                ("previews", models.BooleanField(default=True, verbose_name="an answer before posting")),
            ],
            options={
                "verbose_name": "AI of courses",
                "verbose_name_plural": "AI of courses",
            },
        ),
        migrations.CreateModel(
            name="Disclosure",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("provider", models.CharField(max_length=80)),
                ("model", models.CharField(max_length=80)),
                ("text", models.TextField()),
                ("sent_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["-sent_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="EvaluationCase",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("body", models.TextField(blank=True)),
                (
                    "expected",
                    models.CharField(
                        choices=[("answer", "The materials answer it"), ("abstain", "The materials don't say")],
                        default="answer",
                        max_length=8,
                    ),
                ),
                ("start", models.PositiveIntegerField(default=0)),
                ("end", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["created_at", "id"],
            },
        ),
        migrations.CreateModel(
            name="EvaluationRun",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("dataset", models.CharField(max_length=80)),
                ("engine", models.CharField(max_length=40)),
                ("model", models.CharField(blank=True, max_length=80)),
                ("questions", models.PositiveIntegerField()),
                ("metrics", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="InstitutionAI",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "engine",
                    models.CharField(
                        choices=[
                            ("", "As the institution chose"),
                            ("extractive", "Quotations only (on this server)"),
                            ("openai", "OpenAI-compatible model"),
                            ("anthropic", "Anthropic model"),
                        ],
                        default="extractive",
                        max_length=12,
                    ),
                ),
                ("daily_cap_micros", models.PositiveBigIntegerField(default=20000000)),
                ("course_daily_cap_micros", models.PositiveBigIntegerField(default=5000000)),
                ("user_daily_cap_micros", models.PositiveBigIntegerField(default=500000)),
                ("asks_per_hour", models.PositiveIntegerField(default=10)),
            ],
            options={
                "verbose_name": "AI of institutions",
                "verbose_name_plural": "AI of institutions",
            },
        ),
        migrations.CreateModel(
            name="MaterialImport",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("lecture", "Lecture"),
                            ("slides", "Slides"),
                            ("reading", "Reading"),
                            ("lab", "Lab"),
                            ("assignment", "Assignment"),
                            ("syllabus", "Syllabus"),
                            ("thread", "Endorsed thread"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "format",
                    models.CharField(
                        choices=[
                            ("markdown", "Markdown"),
                            ("text", "Plain text"),
                            ("html", "HTML"),
                            ("pdf", "PDF"),
                            ("pptx", "PowerPoint"),
                            ("docx", "Word"),
                            ("ipynb", "Jupyter notebook"),
                        ],
                        max_length=10,
                    ),
                ),
                ("storage_key", models.CharField(blank=True, editable=False, max_length=200)),
                ("original_name", models.CharField(blank=True, editable=False, max_length=200)),
                ("size", models.PositiveBigIntegerField(default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("reading", "Reading the file"),
                            ("indexing", "Indexing"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("passages_total", models.PositiveIntegerField(default=0)),
                ("passages_done", models.PositiveIntegerField(default=0)),
                ("problem", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("position", models.PositiveIntegerField()),
                ("speaker", models.CharField(choices=[("person", "Person"), ("machine", "Machine")], max_length=8)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("writing", "Writing"),
                            ("done", "Done"),
                            ("stopped", "Stopped"),
                            ("abstained", "No answer in the materials"),
                            ("failed", "Failed"),
                        ],
                        default="done",
                        max_length=10,
                    ),
                ),
                ("body", models.TextField(blank=True)),
                ("body_html", models.TextField(blank=True, editable=False)),
                ("stop_asked_at", models.DateTimeField(editable=False, null=True)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("error_code", models.CharField(blank=True, max_length=80)),
                ("confidence", models.FloatField(blank=True, null=True)),
                ("unsupported_count", models.PositiveSmallIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("finished_at", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "ordering": ["conversation", "position"],
            },
        ),
        migrations.CreateModel(
            name="ModelPrice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("engine", models.CharField(max_length=40)),
                ("model", models.CharField(max_length=80)),
                ("input_micros", models.PositiveBigIntegerField(verbose_name="micros per million tokens read")),
                ("output_micros", models.PositiveBigIntegerField(verbose_name="micros per million tokens written")),
                ("valid_from", models.DateField()),
            ],
            options={
                "ordering": ["engine", "model", "-valid_from"],
            },
        ),
        migrations.CreateModel(
            name="PassageVector",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("model", models.CharField(max_length=80)),
                ("part", models.PositiveSmallIntegerField(default=0)),
                ("start", models.PositiveIntegerField(default=0)),
                ("end", models.PositiveIntegerField()),
                ("vector", pgvector.django.halfvec.HalfVectorField()),
            ],
            options={
                "ordering": ["passage", "part"],
            },
        ),
        migrations.CreateModel(
            name="Spending",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[("institution", "Institution"), ("course", "Course"), ("user", "Person")],
                        max_length=12,
                    ),
                ),
                ("scope_id", models.UUIDField()),
                ("day", models.DateField()),
                ("spent_micros", models.PositiveBigIntegerField(default=0)),
                ("reserved_micros", models.PositiveBigIntegerField(default=0)),
                ("calls", models.PositiveIntegerField(default=0)),
            ],
            options={
                "verbose_name_plural": "spending",
                "ordering": ["-day", "scope", "id"],
            },
        ),
        migrations.CreateModel(
            name="SummaryPoint",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.PositiveSmallIntegerField()),
                ("text", models.TextField()),
                ("quote", models.TextField()),
            ],
            options={
                "ordering": ["summary", "number"],
            },
        ),
        migrations.CreateModel(
            name="ThreadSummary",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("writing", "Writing"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=8,
                    ),
                ),
                ("engine", models.CharField(blank=True, max_length=40)),
                ("digest", models.CharField(blank=True, max_length=64)),
                ("error_code", models.CharField(blank=True, max_length=80)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "thread summaries",
            },
        ),
        migrations.RemoveConstraint(
            model_name="answer",
            name="answer_status_known",
        ),
        migrations.RemoveConstraint(
            model_name="answer",
            name="answer_one_per_thread",
        ),
        migrations.RemoveConstraint(
            model_name="material",
            name="material_kind_known",
        ),
        migrations.RemoveConstraint(
            model_name="material",
            name="material_title_unique",
        ),
        migrations.RemoveConstraint(
            model_name="materialversion",
            name="material_version_format_known",
        ),
        migrations.RemoveConstraint(
            model_name="modelcall",
            name="model_call_outcome_known",
        ),
        migrations.AddField(
            model_name="answer",
            name="confidence",
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="answer",
            name="dropped_count",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="answer",
            name="edit_distance",
            field=models.FloatField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="answer",
            name="edited_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="answer",
            name="edited_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="answer",
            name="features",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name="answer",
            name="helpful_count",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="answer",
            name="is_current",
            field=models.BooleanField(default=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="answer",
            name="is_hint",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="answer",
            name="model",
            field=models.CharField(blank=True, max_length=80),
        ),
        migrations.AddField(
            model_name="answer",
            name="original_body",
            field=models.TextField(blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="answer",
            name="prompt",
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.AddField(
            model_name="answer",
            name="unhelpful_count",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="answer",
            name="unsupported_count",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="answer",
            name="withdrawal_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "not withdrawn"),
                    ("staff", "Withdrawn by staff"),
                    ("source_changed", "A source no longer says what it quoted"),
                    ("source_deleted", "A source was removed"),
                ],
                default="",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="answer",
            name="withdrawn_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="answer",
            name="withdrawn_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="material",
            name="thread",
            field=models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="as_material",
                to="forum.thread",
            ),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="attempts",
            field=models.PositiveSmallIntegerField(default=1),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="course",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="accounts.course",
            ),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="prompt",
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("answer", "Answer to a thread"),
                    ("conversation", "Private conversation"),
                    ("preview", "Preview before posting"),
                    ("summary", "Summary of a thread"),
                    ("embedding", "Embedding"),
                    ("evaluation", "Evaluation"),
                ],
                default="answer",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="reason",
            field=models.CharField(blank=True, max_length=80),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="reserved_micros",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="settled_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="user",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="passage",
            name="locator",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="passage",
            name="locator_kind",
            field=models.CharField(
                blank=True,
                choices=[("page", "page"), ("slide", "slide"), ("cell", "cell"), ("", "none")],
                default="",
                max_length=5,
            ),
        ),
        migrations.AlterField(
            model_name="answer",
            name="status",
            field=models.CharField(
                choices=[
                    ("queued", "Waiting"),
                    ("generating", "Reading the materials"),
                    ("draft", "Waiting for staff"),
                    ("published", "Published"),
                    ("abstained", "No answer in the materials"),
                    ("failed", "Failed"),
                    ("endorsed", "Endorsed"),
                    ("edited", "Edited by staff"),
                    ("withdrawn", "Withdrawn"),
                    ("superseded", "Replaced by a newer one"),
                ],
                default="queued",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="citation",
            name="answer",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="citations",
                to="ai_answers.answer",
            ),
        ),
        migrations.AlterField(
            model_name="material",
            name="kind",
            field=models.CharField(
                choices=[
                    ("lecture", "Lecture"),
                    ("slides", "Slides"),
                    ("reading", "Reading"),
                    ("lab", "Lab"),
                    ("assignment", "Assignment"),
                    ("syllabus", "Syllabus"),
                    ("thread", "Endorsed thread"),
                ],
                default="reading",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="materialversion",
            name="format",
            field=models.CharField(
                choices=[
                    ("markdown", "Markdown"),
                    ("text", "Plain text"),
                    ("html", "HTML"),
                    ("pdf", "PDF"),
                    ("pptx", "PowerPoint"),
                    ("docx", "Word"),
                    ("ipynb", "Jupyter notebook"),
                ],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="modelcall",
            name="answer",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="calls",
                to="ai_answers.answer",
            ),
        ),
        migrations.AlterField(
            model_name="modelcall",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("reserved", "Going on"),
                    ("answered", "Answered"),
                    ("abstained", "Abstained"),
                    ("refused", "Quotation not in the source"),
                    ("stopped", "Stopped by the person"),
                    ("error", "Error"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            model_name="modelcall",
            index=models.Index(fields=["course", "-created_at", "-id"], name="model_call_by_course"),
        ),
        migrations.AddIndex(
            model_name="modelcall",
            index=models.Index(
                condition=models.Q(("outcome", "reserved")), fields=["created_at"], name="model_call_unsettled"
            ),
        ),
        migrations.AddConstraint(
            model_name="material",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["lecture", "slides", "reading", "lab", "assignment", "syllabus", "thread"])
                ),
                name="material_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="material",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "thread"), ("thread__isnull", False)),
                    models.Q(models.Q(("kind", "thread"), _negated=True), ("thread", None)),
                    _connector="OR",
                ),
                name="material_thread_is_its_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="material",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None), ("thread", None)),
                fields=("course", "title"),
                name="material_title_unique",
            ),
        ),
        migrations.AddConstraint(
            model_name="materialversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("format__in", ["markdown", "text", "html", "pdf", "pptx", "docx", "ipynb"])),
                name="material_version_format_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelcall",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("outcome__in", ["reserved", "answered", "abstained", "refused", "stopped", "error"])
                ),
                name="model_call_outcome_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelcall",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("purpose__in", ["answer", "conversation", "preview", "summary", "embedding", "evaluation"])
                ),
                name="model_call_purpose_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="passage",
            constraint=models.CheckConstraint(
                condition=models.Q(("locator_kind__in", ["page", "slide", "cell", ""])),
                name="passage_locator_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="passage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("locator", None), ("locator_kind", "")),
                    models.Q(models.Q(("locator_kind", ""), _negated=True), ("locator__gte", 1)),
                    _connector="OR",
                ),
                name="passage_locator_whole",
            ),
        ),
        migrations.AddField(
            model_name="aiconsent",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="aiconsent",
            name="user",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="ai_consent", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="answerfeedback",
            name="answer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="feedback", to="ai_answers.answer"
            ),
        ),
        migrations.AddField(
            model_name="answerfeedback",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="answerfeedback",
            name="reader",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="calibration",
            name="course",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="calibrations",
                to="accounts.course",
            ),
        ),
        migrations.AddField(
            model_name="calibration",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="answer",
            name="calibration",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="ai_answers.calibration",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.UniqueConstraint(
                deferrable=django.db.models.constraints.Deferrable["IMMEDIATE"],
                fields=("thread", "is_current"),
                name="answer_one_current_per_thread",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("is_current", True), models.Q(("status", "superseded"), _negated=True)),
                    models.Q(("is_current", None), ("status", "superseded")),
                    _connector="OR",
                ),
                name="answer_current_unless_superseded",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("confidence", None), models.Q(("confidence__gte", 0), ("confidence__lte", 1)), _connector="OR"
                ),
                name="answer_confidence_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("edit_distance", None),
                    models.Q(("edit_distance__gte", 0), ("edit_distance__lte", 1)),
                    _connector="OR",
                ),
                name="answer_edit_distance_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "withdrawn"), _negated=True),
                    models.Q(("withdrawal_reason", ""), _negated=True),
                    _connector="OR",
                ),
                name="answer_withdrawn_for_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(("withdrawal_reason__in", ["", "staff", "source_changed", "source_deleted"])),
                name="answer_withdrawal_reason_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            "queued",
                            "generating",
                            "draft",
                            "published",
                            "abstained",
                            "failed",
                            "endorsed",
                            "edited",
                            "withdrawn",
                            "superseded",
                        ],
                    )
                ),
                name="answer_status_known",
            ),
        ),
        migrations.AddField(
            model_name="conversation",
            name="course",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.course"
            ),
        ),
        migrations.AddField(
            model_name="conversation",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="conversation",
            name="thread",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="forum.thread"
            ),
        ),
        migrations.AddField(
            model_name="conversation",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="ai_conversations",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="courseai",
            name="course",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="ai", to="accounts.course"
            ),
        ),
        migrations.AddField(
            model_name="courseai",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="disclosure",
            name="call",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="disclosures", to="ai_answers.modelcall"
            ),
        ),
        migrations.AddField(
            model_name="disclosure",
            name="course",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="accounts.course"
            ),
        ),
        migrations.AddField(
            model_name="disclosure",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="disclosure",
            name="user",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="ai_disclosures",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="evaluationcase",
            name="answer",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="evaluation_case",
                to="ai_answers.answer",
            ),
        ),
        migrations.AddField(
            model_name="evaluationcase",
            name="course",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="evaluation_cases", to="accounts.course"
            ),
        ),
        migrations.AddField(
            model_name="evaluationcase",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="evaluationcase",
            name="version",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="ai_answers.materialversion",
            ),
        ),
        migrations.AddField(
            model_name="evaluationrun",
            name="course",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="evaluation_runs",
                to="accounts.course",
            ),
        ),
        migrations.AddField(
            model_name="evaluationrun",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="institutionai",
            name="institution",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="ai", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="materialimport",
            name="course",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.course"
            ),
        ),
        migrations.AddField(
            model_name="materialimport",
            name="created_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="materialimport",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="materialimport",
            name="material",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="imports", to="ai_answers.material"
            ),
        ),
        migrations.AddField(
            model_name="materialimport",
            name="version",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="made_by",
                to="ai_answers.materialversion",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="conversation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="messages", to="ai_answers.conversation"
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="citation",
            name="message",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="citations",
                to="ai_answers.message",
            ),
        ),
        migrations.AddConstraint(
            model_name="citation",
            constraint=models.UniqueConstraint(fields=("message", "number"), name="citation_message_number_unique"),
        ),
        migrations.AddConstraint(
            model_name="citation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("answer__isnull", False), ("message", None)),
                    models.Q(("answer", None), ("message__isnull", False)),
                    _connector="OR",
                ),
                name="citation_in_one_place",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="passagevector",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="passagevector",
            name="passage",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="vectors", to="ai_answers.passage"
            ),
        ),
        migrations.AddField(
            model_name="spending",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="summarypoint",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="summarypoint",
            name="post",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="forum.post"
            ),
        ),
        migrations.AddField(
            model_name="threadsummary",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="threadsummary",
            name="thread",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="summary", to="forum.thread"
            ),
        ),
        migrations.AddField(
            model_name="summarypoint",
            name="summary",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="points", to="ai_answers.threadsummary"
            ),
        ),
        migrations.AddConstraint(
            model_name="answerfeedback",
            constraint=models.UniqueConstraint(fields=("answer", "reader"), name="answer_feedback_once"),
        ),
        migrations.AddConstraint(
            model_name="answerfeedback",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_helpful__isnull", False), ("wants_person", True), _connector="OR"),
                name="answer_feedback_says_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="answerfeedback",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason__in", ["", "wrong", "off_topic", "unclear", "incomplete"])),
                name="answer_feedback_reason_known",
            ),
        ),
        migrations.AddIndex(
            model_name="calibration",
            index=models.Index(fields=["course", "-created_at", "-id"], name="calibration_by_course"),
        ),
        migrations.AddConstraint(
            model_name="calibration",
            constraint=models.CheckConstraint(
                condition=models.Q(("method__in", ["prior", "platt", "isotonic"])), name="calibration_method_known"
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["user", "course", "-last_message_at", "-id"], name="conversation_listing"),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("kind", "preview")), fields=["created_at"], name="conversation_previews"
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["chat", "preview"])), name="conversation_kind_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="courseai",
            constraint=models.CheckConstraint(
                condition=models.Q(("mode__in", ["off", "draft", "publish"])), name="course_ai_mode_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="courseai",
            constraint=models.CheckConstraint(
                condition=models.Q(("engine__in", ["", "extractive", "openai", "anthropic"])),
                name="course_ai_engine_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="courseai",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("draft_from__gte", 0), ("draft_from__lte", models.F("publish_from")), ("publish_from__lte", 1)
                ),
                name="course_ai_thresholds_in_order",
            ),
        ),
        migrations.AddIndex(
            model_name="disclosure",
            index=models.Index(fields=["user", "-sent_at", "-id"], name="disclosure_by_user"),
        ),
        migrations.AddConstraint(
            model_name="evaluationcase",
            constraint=models.CheckConstraint(
                condition=models.Q(("expected__in", ["answer", "abstain"])), name="evaluation_case_expected_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="evaluationcase",
            constraint=models.CheckConstraint(
                condition=models.Q(("expected", "abstain"), ("version__isnull", False), _connector="OR"),
                name="evaluation_case_has_its_source",
            ),
        ),
        migrations.AddIndex(
            model_name="evaluationrun",
            index=models.Index(fields=["dataset", "-created_at", "-id"], name="evaluation_by_dataset"),
        ),
        migrations.AddConstraint(
            model_name="institutionai",
            constraint=models.CheckConstraint(
                condition=models.Q(("engine__in", ["", "extractive", "openai", "anthropic"])),
                name="institution_ai_engine_known",
            ),
        ),
        migrations.AddIndex(
            model_name="materialimport",
            index=models.Index(fields=["course", "-created_at", "-id"], name="material_import_listing"),
        ),
        migrations.AddConstraint(
            model_name="materialimport",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["lecture", "slides", "reading", "lab", "assignment", "syllabus", "thread"])
                ),
                name="material_import_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="materialimport",
            constraint=models.CheckConstraint(
                condition=models.Q(("format__in", ["markdown", "text", "html", "pdf", "pptx", "docx", "ipynb"])),
                name="material_import_format_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="materialimport",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["queued", "reading", "indexing", "ready", "failed"])),
                name="material_import_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="materialimport",
            constraint=models.CheckConstraint(
                condition=models.Q(("passages_done__lte", models.F("passages_total"))),
                name="material_import_progress_fits",
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(fields=("conversation", "position"), name="message_position_unique"),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(("speaker__in", ["person", "machine"])), name="message_speaker_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["queued", "writing", "done", "stopped", "abstained", "failed"])),
                name="message_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("speaker", "person"), _negated=True), ("state", "done"), _connector="OR"),
                name="message_of_person_is_done",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelprice",
            constraint=models.UniqueConstraint(
                fields=("institution", "engine", "model", "valid_from"), name="model_price_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="passagevector",
            constraint=models.UniqueConstraint(fields=("passage", "model", "part"), name="passage_vector_unique"),
        ),
        migrations.AddConstraint(
            model_name="passagevector",
            constraint=models.CheckConstraint(
                condition=models.Q(("start__lt", models.F("end"))), name="passage_vector_offsets_fit"
            ),
        ),
        migrations.AddConstraint(
            model_name="spending",
            constraint=models.UniqueConstraint(fields=("scope", "scope_id", "day"), name="spending_account_unique"),
        ),
        migrations.AddConstraint(
            model_name="spending",
            constraint=models.CheckConstraint(
                condition=models.Q(("scope__in", ["institution", "course", "user"])), name="spending_scope_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="threadsummary",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["queued", "writing", "ready", "failed"])),
                name="thread_summary_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="summarypoint",
            constraint=models.UniqueConstraint(fields=("summary", "number"), name="summary_point_unique"),
        ),
    ]
