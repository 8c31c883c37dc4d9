"""Django admin for the forum: it keeps to courses, shows no more than the pages, and moderates by the same rules."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member
from accounts.actions import audit
from accounts.models import AuditEvent, Course, CourseStatus, Enrollment, Institution, Role, User
from forum import actions
from forum.models import (
    Anonymity,
    Endorsement,
    Kind,
    Post,
    Pseudonym,
    Revision,
    Tag,
    Thread,
    ThreadRead,
    ThreadTag,
    Vote,
)
from tests import factories

pytestmark = pytest.mark.django_db
MODELS = (Thread, Post, Tag, ThreadTag, Revision, Vote, Endorsement, ThreadRead, Pseudonym)


class World:
    """Ada runs course A and omar course B of one institution, ivan course C of another; sam is a student of A."""

    def __init__(self) -> None:
        self.here = Institution.objects.create(name="Example University", slug="example")
        self.there = Institution.objects.create(name="Wombat College", slug="wombat")
        self.a, self.b = self.course(self.here, "AAA"), self.course(self.here, "BBB")
        self.c = self.course(self.there, "CCC")
        self.ada = self.member("ada", self.a, Role.INSTRUCTOR)
        self.omar = self.member("omar", self.b, Role.INSTRUCTOR)
        self.ivan = self.member("ivan", self.c, Role.TA)
        self.sam = self.member("sam", self.a, Role.STUDENT)
        self.root = User.objects.create_superuser("root@example.edu", display_name="Root Operator")

    def course(self, institution: Institution, code: str) -> Course:
        return Course.objects.create(institution=institution, code=code, name=code, term="Autumn", slug=code.lower())

    def member(self, key: str, course: Course, role: Role) -> Member:
        user = User.objects.create_user(
            f"{key}@mail.example",
            display_name=f"{key.title()} Person",
            institution=course.institution,
            is_staff=role != Role.STUDENT,
        )
        if role != Role.STUDENT:
            user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=("accounts", "forum")))
        Enrollment.objects.create(institution=course.institution, user=user, course=course, role=role)
        return Member(user, course, role)

    def thread(self, by: Member, title: str = "A question", **fields: Any) -> Thread:
        draft = actions.ThreadDraft(title=title, body=f"The body of {title}", **fields)
        return actions.start_thread(by=by, draft=draft, form_key=uuid.uuid4())

    def reply(self, by: Member, thread: Thread, **fields: Any) -> Post:
        return actions.add_reply(by=by, thread=thread, body="A reply", form_key=uuid.uuid4(), **fields)

    def fill(self, staff: Member, count: int = 1, student: Member | None = None, **fields: Any) -> None:
        """Make `count` rows of every model in the course of `staff`, written by `student`."""
        author = student or self.member(f"student-{uuid.uuid4().hex[:8]}", staff.course, Role.STUDENT)
        anonymity = fields.setdefault("anonymity", Anonymity.ALL)
        for _ in range(count):
            tag = Tag.objects.create(
                institution=staff.course.institution, course=staff.course, name="Tag", slug=uuid.uuid4().hex
            )
            thread = self.thread(author, f"Title {uuid.uuid4().hex}", tags=[tag], **fields)
            post = self.reply(author, thread, anonymity=anonymity)
            actions.edit_thread(by=author, thread=thread, title="Another title", body="Another body", tags=[tag])
            actions.edit_post(by=author, post=post, body="Another reply")
            actions.set_vote(by=staff, target=thread, on=True)
            actions.set_vote(by=staff, target=post, on=True)
            actions.set_endorsement(by=staff, post=post, on=True)


@pytest.fixture
def world() -> World:
    return World()


def browser(who: Member | User) -> Client:
    return factories.browser(who.user if isinstance(who, Member) else who)


def list_url(model: Any) -> str:
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")


def row_url(row: Any, page: str = "change") -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{page}", args=[row.pk])


def shown(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()


def bulk(client: Client, action: str, *rows: Any) -> str:
    """Do a bulk action; return what the page says after it."""
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    response = client.post(list_url(type(rows[0])), data, follow=True)
    return " ".join(str(message) for message in response.context["messages"])


@pytest.mark.parametrize("who", ["ada", "root"])
def test_every_list_and_row_opens(world: World, who: str) -> None:
    world.fill(world.ada)
    client = browser(getattr(world, who))
    for model in MODELS:
        row = model._default_manager.all()[0]
        assert str(row.pk) in shown(client, list_url(model))
        shown(client, row_url(row))
        shown(client, row_url(row, "history"))
        assert client.get(f"{list_url(model)}?q=7").status_code == 200


def test_rows_are_found_by_what_they_belong_to(world: World) -> None:
    thread = world.thread(world.sam, "A zebra crosses", tags=[])
    post = world.reply(world.sam, thread)
    tag = Tag.objects.create(institution=world.here, course=world.a, name="Savanna", slug="savanna")
    actions.edit_thread(by=world.sam, thread=thread, title=thread.title, body="It does.", tags=[tag])
    actions.set_vote(by=world.ada, target=thread, on=True)
    actions.set_vote(by=world.ada, target=post, on=True)
    actions.set_endorsement(by=world.ada, post=post, on=True)
    world.fill(world.ada)
    world.fill(world.omar)

    def found(who: Member | User, model: Any, typed: str) -> list[Any]:
        client = factories.browser(who.user, None) if isinstance(who, Member) else factories.browser(who, world.here)
        return list(client.get(list_url(model), {"q": typed}).context["cl"].queryset)

    for who in (world.ada, world.root):
        for typed in ("zebra", "crosses ZEBRAS"):
            assert {row.thread_id or row.post_id for row in found(who, Vote, typed)} == {thread.pk, post.pk}
        assert {thread.pk, post.pk} <= {row.thread_id or row.post_id for row in found(who, Vote, f"#{thread.number}")}
        for typed in ("savanna", "zebra"):
            assert [row.tag_id for row in found(who, ThreadTag, typed)] == [tag.pk]
        assert len(found(who, Endorsement, "Ada Person")) == 2
        assert found(who, Endorsement, "nobody at all") == []
    for other in (world.omar, world.ivan):
        assert [found(other, model, "zebra") for model in (Vote, ThreadTag, Endorsement, ThreadRead)] == [[]] * 4
        assert found(other, Endorsement, "Ada Person") == []
    assert "Found by thread: what is typed is looked for as under Threads." in shown(browser(world.ada), list_url(Vote))
    assert "Found by thread or tag: what is typed is looked for as under Threads and Tags." in shown(
        browser(world.ada), list_url(ThreadTag)
    )
    assert "Also found by thread" in shown(browser(world.ada), list_url(Pseudonym))


@pytest.mark.parametrize("model", MODELS)
def test_staff_see_nothing_of_other_courses(world: World, model: Any) -> None:
    client = browser(world.ada)
    for staff in (world.omar, world.ivan):
        world.fill(staff)
    assert not client.get(list_url(model)).context["cl"].queryset.exists()
    for row in model._default_manager.all():
        assert client.get(row_url(row)).status_code == 302
        assert client.get(row_url(row, "history")).status_code == 302
    world.fill(world.ada)
    assert client.get(list_url(model)).context["cl"].queryset.exists()


@pytest.mark.parametrize("who", ["ada", "root"])
@pytest.mark.parametrize("model", MODELS)
def test_a_list_costs_the_same_at_any_length(world: World, who: str, model: Any) -> None:
    client = browser(getattr(world, who))
    world.fill(world.ada)
    shown(client, list_url(model))
    with CaptureQueriesContext(connection) as few:
        shown(client, list_url(model))
    world.fill(world.ada, 29)
    with CaptureQueriesContext(connection) as many:
        shown(client, list_url(model))
    assert len(many) == len(few), [q["sql"][:300] for q in many]


@pytest.mark.parametrize("who", ["ada", "root"])
def test_a_hidden_author_appears_nowhere(world: World, who: str) -> None:
    world.fill(world.ada, student=world.sam)
    thread = Thread.objects.get()
    actions.set_resolved(by=world.sam, thread=thread, resolved=True)
    post = Post.objects.get()
    actions.delete_post(by=world.sam, post=post)
    client = browser(getattr(world, who))
    assert thread.pseudonym is not None
    for model in (*MODELS, AuditEvent):
        pages = [list_url(model)]
        for row in model._default_manager.all():
            pages += [row_url(row), row_url(row, "history")]
            if who == "root" and model is not AuditEvent:
                pages.append(row_url(row, "delete"))
        for url in pages:
            page = shown(client, url)
            for secret in ("Sam Person", "sam@mail.example", str(world.sam.user.pk)):
                assert secret not in page, (url, secret)
    assert thread.pseudonym.name in shown(client, list_url(Thread))
    for model in (Thread, Post, Pseudonym, Vote, ThreadRead):
        for words in ("Sam", "Person", "mail.example"):
            assert not client.get(f"{list_url(model)}?q={words}").context["cl"].queryset.exists()


def test_staff_see_who_hides_from_classmates_only(world: World) -> None:
    world.fill(world.ada, student=world.sam, anonymity=Anonymity.CLASSMATES)
    for model in (Thread, Post):
        assert "Sam Person" in shown(browser(world.ada), list_url(model))
        assert "Sam Person" in shown(browser(world.ada), row_url(model._default_manager.get()))


def test_a_deleted_user_and_a_named_one_are_shown_as_on_the_pages(world: World) -> None:
    named = world.thread(world.sam)
    assert "Sam Person" in shown(browser(world.ada), list_url(Thread))
    Thread.objects.filter(pk=named.pk).update(author=None)
    assert "Deleted user" in shown(browser(world.ada), list_url(Thread))


def test_nobody_finds_out_by_filtering_or_ordering(world: World) -> None:
    world.fill(world.ada, student=world.sam)
    client = browser(world.ada)
    sam = world.sam.user.pk
    tries = {
        Thread: (
            f"author={sam}", f"author__id__exact={sam}", "author__email__startswith=s", f"deleted_by={sam}",
            f"pseudonym__user={sam}", f"reads__user={sam}", f"course__threads__author={sam}", "accepted_post__author=1",
        ),
        Post: (f"author={sam}", f"author__id__exact={sam}", "is_by_staff__exact=0", f"thread__author={sam}"),
        Pseudonym: (f"user={sam}", f"user__id__exact={sam}", f"thread__author={sam}"),
        Vote: (f"user={sam}", f"user__id__exact={sam}"),
        ThreadRead: (f"user={sam}", f"user__id__exact={sam}"),
    }  # fmt: skip
    for model, lookups in tries.items():
        for lookup in lookups:
            assert client.get(f"{list_url(model)}?{lookup}").status_code == 400, lookup
    for model in (Thread, Post):
        columns = client.get(list_url(model)).context["cl"].get_ordering_field_columns()
        page = client.get(list_url(model)).context["cl"]
        assert page.get_ordering_field("shown_author") is None
        assert "author" not in str(columns)


def test_allowed_filters_work(world: World) -> None:
    world.fill(world.ada)
    client = browser(world.ada)
    course = f"course__id__exact={world.a.pk}"
    year = f"created_at__year={Thread.objects.get().created_at.year}"
    for query in (course, "status__exact=open", "deleted_at__isempty=1", year, "is_pinned__exact=0"):
        assert client.get(f"{list_url(Thread)}?{query}").status_code == 200, query
    assert client.get(f"{list_url(Post)}?thread__{course}").context["cl"].queryset.count() == 1
    number = Thread.objects.get().number
    assert client.get(f"{list_url(Thread)}?q={number}").context["cl"].queryset.exists()


@pytest.mark.parametrize("who", ["ada", "root"])
def test_texts_and_reactions_cant_be_written_here(world: World, who: str) -> None:
    world.fill(world.ada)
    client = browser(getattr(world, who))
    for model in (Thread, Post, Revision, Vote, Endorsement, ThreadRead, Pseudonym):
        row = model._default_manager.all()[0]
        before = model._default_manager.filter(pk=row.pk).values().get()
        assert client.get(f"{list_url(model)}add/").status_code == 403
        assert client.post(row_url(row), {"body": "Changed", "title": "Changed", "author": ""}).status_code == 403
        assert model._default_manager.filter(pk=row.pk).values().get() == before


def test_staff_erase_nothing_and_nobody_erases_threads_in_bulk(world: World) -> None:
    world.fill(world.ada)
    for model in MODELS:
        row = model._default_manager.all()[0]
        assert browser(world.ada).post(row_url(row, "delete"), {"post": "yes"}).status_code == 403
    for who in (world.ada, world.root):
        for model in (Thread, Post):
            client = browser(who)
            assert "delete_selected" not in shown(client, list_url(model))
            row = model._default_manager.get()
            client.post(list_url(model), {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"})
            assert model._default_manager.filter(pk=row.pk).exists()


def test_the_row_leads_to_the_page(world: World) -> None:
    thread = world.thread(world.sam)
    world.reply(world.ada, thread)
    for model in (Thread, Post):
        assert f'href="{thread.get_absolute_url()}"' in shown(browser(world.ada), list_url(model))
        assert f'href="{thread.get_absolute_url()}"' in shown(browser(world.ada), row_url(model._default_manager.get()))


# Tags


def test_operators_add_tags_and_staff_rename_them(world: World) -> None:
    root, ada = browser(world.root), browser(world.ada)
    new = {"course": str(world.a.pk), "name": "Homework", "slug": "homework"}
    assert ada.post(f"{list_url(Tag)}add/", new).status_code == 403
    assert root.post(f"{list_url(Tag)}add/", new).status_code == 302
    tag = Tag.objects.get()
    assert tag.institution == world.here
    moved = {"name": "Exercises", "slug": "exercises", "course": str(world.b.pk)}
    assert ada.post(row_url(tag), moved).status_code == 302
    tag.refresh_from_db()
    assert (tag.name, tag.course) == ("Exercises", world.a)
    assert AuditEvent.objects.get(verb="tag.changed").actor == world.ada.user
    Tag.objects.create(institution=world.here, course=world.a, name="Taken", slug="taken")
    assert ada.post(row_url(tag), {"name": "Exercises", "slug": "taken"}).status_code == 200
    world.a.status = CourseStatus.ARCHIVED
    world.a.save()
    assert ada.post(row_url(tag), moved).status_code == 403


def test_a_tag_of_another_course_is_refused(world: World) -> None:
    thread = world.thread(world.sam)
    ours = Tag.objects.create(institution=world.here, course=world.a, name="Ours", slug="ours")
    theirs = Tag.objects.create(institution=world.there, course=world.c, name="Theirs", slug="theirs")
    client, url = browser(world.root), f"{list_url(ThreadTag)}add/"
    assert client.post(url, {"thread": str(thread.pk), "tag": str(theirs.pk)}).status_code == 200
    assert client.post(url, {"thread": str(thread.pk), "tag": str(ours.pk)}).status_code == 302
    assert ThreadTag.objects.get().institution == world.here


# Bulk actions


@pytest.mark.parametrize("who", ["ada", "root"])
def test_threads_are_moderated_in_bulk(world: World, who: str) -> None:
    threads = [world.thread(world.sam, f"Question {n}") for n in range(3)]
    client = browser(getattr(world, who))

    def all_of(field: str) -> set[Any]:
        return set(Thread.objects.values_list(field, flat=True))

    for action, done, verb, field, expected in (
        ("pin", "pinned", "thread.pinned", "is_pinned", {True}),
        ("unpin", "unpinned", "thread.unpinned", "is_pinned", {False}),
        ("lock", "locked", "thread.locked", "is_locked", {True}),
        ("unlock", "unlocked", "thread.unlocked", "is_locked", {False}),
        ("resolve", "resolved", "thread.resolved", "status", {"resolved"}),
        ("reopen", "reopened", "thread.reopened", "status", {"open"}),
    ):
        assert bulk(client, action, *threads) == f"3 threads {done}."
        assert all_of(field) == expected
        assert AuditEvent.objects.filter(verb=verb, course=world.a).count() == 3
    assert bulk(client, "delete", *threads) == "3 threads deleted."
    assert None not in all_of("deleted_at")
    assert bulk(client, "restore", threads[0]) == "1 thread restored."
    assert Thread.objects.filter(deleted_at=None).count() == 1
    user = world.root if who == "root" else world.ada.user
    assert set(AuditEvent.objects.values_list("actor", flat=True)) == {user.pk}


def test_posts_are_moderated_in_bulk(world: World) -> None:
    thread = world.thread(world.sam)
    posts = [world.reply(world.sam, thread) for _ in range(3)]
    client = browser(world.ada)
    assert bulk(client, "endorse", *posts) == "3 posts endorsed."
    assert Endorsement.objects.filter(endorser=world.ada.user, role=Role.INSTRUCTOR).count() == 3
    assert bulk(client, "unendorse", *posts) == "3 posts unendorsed."
    assert not Endorsement.objects.exists()
    assert bulk(client, "delete", *posts) == "3 posts deleted."
    assert not Post.objects.filter(deleted_at=None).exists()
    assert bulk(client, "restore", *posts) == "3 posts restored."
    assert Post.objects.filter(deleted_at=None).count() == 3
    assert AuditEvent.objects.filter(actor=world.ada.user, course=world.a).count() == 12


def unchanged(change: Callable[[], str]) -> str:
    """Return what was said; nothing may have changed by it."""

    def everything() -> list[Any]:
        return [
            list(model._default_manager.order_by("pk").values()) for model in (Thread, Post, Endorsement, AuditEvent)
        ]

    before = everything()
    said = change()
    assert everything() == before
    return said


def test_one_refused_row_undoes_the_others_and_is_named(world: World) -> None:
    client = browser(world.ada)
    question = world.thread(world.sam, "A question")
    news = world.thread(world.ada, "An announcement", kind=Kind.ANNOUNCEMENT)
    gone = world.thread(world.sam, "A deleted one")
    actions.delete_thread(by=world.ada, thread=gone)
    said = unchanged(lambda: bulk(client, "resolve", question, news))
    assert said == (
        "Nothing was changed. #2 An announcement can't be resolved: there is nothing to settle in an announcement."
    )
    assert "it is deleted" in unchanged(lambda: bulk(client, "delete", question, gone))
    assert "it isn't deleted" in unchanged(lambda: bulk(client, "restore", gone, question))
    theirs, own = world.reply(world.sam, question), world.reply(world.ada, question)
    said = unchanged(lambda: bulk(client, "endorse", theirs, own))
    assert said == f"Nothing was changed. {own} in #1 A question can't be endorsed: it is your own."


def test_an_archived_course_stays_as_it_is(world: World) -> None:
    thread = world.thread(world.sam)
    post = world.reply(world.sam, thread)
    world.a.status = CourseStatus.ARCHIVED
    world.a.save()
    for who in (world.ada, world.root):
        client = browser(who)
        for row, names in (
            (thread, ("pin", "unpin", "lock", "unlock", "resolve", "reopen", "delete", "restore")),
            (post, ("endorse", "unendorse", "delete", "restore")),
        ):
            for name in names:
                assert "archived" in unchanged(lambda c=client, n=name, r=row: bulk(c, n, r))  # type: ignore[misc]


def test_rows_of_other_courses_arent_touched(world: World) -> None:
    theirs = world.thread(Member(world.omar.user, world.b, Role.INSTRUCTOR))
    unchanged(lambda: bulk(browser(world.ada), "pin", theirs))


def test_somebody_no_longer_staff_changes_nothing(world: World) -> None:
    thread = world.thread(world.sam)
    Enrollment.objects.filter(user=world.ada.user).update(role=Role.STUDENT)
    unchanged(lambda: bulk(browser(world.ada), "pin", thread))


def test_without_the_right_to_change_there_are_no_actions(world: World) -> None:
    thread = world.thread(world.sam)
    world.ada.user.user_permissions.set(Permission.objects.filter(codename="view_thread"))
    assert 'value="pin"' not in shown(browser(world.ada), list_url(Thread))
    unchanged(lambda: bulk(browser(world.ada), "pin", thread))


def test_ones_own_hidden_text_isnt_given_away_by_the_log(world: World) -> None:
    as_student = Member(world.ada.user, world.ada.course, Role.STUDENT)  # before she ran the course
    own = world.thread(as_student, "Hidden one", anonymity=Anonymity.ALL)
    other = world.thread(world.sam, "Other one")
    said = unchanged(lambda: bulk(browser(world.ada), "delete", own, other))
    assert "your own, under a pseudonym" in said
    assert bulk(browser(world.ada), "delete", own) == "1 thread deleted."
    assert AuditEvent.objects.get(verb="thread.deleted").actor is None


def test_the_role_is_looked_up_once_per_course(world: World) -> None:
    threads = [world.thread(world.sam, f"Question {n}") for n in range(3)]
    client = browser(world.ada)
    data = {"action": "pin", "_selected_action": [str(t.pk) for t in threads]}
    with CaptureQueriesContext(connection) as queries:
        client.post(list_url(Thread), data)
    looked_up = [q for q in queries if q["sql"].startswith('SELECT "accounts_enrollment"')]
    assert len(looked_up) == 1


def test_what_an_operator_does_to_many_courses_is_noted_in_each(world: World) -> None:
    audit("course.looked-at", world.b, by=world.root, course=world.b)
    threads = [
        world.thread(world.sam, "In course A"),
        world.thread(Member(world.root, world.b, Role.INSTRUCTOR), "In course B"),
    ]
    assert bulk(browser(world.root), "lock", *threads) == "2 threads locked."
    assert {e.course for e in AuditEvent.objects.filter(verb="thread.locked")} == {world.a, world.b}
