"""A file on its way to a material: stored, read as a task, indexed, shown; and what staff do with materials."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.access import Member, Refused
from accounts.models import AuditEvent, Purpose, Upload, User
from ai_answers import actions
from ai_answers.actions import imports as import_actions
from ai_answers.actions import indexing, materials
from ai_answers.indexing import index_passages
from ai_answers.models import (
    ImportState,
    Material,
    MaterialFormat,
    MaterialImport,
    MaterialKind,
    MaterialVersion,
    Passage,
    PassageVector,
)
from ai_answers.parsing import Parsed, Problem, Unreadable
from ai_answers.tasks import IMPORT_ATTEMPTS
from ai_answers.tasks import read_import as read_import_task
from quokkaq.lib.inspecting import Rejection
from quokkaq.lib.inspecting import sentence as sentence_for
from quokkaq.lib.storage import store
from tests import factories
from tests.ai_answers.test_parsing import make_pdf, make_pptx, read_file
from tests.factories import World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
LIST = "/c/cs-101/materials/"


def upload(client: Client, *files: SimpleUploadedFile, **fields: object) -> str:
    response = client.post(f"{LIST}add/", {"title": "", "kind": "slides", "files": list(files)} | fields)
    assert response.status_code == 302, response.content.decode()
    return str(response["Location"])


def embed(passage: Passage, value: float = 1.0) -> PassageVector:
    return PassageVector.objects.create(
        institution_id=passage.institution_id, passage=passage, model="m", end=len(passage.text), vector=[value, 0.0]
    )


# Import


def test_several_files_become_materials_with_their_slides_and_pages(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("tim"))
    deck, paper = (
        SimpleUploadedFile("Week_3.pptx", make_pptx()),
        SimpleUploadedFile("paper.pdf", make_pdf([["Hello."]])),
    )
    assert upload(client, deck, paper) == LIST
    assert "Checking the file…" in client.get(LIST).content.decode()
    run_tasks()
    page = client.get(LIST).content.decode()
    assert "Ready" in page
    assert "4 slides" in page
    slides = Material.objects.get(title="Week 3")
    version = slides.current_version
    assert version is not None
    assert version.format == MaterialFormat.PPTX
    passages = list(version.passages.all())
    assert [p.place for p in passages] == ["slide 1", "slide 1", "slide 2", "slide 4"]
    assert [p.heading for p in passages][:2] == ["Week 3 · Recursion", "Week 3 · Recursion · notes"]
    assert all(version.text[p.start : p.end] == p.text for p in passages)
    shown = client.get(reverse("ai_answers:material", args=["cs-101", slides.pk])).content.decode()
    assert shown.count('class="passage-place">slide 1<') == 1
    assert shown.count('class="passage-place">slide 1, notes<') == 1
    assert "Original file" in shown
    assert AuditEvent.objects.filter(verb="material.imported", actor=world.user("tim")).count() == 2


def test_the_file_lies_under_a_name_that_says_nothing_and_only_staff_get_it(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("tim"))
    upload(client, SimpleUploadedFile("tim surname.pdf", make_pdf([["Hello."]])))
    run_tasks()
    stored = MaterialImport.objects.get()
    assert "surname" not in stored.storage_key
    assert uuid.UUID(stored.storage_key.removeprefix("files/"))
    url = reverse("ai_answers:material-file", args=["cs-101", stored.material_id])
    response = client.get(url)
    assert response["Content-Disposition"] == 'attachment; filename="tim surname.pdf"'
    assert b"".join(response.streaming_content).startswith(b"%PDF")  # type: ignore[attr-defined]  # a FileResponse
    student = signed_in(world.user("noor"))
    assert student.get(url).status_code == 403
    page = student.get(reverse("ai_answers:material", args=["cs-101", stored.material_id])).content.decode()
    assert "surname.pdf" not in page
    assert "Original file" not in page
    assert "Files being read" not in student.get(LIST).content.decode()


def test_a_file_that_cannot_be_read_says_why_and_leaves_nothing_half(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("tim"))
    upload(client, SimpleUploadedFile("scan.pdf", make_pdf([[""]])))
    run_tasks()
    assert "only pictures of it" in client.get(LIST).content.decode()
    assert not Material.objects.exists()
    assert not MaterialVersion.objects.exists()
    failed = MaterialImport.objects.get()
    client.post(reverse("ai_answers:retry-import", args=["cs-101", failed.pk]))
    failed.refresh_from_db()
    assert (failed.state, failed.problem) == (ImportState.QUEUED, "")
    run_tasks()
    failed.refresh_from_db()
    assert failed.state == ImportState.FAILED
    assert failed.upload is not None
    client.post(reverse("ai_answers:dismiss-import", args=["cs-101", failed.pk]))
    assert not MaterialImport.objects.exists()
    assert Upload.objects.get().attached_at is None  # deleted in a week


def test_an_import_can_be_cut_off_anywhere_and_done_again(tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    started = factories.make_import(tim)
    real = materials.store_version

    def die(*args: object, **kwargs: object) -> object:
        real(*args, **kwargs)  # type: ignore[arg-type]  # passed on as it came
        raise KeyboardInterrupt

    monkeypatch.setattr(import_actions, "store_version", die)
    with pytest.raises(KeyboardInterrupt):
        actions.read_import(started.pk)
    assert not Material.objects.exists()
    assert MaterialImport.objects.get().state == ImportState.READING
    monkeypatch.setattr(import_actions, "store_version", real)
    actions.read_import(started.pk)
    actions.read_import(started.pk)
    assert MaterialVersion.objects.count() == 1
    run_tasks()
    started.refresh_from_db()
    assert (started.state, started.passages_done, started.passages_total) == (ImportState.READY, 3, 3)


def test_a_slower_worker_stores_nothing(tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    started = factories.make_import(tim)

    def overtaken(file: object, format: str) -> Parsed:
        MaterialImport.objects.update(state=ImportState.READY)
        return parsed

    parsed = read_file(b"x", "text")
    monkeypatch.setattr(import_actions, "read_file", overtaken)
    actions.read_import(started.pk)
    assert not Material.objects.exists()
    actions.read_import(uuid.uuid4())


def test_a_task_that_keeps_failing_is_shown(tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    started = factories.make_import(tim)

    def broken(file: object, format: str) -> Parsed:
        raise TimeoutError

    monkeypatch.setattr(import_actions, "read_file", broken)

    def context(attempts: int) -> Any:
        return SimpleNamespace(job=SimpleNamespace(attempts=attempts))

    for attempt in range(IMPORT_ATTEMPTS):
        started.refresh_from_db()
        assert started.state != ImportState.FAILED
        with pytest.raises(TimeoutError):
            read_import_task.func(context(attempt), import_id=str(started.pk))
    started.refresh_from_db()
    assert started.state == ImportState.FAILED
    assert "several times" in started.problem


def test_what_changed_while_the_file_was_read_is_said(tim: Member) -> None:
    first = factories.make_import(tim, title="Same")
    factories.make_material(tim, title="Same")
    actions.read_import(first.pk)
    first.refresh_from_db()
    assert "already has a material called “Same”" in first.problem
    material = Material.objects.get()
    for change, sentence in (
        ({"title": "Other"}, "already has another material called"), ({"title": "Same"}, "was deleted meanwhile"),
    ):  # fmt: skip
        late = factories.make_import(tim, title=change["title"], material=material)
        if change["title"] == "Other":
            factories.make_material(tim, title="Other")
        else:
            actions.delete_material(by=tim, material=material)
        actions.read_import(late.pk)
        late.refresh_from_db()
        assert sentence in late.problem


def test_the_same_file_again_makes_no_version(tim: Member, world: World, signed_in: SignIn) -> None:
    started = factories.make_import(tim)
    run_tasks()
    started.refresh_from_db()
    again = factories.make_import(tim, material=started.material)
    run_tasks()
    again.refresh_from_db()
    assert (again.state, again.version, MaterialVersion.objects.count()) == (ImportState.READY, None, 1)
    assert "It says the same as before" in signed_in(world.user("ada")).get(LIST).content.decode()


def test_a_text_of_nothing_but_blanks_fails(tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_actions, "cut", lambda parsed: [])
    started = factories.make_import(tim)
    actions.read_import(started.pk)
    started.refresh_from_db()
    assert started.problem == Unreadable(Problem.NO_TEXT).sentence


def test_a_refused_file_is_said_and_a_file_is_read_once_it_is_checked(tim: Member) -> None:
    values: dict[str, Any] = {"by": tim, "kind": MaterialKind.LECTURE, "format": MaterialFormat.PDF}
    page = factories.sent_file(tim, "page.pdf", b"<html>not a PDF", Purpose.MATERIAL)
    good = factories.sent_file(tim, "good.pdf", make_pdf([["Hello."]]), Purpose.MATERIAL)
    refused = actions.start_import(title="Page", upload=page.pk, **values)
    waiting = actions.start_import(title="Good", upload=good.pk, **values)
    assert {refused.state, waiting.state} == {ImportState.CHECKING}
    run_tasks()
    refused.refresh_from_db()
    waiting.refresh_from_db()
    assert (refused.state, refused.problem) == (ImportState.FAILED, sentence_for(Rejection.MISMATCH))
    assert (waiting.state, waiting.storage_key) == (ImportState.READY, f"files/{good.pk}")
    with pytest.raises(Refused, match="isn’t there any more"):
        actions.retry_import(by=tim, failed=refused)
    with pytest.raises(Refused, match="isn’t there any more"):
        actions.start_import(title="Twice", upload=good.pk, **values)


def test_a_file_of_before_there_were_uploads_is_deleted_with_its_import(
    tim: Member, django_capture_on_commit_callbacks: Any
) -> None:
    started = factories.make_import(tim)
    MaterialImport.objects.update(state=ImportState.FAILED, upload=None)
    assert store().head(started.upload.storage_key) is not None  # type: ignore[union-attr]  # made with one
    with django_capture_on_commit_callbacks(execute=True):
        actions.dismiss_import(by=tim, failed=started)
    assert store().head(started.upload.storage_key) is None  # type: ignore[union-attr]  # made with one


def test_students_import_nothing_and_touch_no_import(world: World, sam: Member, tim: Member) -> None:
    failed = factories.make_import(tim)
    with pytest.raises(PermissionDenied):
        actions.start_import(by=sam, title="x", kind=MaterialKind.LAB, format=MaterialFormat.TEXT, upload=uuid.uuid4())
    for act in (actions.retry_import, actions.dismiss_import):
        with pytest.raises(PermissionDenied):
            act(by=sam, failed=failed)
    # What isn't failed can't be retried or dismissed.
    actions.retry_import(by=tim, failed=failed)
    actions.dismiss_import(by=tim, failed=failed)
    assert MaterialImport.objects.get().state == ImportState.QUEUED
    MaterialImport.objects.update(state=ImportState.FAILED, storage_key="")
    with pytest.raises(Refused):
        actions.retry_import(by=tim, failed=failed)
    MaterialImport.objects.update(upload=None)
    actions.dismiss_import(by=tim, failed=failed)
    assert not MaterialImport.objects.exists()


# Indexing


def test_a_new_version_takes_over_the_vectors_of_what_did_not_change(tim: Member) -> None:
    first = factories.make_material(tim, "# A\n\nStays as it is.\n\n# B\n\nChanges.")
    for number, passage in enumerate(first.passages.order_by("position")):
        embed(passage, number + 1.0)
    second = actions.import_material(
        by=tim, title="Lecture on functions", kind=MaterialKind.LECTURE, format=MaterialFormat.MARKDOWN,
        text="# New\n\nBefore.\n\n# A\n\nStays as it is.\n\n# B\n\nChanged.", material=first.material,
    )  # fmt: skip
    assert indexing.copy_vectors(second) == 1
    assert indexing.copy_vectors(second) == 0
    copied = PassageVector.objects.get(passage__version=second)
    assert copied.passage.heading.endswith("· A")
    assert list(copied.vector) == [1.0, 0.0]


def test_only_the_newest_version_is_embedded_and_progress_is_kept(tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    started = factories.make_import(tim)
    actions.read_import(started.pk)
    seen: list[tuple[int, int]] = []

    def index(keys: list[uuid.UUID]) -> int:
        seen.append((len(keys), MaterialImport.objects.get(pk=started.pk).passages_done))
        return len(keys)

    monkeypatch.setattr(indexing, "index_passages", index)
    monkeypatch.setattr(indexing, "BATCH", 2)
    started.refresh_from_db()
    assert started.version is not None
    actions.index_version(started.version.pk)
    assert seen == [(2, 0), (1, 2)]
    material = started.version.material
    newer = actions.import_material(
        by=tim, title="Uploaded", kind=MaterialKind.LAB, format=MaterialFormat.TEXT, text="Newer.", material=material
    )
    seen.clear()
    actions.index_version(started.version.pk)
    assert seen == []
    actions.index_version(newer.pk)
    assert seen == [(1, 3)]
    actions.index_version(uuid.uuid4())


def test_staff_see_how_far_indexing_is_and_how_long_it_will_take(
    world: World, tim: Member, sam: Member, signed_in: Callable[[User], Client]
) -> None:
    version = factories.make_material(tim, title="Uploaded")
    started = factories.make_import(tim, version=version)
    rows = MaterialImport.objects.filter(pk=started.pk)
    page = reverse("ai_answers:materials", args=[tim.course.slug])

    def shown(done: int, total: int) -> str:
        rows.update(state="indexing", passages_done=done, passages_total=total)
        return " ".join(signed_in(tim.user).get(page).content.decode().split())

    MaterialVersion.objects.filter(pk=version.pk).update(created_at=timezone.now() - timedelta(seconds=590))
    assert "passage 2500 of 10000 (25 %), about 30 minutes left</label>" in shown(2500, 10000)
    assert "passage 9990 of 10000 (99 %), about 1 minute left</label>" in shown(9990, 10000)
    assert "passage 0 of 3 (0 %)</label>" in shown(0, 3)
    assert "passage 0 of 0 (0 %)</label>" in shown(0, 0)
    assert "of 10000" in shown(1, 10000)
    # eve runs a course of the same name elsewhere.
    for other in (sam.user, world.user("eve"), world.user("pat")):
        assert b"of 10000" not in signed_in(other).get(page).content


def test_upkeep_has_embedded_what_has_no_vectors_and_nothing_without_a_model(
    tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = factories.make_material(tim)
    run_tasks("ai_answers.index_version")
    PassageVector.objects.filter(passage__in=version.passages.all()[1:]).delete()
    with monkeypatch.context() as without:
        without.setattr(indexing, "embedder", lambda: None)
        assert actions.index_missing() == 0
    assert actions.index_missing() == 1
    assert actions.index_missing() == 0, "its job waits already"
    run_tasks("ai_answers.index_version")
    assert not version.passages.filter(vectors=None).exists()
    assert actions.index_missing() == 0
    PassageVector.objects.all().delete()
    actions.delete_material(by=tim, material=version.material)
    assert actions.index_missing() == 0


def test_indexing_makes_way_after_its_turn_and_goes_on_where_it_was(
    tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = factories.make_import(tim)
    actions.read_import(started.pk)
    started.refresh_from_db()
    assert started.version is not None
    monkeypatch.setattr(indexing, "BATCH", 1)
    embedded: list[int] = []

    def counted(keys: list[uuid.UUID]) -> int:
        embedded.append(len(keys))
        return index_passages(keys)

    monkeypatch.setattr(indexing, "index_passages", counted)
    for turn in (1, 2):
        actions.index_version(started.version.pk, seconds=0)
        started.refresh_from_db()
        assert (started.passages_done, started.passages_total, started.state) == (turn, 3, "indexing")
        waiting = ProcrastinateJob.objects.get(task_name="ai_answers.index_version", status="todo")
        assert waiting.args["version_id"] == str(started.version.pk)
    # Somebody counted wrong, or died before counting: what is there decides.
    MaterialImport.objects.update(passages_done=0)
    run_tasks("ai_answers.index_version")
    started.refresh_from_db()
    assert (started.passages_done, started.state) == (3, "ready")
    assert embedded == [1, 1, 1]
    assert PassageVector.objects.filter(part=0).count() == 3


# Deleting


def test_a_deleted_material_is_gone_until_it_is_restored(
    world: World, signed_in: SignIn, tim: Member, noor: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Material] = []
    monkeypatch.setattr(materials, "enqueue_recheck", lambda *, material: checked.append(material))
    answer = factories.make_answer(world.member("sam"), tim)
    material = answer.citations.get(number=1).version.material
    client = signed_in(world.user("tim"))
    url = reverse("ai_answers:delete-material", args=["cs-101", material.pk])
    assert "1 answer quotes it. It will be withdrawn" in client.get(url).content.decode()
    client.post(url)
    assert checked == [material]
    actions.delete_material(by=tim, material=material)
    assert len(checked) == 1
    page = reverse("ai_answers:material", args=["cs-101", material.pk])
    assert client.get(page).status_code == 404
    assert not Passage.objects.visible_to(noor).exists()
    assert "Restore" in client.get(LIST).content.decode()
    assert "Restore" not in signed_in(world.user("noor")).get(LIST).content.decode()
    restore = reverse("ai_answers:restore-material", args=["cs-101", material.pk])
    other = factories.make_material(tim)
    assert "another material called" in client.post(restore, follow=True).content.decode()
    actions.delete_material(by=tim, material=other.material)
    assert client.post(restore)["Location"] == page
    assert client.post(restore).status_code == 404
    actions.restore_material(by=tim, material=material)
    verbs = AuditEvent.objects.filter(target_id=material.pk).values_list("verb", flat=True)
    assert {"material.deleted", "material.restored"} <= set(verbs)


def test_a_new_version_has_the_answers_checked(tim: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Material] = []
    monkeypatch.setattr(materials, "enqueue_recheck", lambda *, material: checked.append(material))
    first = factories.make_material(tim)
    assert checked == []
    actions.import_material(
        by=tim, title="x", kind=MaterialKind.LAB, format=MaterialFormat.TEXT, text="Other.", material=first.material
    )
    assert checked == [first.material]


def test_students_delete_and_restore_nothing(world: World, tim: Member, sam: Member) -> None:
    material = factories.make_material(tim).material
    for act in (actions.delete_material, actions.restore_material):
        with pytest.raises(PermissionDenied):
            act(by=sam, material=material)
    with pytest.raises(Material.DoesNotExist):
        actions.delete_material(by=world.member("pat", world.other_course), material=material)


# Pages


def test_what_changed_between_versions_can_be_read(world: World, signed_in: SignIn, tim: Member) -> None:
    first = factories.make_material(tim, "# A\n\nThe old words stand here.\n\n# B\n\nThe same.")
    client = signed_in(world.user("noor"))
    url = reverse("ai_answers:material-versions", args=["cs-101", first.material_id])
    assert "This is the first version" in client.get(url).content.decode()
    for text in ("# A\n\nThe new words stand here.\n\n# B\n\nThe same.", "x" * 12_000):
        actions.import_material(
            by=tim, title="Lecture on functions", kind=MaterialKind.LECTURE, format=MaterialFormat.MARKDOWN, text=text,
            material=first.material,
        )  # fmt: skip
    page = client.get(f"{url}?v=2").content.decode()
    assert "removed: </span>old</del>" in page
    assert "added: </span>new</ins>" in page
    assert "The same." not in page
    assert "x" * 1000 in client.get(url).content.decode()
    assert client.get(f"{url}?v=9").status_code == 404


def test_the_list_costs_the_same_at_any_length(world: World, signed_in: SignIn, tim: Member) -> None:
    client = signed_in(world.user("tim"))

    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(LIST)
        return len(queries)

    factories.make_material(tim, title="First")
    factories.make_import(tim, title="Import 0")
    client.get(LIST)
    before = cost()
    for number in range(1, 6):
        factories.make_material(tim, title=f"Material {number}")
        factories.make_import(tim, title=f"Import {number}")
    assert cost() == before


def test_the_page_asks_again_until_all_is_read(world: World, signed_in: SignIn, tim: Member) -> None:
    factories.make_import(tim)
    client = signed_in(world.user("tim"))
    url = reverse("ai_answers:imports", args=["cs-101"])
    assert 'hx-trigger="every 2s"' in client.get(url, headers={"HX-Request": "true"}).content.decode()
    run_tasks()
    done = client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert "hx-trigger" not in done
    assert "Show them in the list" in done
    assert client.get(url)["Location"] == LIST


def test_imports_of_another_course_do_not_exist(world: World, signed_in: SignIn, tim: Member) -> None:
    factories.make_import(tim, title="Canary title")
    for who, slug in (("pat", "math-221"), ("eve", "cs-101"), ("noor", "cs-101")):
        assert "Canary title" not in signed_in(world.user(who)).get(f"/c/{slug}/materials/").content.decode()


def test_a_file_being_read_keeps_its_title(world: World, signed_in: SignIn, tim: Member) -> None:
    factories.make_import(tim, title="Taken")
    response = signed_in(world.user("tim")).post(f"{LIST}add/", {"title": "Taken", "kind": "lab", "text": "x"})
    assert "already has a material with this title" in response.content.decode()


def test_nobody_makes_a_thread_by_hand(world: World, signed_in: SignIn) -> None:
    response = signed_in(world.user("tim")).post(f"{LIST}add/", {"title": "x", "kind": "thread", "text": "x"})
    assert response.status_code == 422
