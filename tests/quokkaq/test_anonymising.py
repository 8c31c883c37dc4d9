"""A copy of production, made safe: whatever text stood in whatever column, nothing of it is left."""

import contextlib
import io
import uuid
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.postgres.fields import ArrayField
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, connection, models, transaction
from django.utils import timezone

from accounts.models import Enrollment, Upload, User
from ai_answers.models import Answer, Citation, MaterialVersion, Passage
from forum.models import Post, SearchEntry, Thread
from quokkaq import anonymising
from quokkaq.anonymising import EMPTIED, RULES, NotAnonymousError, anonymise, find, text_columns, undecided
from tests import append_only, factories
from tests.accounts.test_own_data import Life
from tests.factories import World

pytestmark = pytest.mark.django_db
# What no copy can be rid of and needn't: Django's own words, and what triggers make from texts.
KEPT = {
    "auth.Permission", "contenttypes.ContentType", "procrastinate.ProcrastinateJob", "procrastinate.ProcrastinatePeriodicDefer",
}  # fmt: skip


def test_every_column_that_can_hold_words_is_decided_about() -> None:
    assert undecided() == []
    known = {f"{model._meta.label}.{column.name}" for model, column in text_columns()}
    said = {f"{label}.{name}" for label, rules in RULES.items() for name in rules}
    assert said - known == set(), "rules for columns that are gone"


def test_a_new_text_column_stops_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {label: dict(columns) for label, columns in RULES.items()}
    del rules["forum.Flag"]["details"]
    monkeypatch.setattr(anonymising, "RULES", rules)
    with pytest.raises(NotAnonymousError, match=r"forum\.Flag\.details"):
        anonymise(lambda line: None)


def value_for(column: Any) -> Any:
    """Return something a required column takes."""
    if column.choices:
        return column.choices[0][0]
    if isinstance(column, models.ForeignKey):
        row = column.related_model._base_manager.order_by("pk").first()
        return row if row is not None else make(column.related_model)
    if isinstance(column, models.UUIDField):
        return uuid.uuid4()
    if isinstance(column, models.DateTimeField):
        return timezone.now()
    if isinstance(column, models.DateField):
        return timezone.now().date()
    if isinstance(column, models.BooleanField):
        return True
    if isinstance(column, models.CharField | models.TextField):
        return "text"
    if isinstance(column, models.JSONField):
        return {}
    if isinstance(column, ArrayField):
        return []
    return 1


# What CHECKs want of a row that a form would give.
SPECIAL: dict[str, dict[str, Any]] = {
    "accounts.Upload": {"state": "rejected", "rejection": "damaged", "purpose": "avatar"},
    "ai_answers.EvaluationCase": {"title": "A question", "expected": "abstain"},
    "ai_answers.Calibration": {},
}

# What CHECKs want beside the canary.
BEFORE: dict[str, dict[str, Any]] = {
    "accounts.Upload": {**SPECIAL["accounts.Upload"], "storage_key": "", "attached_at": None},
    "accounts.Enrollment": {"is_banned": True},
}


def make(model: Any) -> Any:
    """Return a row of any model, made from what its columns ask for."""
    fields = {}
    for column in model._meta.concrete_fields:
        if column.primary_key or column.has_default() or column.null:
            continue
        fields[column.name] = value_for(column)
    return model._base_manager.create(**(fields | SPECIAL.get(model._meta.label, {})))


def planted_where_it_fits(rows: Any, name: str, canary: str) -> str:
    """Put the canary there, in small letters where the column takes no others; return it, or nothing where none fits."""
    for word in (canary, canary.lower()):
        with contextlib.suppress(IntegrityError, DataError), transaction.atomic():
            rows.update(**{name: word})
            return word
    assert rows.model._meta.label in EMPTIED, f"{rows.model._meta.label}.{name}"
    return ""


def plant() -> dict[str, str]:
    """Put a canary into every text column of every table; return them by column."""
    planted: dict[str, str] = {}
    number = 0
    for model, column in text_columns():
        label = model._meta.label
        if label in KEPT or not isinstance(column, models.CharField | models.TextField | models.JSONField):
            continue
        row: Any = model._base_manager.order_by("pk").first()
        if row is None and label in EMPTIED and model._meta.app_label != "sessions":
            continue  # the table is emptied, whatever would be in it
        row = row or make(model)
        rows = model._base_manager.filter(pk=row.pk)
        number += 1
        # Ten letters, as the shortest columns hold no more; words of a code have no capitals inside.
        canary = "KanarI" + "".join(chr(97 + int(digit)) for digit in f"{number:04d}")
        with transaction.atomic():
            rows.update(**BEFORE.get(label, {}))
            if label == "accounts.Upload" and column.name == "storage_key":
                # A file that was refused lies nowhere: another row.
                stored: Any = model._base_manager.order_by("pk").last()
                model._base_manager.filter(pk=stored.pk).update(
                    state="clean", rejection="", sha256="0" * 64, storage_key=canary
                )
            elif label == "accounts.User" and column.name == "email":
                rows.update(email=f"{canary.lower()}@example.edu")
            elif label == "ai_answers.Citation" and column.name == "quote":
                at = row.version.text
                MaterialVersion.objects.filter(pk=row.version_id).update(text=canary + at[10:])
                rows.update(start=0, end=10, quote=canary)
            elif label == "ai_answers.Passage" and column.name == "text":
                row.refresh_from_db()
                rows.update(text=canary + row.text[10:])
                text = MaterialVersion.objects.get(pk=row.version_id).text
                MaterialVersion.objects.filter(pk=row.version_id).update(
                    text=text[: row.start] + canary + text[row.start + 10 :]
                )
            elif label == "ai_answers.MaterialVersion" and column.name == "text":
                rows.update(text=row.text + canary)
            elif isinstance(column, models.JSONField):
                rows.update(**{column.name: {"key": [canary, {canary: 1}]}})
            elif column.primary_key and label != "sessions.Session":
                assert label in EMPTIED
                canary = ""
            elif column.primary_key:
                model._base_manager.create(**{column.name: canary, "session_data": "x", "expire_date": timezone.now()})
            else:
                canary = planted_where_it_fits(rows, column.name, canary)
        if canary:
            planted[f"{label}.{column.name}"] = canary
    return planted


@pytest.fixture
def copy(world: World) -> World:
    """A place with one of everything, as a restored copy would be."""
    life = Life(world)
    answer = life.answer
    assert answer.citations.exists()
    for table in ("ai_answers_materialversion", "ai_answers_citation"):
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    return world


def test_of_a_canary_in_every_column_none_is_left(copy: World) -> None:
    with append_only.changeable():
        planted = plant()
    assert len(planted) >= 100
    lower = [word.lower() for word in planted.values()]
    with connection.cursor() as cursor:
        there = find(cursor, lower)
        assert len(there) >= 100, "they are really there"
        for column, word in planted.items():
            model = apps.get_model(column.rsplit(".", 1)[0])
            name = model._meta.get_field(column.rsplit(".", 1)[1]).column
            cursor.execute(f'SELECT 1 FROM "{model._meta.db_table}" WHERE "{name}"::text ILIKE %s', [f"%{word}%"])
            assert cursor.fetchone(), f"{column} took no canary"
        said: list[str] = []
        anonymise(said.append)
        assert find(cursor, lower) == set()
        assert find(cursor, ["example.edu", "Surname", "Sams ", "default parameter"]) == set()
    assert "none is left" in said[-1]


def test_shapes_stay(copy: World) -> None:
    body = "# Größe und 数学\n\nAsk *me* at +49 170 1234567:\n\n```python\nprint('x')\n```\n\n- one\n- two $x^2$"
    thread = factories.make_thread(copy.member("sam"), "A Title With Words", body)
    file = Upload.objects.get(original_name="sams-notes.txt")
    before = {row.pk: len(row.body) for row in Post.objects.all()}
    sections = Enrollment.objects.filter(course=copy.course)
    sections.update(section="Monday group")
    anonymise(lambda line: None)
    thread.refresh_from_db()
    assert len(thread.body) == len(body)
    assert [c for c in thread.body if not c.isalnum()] == [c for c in body if not c.isalnum()]
    assert not any(ord(c) > 127 for c in thread.body)
    assert "0000000" in thread.body
    assert [word.istitle() for word in thread.title.split()] == [True] * 4
    assert "<h" in thread.body_html
    assert "<code" in thread.body_html
    assert "print" not in thread.body_html
    assert {row.pk: len(row.body) for row in Post.objects.all()} == before
    assert sections.order_by().values("section").distinct().count() == 1
    file.refresh_from_db()
    assert (file.state, file.storage_key) == ("expired", "")
    answer = Answer.objects.filter(citations__isnull=False).first()
    assert answer is not None
    assert "[1]" in answer.body, "what points at a quotation goes on pointing"
    for citation in Citation.objects.select_related("version"):
        assert citation.quote == citation.version.text[citation.start : citation.end]
    for passage in Passage.objects.select_related("version"):
        assert passage.text == passage.version.text[passage.start : passage.end]
    user = User.objects.get(pk=copy.user("sam").pk)
    assert user.email.endswith("@copy.invalid")
    assert not user.check_password(factories.PASSWORD)
    assert len(user.display_name.split()) == 2


def test_sessions_mails_and_jobs_are_gone_and_the_search_finds_the_new_words(copy: World) -> None:
    Session.objects.create(session_key="k", session_data="d", expire_date=timezone.now())
    LogEntry.objects.create(
        user=copy.user("ada"), content_type=ContentType.objects.get_for_model(User), object_repr="Sam", action_flag=1
    )
    anonymise(lambda line: None)
    for label in EMPTIED:
        assert not apps.get_model(label)._base_manager.exists(), label
    thread = Thread.objects.order_by("pk").first()
    assert thread is not None
    word = max(thread.title.split(), key=len).lower().strip("?")
    entry = SearchEntry.objects.get(thread=thread, post=None)
    assert word[:4] in str(entry.vector)
    call_command("check_counters", stdout=io.StringIO())


def test_two_runs_and_two_rows_differ(copy: World) -> None:
    """The same word becomes another one elsewhere: nobody counts words to find out which was which."""
    threads = [
        factories.make_thread(copy.member("sam"), f"Same question {number}", "The very same words") for number in (1, 2)
    ]
    anonymise(lambda line: None)
    first = [Thread.objects.get(pk=thread.pk).body for thread in threads]
    assert first[0] != first[1]
    Thread.objects.filter(pk=threads[0].pk).update(body="The very same words")
    anonymise(lambda line: None)
    assert Thread.objects.get(pk=threads[0].pk).body != first[0]


def test_an_original_that_is_left_undoes_everything(copy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {label: dict(columns) for label, columns in RULES.items()}
    rules["forum.Flag"]["details"] = anonymising.Rule("{c}")
    monkeypatch.setattr(anonymising, "RULES", rules)
    with pytest.raises(NotAnonymousError, match=r"forum_flag\.details"):
        anonymise(lambda line: None)
    assert User.objects.filter(email="sam@example.edu").exists()


def test_the_guards_are_on_again(copy: World) -> None:
    anonymise(lambda line: None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'D'")
        assert cursor.fetchall() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--yes-this-is-a-copy"),
        (["--yes-this-is-a-copy"], "--database-name"),
        (["--yes-this-is-a-copy", "--database-name", "another"], "--database-name"),
    ],
)
def test_it_doesnt_start_by_mistake(world: World, options: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("anonymise_copy", *options)
    assert User.objects.filter(email="sam@example.edu").exists()


def test_it_never_runs_in_production(world: World, settings: Any) -> None:
    settings.PRODUCTION = True
    name = connection.settings_dict["NAME"]
    with pytest.raises(CommandError, match="production"):
        call_command("anonymise_copy", "--yes-this-is-a-copy", "--database-name", name)


def test_the_command_does_it_and_says_so(copy: World) -> None:
    out = io.StringIO()
    name = connection.settings_dict["NAME"]
    call_command("anonymise_copy", "--yes-this-is-a-copy", "--database-name", name, stdout=out)
    assert "none is left" in out.getvalue()
    assert not User.objects.filter(email="sam@example.edu").exists()
