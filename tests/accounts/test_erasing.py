"""Who goes is gone: what was theirs alone is deleted, what they wrote stays under nobody's name."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.db import IntegrityError, connection, models
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import actions, privacy, tasks
from accounts.access import Refused
from accounts.actions import erasing
from accounts.models import AuditEvent, Consent, DataExport, Enrollment, Erasure, ErasureState, Role, Upload, User
from ai_answers.models import Conversation, Disclosure, Message, ModelCall
from forum import actions as forum_actions
from forum.models import Anonymity, Draft, Flag, Notification, Post, Pseudonym, Thread, Vote
from quokkaq.lib.sealing import seal
from quokkaq.lib.storage import store
from tests import factories
from tests.accounts.test_own_data import Life, build
from tests.accounts.test_signing_in import add_app, code_of
from tests.factories import PASSWORD, World
from tests.forum import test_anonymity_suite as anonymity
from tests.forum.test_anonymity_suite import Scene
from tests.tasks import run_tasks

pytestmark = pytest.mark.django_db
SignIn = Callable[[User], Client]


def erase(person: User) -> Erasure:
    """Have somebody erased whose week is over."""
    erasure = actions.request_erasure(by=person, person=person)
    Erasure.objects.filter(pk=erasure.pk).update(due_at=timezone.now() - timedelta(seconds=1))
    actions.erase_person(erasure.pk)
    erasure.refresh_from_db()
    return erasure


def holding(words: list[str]) -> list[str]:
    """Return the columns of the whole database, and what they hold, in which one of the words stands."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('text', 'character varying', 'json', 'jsonb', 'tsvector', 'uuid')"
            " AND table_name NOT LIKE 'django_migrations'"
        )
        columns = cursor.fetchall()
        for table, column in columns:
            for word in words:
                cursor.execute(f"SELECT count(*) FROM {table} WHERE {column}::text ILIKE %s", [f"%{word}%"])
                if cursor.fetchone()[0]:
                    found.append(f"{table}.{column} holds {word}")
    return found


def test_nothing_is_left_of_what_was_theirs_alone(world: World, django_capture_on_commit_callbacks: Any) -> None:
    life = Life(world)
    sam = life.sam.user
    build(sam)
    keys = [file.storage_key for file in (life.named_file, life.hidden_file)]
    export = DataExport.objects.get().upload
    assert export is not None
    keys.append(export.storage_key)
    LogEntry.objects.create(
        user=world.user("ada"), content_type=ContentType.objects.get_for_model(User), object_id=str(sam.pk),
        object_repr=sam.display_name, action_flag=2,
    )  # fmt: skip
    with django_capture_on_commit_callbacks(execute=True):
        erasure = erase(sam)
    assert erasure.state == ErasureState.DONE
    assert holding(
        ["sam@example.edu", "Surname-sam", "Sams half a draft", "Sams complaint", "Sams judgement", "Sams private",
         "Sams sent text", "Sams talk", "sams-notes", "sams-secret"]
    ) == []  # fmt: skip
    assert [key for key in keys if store().head(key) is not None] == []
    sam.refresh_from_db()
    assert (sam.display_name, sam.is_active, sam.has_usable_password()) == ("Deleted user", False, False)
    assert sam.email.endswith(".invalid")
    for model in (Draft, Vote, Conversation, Message, Disclosure, Upload, DataExport):
        kept = model._default_manager.all()
        assert not kept.exists() or model in (Upload, Vote), model
    assert not Vote.objects.filter(user=sam).exists()
    assert ModelCall.objects.get(engine="openai").user is None
    assert Flag.objects.get().user is None
    assert Consent.objects.filter(user=sam).count() == 1
    assert AuditEvent.objects.filter(actor=sam).exists(), "the log goes on, by key"
    assert Post.objects.filter(author=sam).exists()
    call_command("check_counters")


def test_every_cascade_to_a_person_is_empty_or_stays_on_purpose(world: World) -> None:
    life = Life(world)
    erase(life.sam.user)
    stays = {
        (part.model, owner) for part in privacy.parts() for owner in part.owners if isinstance(part.fate, privacy.Stays)
    }
    for model in apps.get_models(include_auto_created=True):
        for column in model._meta.concrete_fields:
            if isinstance(column, models.ForeignKey) and column.related_model is User:
                kept = (model, column.name) in stays
                if not kept and column.remote_field.on_delete is models.CASCADE:
                    assert not model._base_manager.filter(**{column.name: life.sam.user}).exists(), model


def test_what_they_posted_stays_under_nobodys_name(world: World, signed_in: SignIn) -> None:
    life = Life(world)
    name = Pseudonym.objects.get(thread=life.hidden).name
    erase(life.sam.user)
    for who in ("noor", "tim", "ada"):
        client = signed_in(world.user(who))
        page = client.get(reverse("forum:thread", args=["cs-101", life.open.number])).content.decode()
        assert "Deleted user" in page
        assert "Sams last words" in page
        assert "A file was removed." in page
        assert "Surname-sam" not in page
        page = client.get(reverse("forum:thread", args=["cs-101", life.hidden.number])).content.decode()
        assert name in page
        assert "Deleted user" not in page, "nothing says that it was the one who hides here who left"
        assert "A file was removed" not in page
        assert client.get(reverse("accounts:file", args=[life.named_file.pk])).status_code == 404
        listed = client.get(reverse("forum:list", args=["cs-101"])).content.decode()
        assert "Surname-sam" not in listed


def test_staff_no_longer_see_who_hid_from_classmates_only(world: World, signed_in: SignIn) -> None:
    thread = factories.make_thread(world.member("sam"), "Hidden from classmates", anonymity="classmates")
    tim = signed_in(world.user("tim"))
    url = reverse("forum:thread", args=["cs-101", thread.number])
    assert "Surname-sam" in tim.get(url).content.decode()
    erase(world.user("sam"))
    page = tim.get(url).content.decode()
    assert "Deleted user" not in page
    assert Pseudonym.objects.get(thread=thread).name in page


@pytest.mark.drill
@pytest.mark.parametrize("surface", ["records", "audit_page", "mails_of_one_thread", "statistics", "feeds"])
def test_no_surface_tells_that_who_hides_has_left(surface: str) -> None:
    """The swap of the anonymity suite, after sam is erased: who stands behind a pseudonym, sam or noor, shows nowhere."""
    scene = Scene(Anonymity.ALL)
    erase(scene.sam.user)
    scene.sam.user.refresh_from_db()
    read: Any = getattr(anonymity, surface)
    found = [leak for who in ("tim", "ada", "lena") for leak in anonymity.leaks(read, scene, who)]
    # That sam asked to be erased is noted openly, and in no course.
    openly = [str(key) for key in AuditEvent.objects.filter(course=None).values_list("pk", flat=True)]
    assert [leak for leak in found if not leak.startswith(tuple(openly))] == []


def test_nobody_tells_an_erased_person_anything(world: World) -> None:
    life = Life(world)
    erase(life.sam.user)
    mail.outbox.clear()
    forum_actions.set_endorsement(by=life.tim, post=life.own_reply, on=True)
    factories.make_post(life.noor, life.hidden, f"Hello @{Pseudonym.objects.get(thread=life.hidden).name}")
    factories.make_post(life.tim, life.open, "An answer to nobody")
    run_tasks(even_later=True)
    assert not Notification.objects.filter(user=life.sam.user).exists()
    assert [message for message in mail.outbox if "invalid" in message.to[0]] == []


def test_killed_in_the_middle_it_goes_on_from_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(world)
    sam = life.sam.user
    erasure = actions.request_erasure(by=sam, person=sam)
    Erasure.objects.update(due_at=timezone.now())
    all_steps = privacy.steps()

    class Killed(BaseException):
        pass

    def killing(person: User) -> int:
        raise Killed

    for cut in range(0, len(all_steps), 7):
        with monkeypatch.context() as patch:
            patch.setattr(privacy, "steps", lambda cut=cut: [*all_steps[:cut], killing])
            with pytest.raises(Killed):
                actions.erase_person(erasure.pk)
    erasure.refresh_from_db()
    assert erasure.state == ErasureState.RUNNING
    with pytest.raises(Refused):
        actions.cancel_erasure(by=sam)
    assert actions.enqueue_due_erasures() == 1
    run_tasks(actions.ERASE_TASK)
    erasure.refresh_from_db()
    assert erasure.state == ErasureState.DONE
    assert holding(["sam@example.edu", "Surname-sam"]) == []
    before = list(User.objects.values())
    actions.erase_person(erasure.pk)  # a second worker comes too late
    assert list(User.objects.values()) == before


def test_rows_are_erased_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(world)
    monkeypatch.setattr(privacy, "BATCH", 1)
    for number in range(3):
        target = factories.make_thread(life.noor, f"Noors question {number}")
        forum_actions.set_vote(by=life.sam, target=target, on=True)
    erase(life.sam.user)
    assert not Vote.objects.filter(user=life.sam.user).exists()
    call_command("check_counters")


def test_their_sessions_end(world: World, signed_in: SignIn) -> None:
    sam, noor = signed_in(world.user("sam")), signed_in(world.user("noor"))
    erase(world.user("sam"))
    assert sam.get("/me/").status_code == 302
    assert noor.get("/me/").status_code == 200
    assert Session.objects.count() == 1


def test_the_address_is_free_again(world: World) -> None:
    erase(world.user("sam"))
    again = actions.register_person(institution=world.institution, email="sam@example.edu", display_name="Sam again")
    assert not Thread.objects.filter(author=again).exists()


def test_an_erased_account_cant_be_used_again(world: World) -> None:
    erase(world.user("sam"))
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=world.user("sam").pk).update(is_active=True)


def test_the_page_says_what_happens_and_asks_twice(world: World, signed_in: SignIn, settings: Any) -> None:
    settings.BACKUP_RETENTION_DAYS = 47
    client = signed_in(world.user("sam"))
    url = reverse("accounts:erase")
    page = client.get(url).content.decode()
    assert "Deleted user" in page
    assert "47 days" in page
    for sent in (
        {}, {"password": "wrong", "word": "erase me"}, {"password": PASSWORD, "word": "yes"}, {"word": "erase me"},
    ):  # fmt: skip
        assert client.post(url, sent).status_code == 422
    assert not Erasure.objects.exists()
    assert client.post(url, {"password": PASSWORD, "word": " Erase me "}).status_code == 302
    page = client.get(url).content.decode()
    assert "Keep my account" in page
    assert 'name="password"' not in page
    run_tasks()
    (message,) = mail.outbox
    assert "Keep my account" in message.body
    assert "as an administrator asked" not in message.body


def test_it_can_be_taken_back_for_a_week(world: World, signed_in: SignIn) -> None:
    sam = world.user("sam")
    actions.request_erasure(by=sam, person=sam)
    actions.request_erasure(by=sam, person=sam)
    erasure = Erasure.objects.get()
    actions.erase_person(erasure.pk)  # not yet
    assert actions.enqueue_due_erasures() == 0
    client = Client()
    client.post(reverse("accounts:sign-in"), {"email": sam.email, "password": PASSWORD})
    assert "will be erased" in client.get("/courses/").content.decode()
    assert "Keep my account" in client.get(reverse("accounts:data")).content.decode()
    assert client.post(reverse("accounts:keep-account")).status_code == 302
    erasure.refresh_from_db()
    assert erasure.state == ErasureState.CANCELLED
    Erasure.objects.update(due_at=timezone.now() - timedelta(days=1))
    actions.erase_person(erasure.pk)
    sam.refresh_from_db()
    assert sam.is_active
    assert client.post(reverse("accounts:keep-account")).status_code == 302  # nothing to keep, no harm
    verbs = AuditEvent.objects.filter(target_id=erasure.pk).order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["erasure.requested", "erasure.cancelled"]


def test_while_it_runs_the_page_says_that_it_cant_be_stopped(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    actions.request_erasure(by=world.user("sam"), person=world.user("sam"))
    Erasure.objects.update(state="running")
    response = client.post(reverse("accounts:keep-account"), follow=True)
    assert "can’t be stopped" in response.content.decode()


def test_the_last_instructor_stays_until_there_is_another(world: World, signed_in: SignIn) -> None:
    ada = world.user("ada")
    page = signed_in(ada).get(reverse("accounts:erase")).content.decode()
    assert "only instructor of CS-101" in page
    assert 'name="password"' not in page
    response = signed_in(ada).post(reverse("accounts:erase"), {"password": PASSWORD, "word": "erase me"})
    assert response.status_code == 422
    with pytest.raises(Refused, match="CS-101"):
        actions.request_erasure(by=ada, person=ada)
    Enrollment.objects.filter(user=world.user("tim")).update(role=Role.INSTRUCTOR)
    erasure = actions.request_erasure(by=ada, person=ada)
    Enrollment.objects.filter(user=world.user("tim")).update(role=Role.TA)
    Erasure.objects.update(due_at=timezone.now())
    actions.erase_person(erasure.pk)
    erasure.refresh_from_db()
    assert erasure.state == ErasureState.SCHEDULED, "it waits: somebody has to run the course"
    assert "It waits" in signed_in(ada).get(reverse("accounts:erase")).content.decode()
    factories.archive(world.course)
    actions.erase_person(erasure.pk)
    ada.refresh_from_db()
    assert ada.erased_at is not None


def test_the_only_operator_stays(world: World) -> None:
    root = User.objects.create_superuser("root@example.edu", display_name="Root")
    with pytest.raises(Refused, match="only operator"):
        actions.request_erasure(by=root, person=root)
    User.objects.create_superuser("root2@example.edu", display_name="Second")
    assert erase(root).state == ErasureState.DONE
    root.refresh_from_db()
    assert not root.is_superuser
    with pytest.raises(Refused, match="already"):
        actions.request_erasure(by=root, person=root)


def test_an_operator_begins_it_for_somebody_and_it_is_noted(world: World, signed_in: SignIn) -> None:
    root = User.objects.create_superuser("root@example.edu", display_name="Root")
    url = reverse("admin:accounts_user_changelist")
    chosen = [str(world.user(name).pk) for name in ("sam", "ada")]
    client = signed_in(root)
    page = client.post(url, {"action": "erase", "_selected_action": chosen}, follow=True).content.decode()
    assert "Ada" in page, "who can't go yet is named"
    erasure = Erasure.objects.get()
    assert (erasure.user, erasure.requested_by) == (world.user("sam"), root)
    assert AuditEvent.objects.get(verb="erasure.requested").actor == root
    run_tasks()
    assert "as an administrator asked" in mail.outbox[-1].body
    User.objects.filter(pk=world.user("tim").pk).update(is_staff=True)
    tim = signed_in(world.user("tim"))
    tim.post(url, {"action": "erase", "_selected_action": [str(world.user("noor").pk)]})
    assert Erasure.objects.count() == 1, "course staff can't"


def test_rows_nobody_claimed_go_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another app ties to an account, and says nothing about, goes with it."""
    life = Life(world)
    monkeypatch.setattr(privacy, "_parts", {k: v for k, v in privacy._parts.items() if k not in ("votes", "drafts")})
    erase(life.sam.user)
    assert not Vote.objects.filter(user=life.sam.user).exists()
    assert not Draft.objects.exists()


def test_the_last_mail_may_fail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(erasing, "mail_person", broken)
    assert erase(world.user("sam")).state == ErasureState.DONE


def test_mails_wait_for_nobody(world: World, settings: Any) -> None:
    sam = world.user("sam")
    erasure = actions.request_erasure(by=sam, person=sam)
    Erasure.objects.update(state="cancelled")
    tasks.mail_erasure.func(str(erasure.pk))
    settings.MAIL_IS_ON = False
    Erasure.objects.update(state="scheduled")
    tasks.mail_erasure.func(str(erasure.pk))
    assert mail.outbox == []


# Who has no password

ERASE = "/me/erase/"


def without_password(world: World) -> User:
    sam = world.user("sam")
    sam.set_unusable_password()
    sam.save()
    return sam


def mailed_link(client: Client) -> str:
    mail.outbox.clear()
    client.post(ERASE, {"mail": "1"})
    run_tasks()
    (message,) = mail.outbox
    link: str = re.findall(r"http\S+", str(message.body))[0]
    return link.removeprefix(settings.BASE_URL)


def test_who_has_no_password_proves_it_by_a_mailed_link(world: World, signed_in: SignIn) -> None:
    sam = without_password(world)
    client = signed_in(sam)
    page = client.get(ERASE).content.decode()
    assert "First prove that it is you" in page
    assert 'name="word"' not in page
    assert client.post(ERASE, {"word": "erase me"}).status_code == 422
    assert not Erasure.objects.exists()
    link = mailed_link(client)
    assert link.startswith(f"{ERASE}?proof=")
    assert client.get(link).headers["Location"] == ERASE
    page = client.get(ERASE).content.decode()
    assert 'name="word"' in page
    assert 'name="password"' not in page
    assert client.post(ERASE, {"word": "yes"}).status_code == 422
    assert client.post(ERASE, {"word": "erase me"}).status_code == 302
    assert Erasure.objects.get().user == sam


@pytest.mark.parametrize(
    "spoiled", ["another browser", "used", "another kind", "nonsense", "not asked", "sams for noor"]
)
def test_a_mailed_link_works_once_in_one_session_for_one_person(world: World, signed_in: SignIn, spoiled: str) -> None:
    sam = without_password(world)
    client = signed_in(sam)
    link = mailed_link(client)
    if spoiled == "another browser":
        client = signed_in(sam)
    elif spoiled == "used":
        client.get(link)
        client = signed_in(sam)
        client.get(link)
    elif spoiled == "another kind":
        link = f"{ERASE}?proof={seal(f'open/{sam.pk}')}"
    elif spoiled == "nonsense":
        link = f"{ERASE}?proof=x"
    elif spoiled == "not asked":
        client.get(f"{ERASE}?proof=x")
    else:
        noor = world.user("noor")
        noor.set_unusable_password()
        noor.save()
        client = signed_in(noor)
        client.post(ERASE, {"mail": "1"})
    page = client.get(link, follow=True).content.decode()
    assert "too old, was used already" in page
    assert "First prove that it is you" in page
    assert client.post(ERASE, {"word": "erase me"}).status_code == 422
    assert not Erasure.objects.exists()


def test_a_mailed_link_works_for_half_an_hour(world: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(without_password(world))
    link = mailed_link(client)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1801)
    assert "First prove" in client.get(link, follow=True).content.decode()


def test_a_mailed_link_opens_nothing_else(world: World, signed_in: SignIn) -> None:
    client = signed_in(without_password(world))
    client.get(mailed_link(client))
    answer = client.post("/me/security/email/", {"email": "other@example.edu"})
    assert answer.headers["Location"].startswith("/me/security/again/")


def test_what_was_proved_is_proved_for_five_minutes(
    world: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(without_password(world))
    client.get(mailed_link(client))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert client.post(ERASE, {"word": "erase me"}).status_code == 422
    assert not Erasure.objects.exists()


def test_mails_with_such_a_link_are_few(world: World, signed_in: SignIn) -> None:
    client = signed_in(without_password(world))
    answers = [client.post(ERASE, {"mail": "1"}) for _ in range(7)]
    assert ["Retry-After" in answer.headers for answer in answers] == [False] * 5 + [True] * 2


def test_a_code_of_ones_app_proves_it(world: World, signed_in: SignIn) -> None:
    sam = without_password(world)
    add_app(sam)
    client = signed_in(sam)
    page = client.get(ERASE).content.decode()
    assert f"/me/security/again/code/?next={ERASE}" in page
    answer = client.post(f"/me/security/again/code/?next={ERASE}", {"code": code_of(sam), "next": ERASE})
    assert answer.headers["Location"] == ERASE
    assert client.post(ERASE, {"word": "erase me"}).status_code == 302
    assert Erasure.objects.get().user == sam


def test_who_has_a_password_types_it_however_lately_they_signed_in(world: World) -> None:
    client = Client()
    client.post("/sign-in/", {"email": "sam@example.edu", "password": PASSWORD})
    assert client.post(ERASE, {"word": "erase me"}).status_code == 422
    assert 'name="password"' in client.get(ERASE).content.decode()
