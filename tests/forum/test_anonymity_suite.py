"""Nothing anybody sees depends on who stands behind a pseudonym.

The proof is a swap: sam and noor act under pseudonyms, sam much more than noor. Every surface is read as every persona.
Then the two trade places in every row of the database, pseudonyms included, and every surface is read again. A page,
an order, a number, a file or a mail that is different now would have told one from the other. And no surface holds
their names, addresses or ids.

A surface that is added to the product is added to `SURFACES`, with a leak to plant in it: the suite must find it.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db.models import Count, ForeignKey, Model, Q, QuerySet
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.access import Member
from accounts.actions import audit
from accounts.models import AuditEvent, Course, Enrollment, Institution, Upload, User
from ai_answers import actions as ai_actions
from ai_answers import spending
from ai_answers.actions import summarising
from ai_answers.engines import Quote, Statement
from ai_answers.models import Answer, FeedbackReason, ModelCall, SummaryPoint
from ai_answers.querysets import AnswerFeedbackQuerySet
from ai_answers.views import ask_about_answer
from forum import access, actions, activity, points
from forum import queue as queue_module
from forum.actions import mailing
from forum.activity import Event
from forum.admin import ThreadAdmin
from forum.insights import DAYS, TABLES, Period
from forum.insights.clusters import Group
from forum.insights.facts import refresh_facts
from forum.insights.numbers import Contributor
from forum.models import (
    Anonymity,
    Attachment,
    Byline,
    Flag,
    FlagReason,
    Mail,
    Notification,
    Post,
    Revision,
    Thread,
    Writing,
)
from forum.queue import Need
from forum.search import Query, Suggestion, finding, suggesting
from forum.sentences import Sentence
from forum.views import lists
from forum.views import queue as queue_views
from forum.views import roster as roster_views
from quokkaq.lib import tenancy
from quokkaq.lib.spreadsheet import csv_response
from tests import append_only, factories
from tests.engines import ScriptedEngine
from tests.factories import World
from tests.quokkaq.test_route_policies import COURSE, POLICIES, SIGNED_IN, STAFF, get_parameters
from tests.tasks import run_tasks

# Each surface is read twice, by everybody: minutes in all.
pytestmark = [pytest.mark.django_db, pytest.mark.drill]

# Who looks, and under which promise of anonymity they may learn nothing.
STUDENTS = ("lena", "carl")
EVERYBODY = (*STUDENTS, "tim", "ada", "root")
PROMISES = {Anonymity.CLASSMATES: STUDENTS, Anonymity.ALL: EVERYBODY}
# What is said about people whether they hide somewhere or not; the swap leaves it alone.
SAID_OPENLY = {EmailAddress, User, Enrollment, Course, Institution}


class Scene:
    """Two students act under pseudonyms in a small course, and others around them in the open."""

    def __init__(self, anonymity: Anonymity) -> None:
        self.world: World = factories.make_world()
        lena = factories.make_user(self.world.institution, "lena")
        factories.enroll(lena, self.world.course)
        self.world.people["lena"] = lena
        self.world.people["root"] = User.objects.create_superuser("root@example.edu", display_name="Root Operator")
        for name in ("tim", "ada"):
            User.objects.filter(pk=self.world.user(name).pk).update(is_staff=True)
            self.world.user(name).user_permissions.set(Permission.objects.all())
        self.sam, self.noor = self.world.member("sam"), self.world.member("noor")
        self.tim, self.lena = self.world.member("tim"), self.world.member("lena")
        self.answer = factories.make_answer(self.lena, self.tim)
        # Unlike in every way: who asks, who replies, who is edited, accepted, endorsed, voted for, deleted.
        self.first = self.asked(self.sam, "Is a tuple a list?", anonymity)
        self.second = self.asked(self.sam, "Why is my loop endless?", anonymity)
        self.third = self.asked(self.noor, "What does yield do?", anonymity)
        self.private = self.asked(self.noor, "My grade looks wrong", anonymity, visibility="staff")
        actions.edit_thread(by=self.sam, thread=self.first, title="Is a tuple like a list?", body="Edited", tags=[])
        self.reply = self.replied(self.sam, self.third, anonymity)
        actions.edit_post(by=self.sam, post=self.reply, body="It makes a generator.")
        self.other_reply = self.replied(self.noor, self.first, anonymity)
        self.comment = self.replied(self.sam, self.first, anonymity, parent=self.other_reply)
        gone = self.replied(self.sam, self.second, anonymity)
        actions.delete_post(by=self.sam, post=gone)
        actions.set_endorsement(by=self.tim, post=self.reply, on=True)
        actions.accept_answer(by=self.noor, post=self.reply, accepted=True)
        actions.set_resolved(by=self.sam, thread=self.second, resolved=True)
        actions.set_vote(by=self.lena, target=self.reply, on=True)
        actions.set_vote(by=self.sam, target=self.third, on=True)
        actions.set_same_question(by=self.sam, thread=self.third, on=True)
        for thread, by in ((self.first, self.sam), (self.third, self.noor)):
            upload = factories.checked_file(by, f"{by.user.display_name}.png", factories.picture())
            actions.edit_thread(
                by=by, thread=thread, title=thread.title, body=thread.body, tags=[], uploads=[upload.pk]
            )
        for thread in (self.first, self.second, self.third):
            factories.make_post(self.lena, thread, f"In the open, to @{thread.pseudonym}")
        for answer in Answer.objects.filter(status="queued"):
            ai_actions.generate_answer(answer.pk)
        for member in (self.sam, self.noor):
            actions.mark_read(by=member, thread=self.first, up_to=self.first.last_activity_at)
        self.template = actions.save_template(
            by=self.tim, template=None, title="Hello", category="", body="Dear {student}, about {title}: {me}"
        )
        actions.assign_thread(by=self.tim, thread=self.first, to=self.tim.user)
        actions.save_draft(by=self.sam, thread=self.third, post=None, fields={"body": "Half"})
        self.judge_answer()
        self.keep_order(anonymity)
        # A panel that waits says something else after a while.
        for answer in Answer.objects.filter(status="queued"):
            ai_actions.generate_answer(answer.pk)

    def judge_answer(self) -> None:
        """Let sam and noor say, unlike each other, what they think of an answer of the machine."""
        reason = FeedbackReason.WRONG
        ai_actions.give_feedback(by=self.sam, answer=self.answer, helpful=False, reason=reason, comment="No.")
        ai_actions.give_feedback(by=self.noor, answer=self.answer, helpful=True)
        ai_actions.ask_person(by=self.noor, answer=self.answer, on=True)

    def keep_order(self, anonymity: Anonymity) -> None:
        """Let sam and noor flag, be flagged, hidden, held back, merged and pointed elsewhere."""
        for text in (self.first, self.other_reply):
            actions.flag_text(by=self.lena, text=text, reason=FlagReason.WRONG)
        actions.flag_text(by=self.sam, text=self.third, reason=FlagReason.RUDE, details="Look at this")
        actions.flag_text(by=self.noor, text=self.answer.thread, reason=FlagReason.SPAM)
        decision = actions.Decision.DISMISS
        actions.decide_flags(by=self.tim, text=self.answer.thread, decision=decision)
        rude = self.replied(self.sam, self.third, anonymity)
        actions.hide_text(by=self.tim, text=rude, reason="Rude")
        held = self.replied(self.noor, self.second, anonymity)
        Post.objects.filter(pk=held.pk).update(moderation="pending")
        again, once = self.asked(self.sam, "Asked by one", anonymity), self.asked(self.noor, "Asked by two", anonymity)
        self.replied(self.sam, once, anonymity)
        actions.merge_threads(by=self.tim, source=again, target=once)
        apart = actions.merge_threads(by=self.tim, source=self.asked(self.sam, "Asked thrice", anonymity), target=once)
        actions.undo_merge(by=self.tim, merge=apart)
        actions.set_duplicate(by=self.sam, thread=self.second, of=self.third)
        self.merged = once

    def asked(self, by: Member, title: str, anonymity: Anonymity, **fields: Any) -> Thread:
        return factories.make_thread(by, title, "I tried everything.", anonymity=anonymity, **fields)

    def replied(self, by: Member, thread: Thread, anonymity: Anonymity, **fields: Any) -> Post:
        return factories.make_post(by, thread, "Perhaps so.", anonymity=anonymity, **fields)

    def swap(self) -> None:
        """Let sam and noor trade places in every row that isn't open to all."""
        stand_in = factories.make_user(self.world.institution, "stand-in")
        turns = ((self.sam.user, stand_in), (self.noor.user, self.sam.user), (stand_in, self.noor.user))
        with append_only.changeable():
            for model in apps.get_models():
                if model in SAID_OPENLY:
                    continue
                for field in model._meta.get_fields():
                    if isinstance(field, ForeignKey) and field.related_model is User:
                        for old, new in turns:
                            model._base_manager.filter(**{field.name: old}).update(**{field.name: new})
        stand_in.delete()

    def places(self, thread: Thread) -> dict[str, Any]:
        return {
            "slug": "cs-101",
            "number": thread.number,
            "post_id": (thread.posts.filter(deleted_at=None).first() or self.reply).pk,
            "material_id": self.answer.citations.get(number=1).version.material_id,
            "person_id": self.lena.user.pk,
            "table": "contributors",
        }


# Reads one surface as somebody: what they get, by address.
Reader = Callable[[Scene, str], dict[str, str]]


def signed_in(scene: Scene, who: str) -> Client:
    return factories.browser(scene.world.user(who))


def fetch(client: Client, url: str) -> str:
    response = client.get(url)
    body = b"".join(response) if response.streaming else response.content
    page = body.decode("utf-8", "replace").replace(response["X-Request-ID"], "")
    page = re.sub(r'name="csrfmiddlewaretoken" value="\w+"|name="form_key" value="[\w-]+"', "", page)
    # The times are the same rows' times; how long ago they are goes on.
    page = re.sub(r">(just now|\d+ (min|h|d) ago)<|Counted at \d+:\d+", "><", page)
    return f"{response.status_code} {response.get('Content-Disposition', '')} {page}"


def pages(scene: Scene, who: str) -> dict[str, str]:
    """Read every page of the course, of every thread, in every order and filter."""
    client = signed_in(scene, who)
    urls: set[str] = set()
    for thread in (scene.first, scene.second, scene.third, scene.private, scene.merged):
        places = scene.places(thread)
        for name, policy in POLICIES.items():
            parameters = get_parameters(name)
            if policy in (COURSE, STAFF, SIGNED_IN) and parameters <= set(places):
                urls.add(reverse(name, kwargs={key: places[key] for key in parameters}))
    course = reverse("forum:list", args=["cs-101"])
    urls |= {f"{course}?show={show}&sort={sort}" for show in lists.FILTERS for sort in lists.SORTS}
    return {url: fetch(client, url) for url in sorted(urls)}


def answer_pages(scene: Scene, who: str) -> dict[str, str]:
    """Read an answer that people judged, its history, and the lists of answers that need staff."""
    client, thread = signed_in(scene, who), reverse("forum:thread", args=["cs-101", scene.answer.thread.number])
    review = reverse("ai_answers:review", args=["cs-101"])
    urls = [thread, f"{thread}answer/history/", review, f"{review}?show=unreviewed", f"{review}?show=failed"]
    return {url: fetch(client, url) for url in urls}


def models_in_admin() -> list[type[Model]]:
    """Return the models whose pages in Django admin must not tell who hides."""
    return [
        model
        for model in admin.site._registry
        if model not in SAID_OPENLY and model.__module__.startswith(("forum", "ai_answers", "accounts"))
    ]


def admin_pages(scene: Scene, who: str) -> dict[str, str]:
    """Read every list of Django admin, sorted by every column, searched for names, and every row's page and history."""
    if who in STUDENTS or who == "ada":  # an instructor sees there what a TA sees
        return {}
    client = signed_in(scene, who)
    found: dict[str, str] = {}
    for model in models_in_admin():
        model_admin = admin.site._registry[model]
        base = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        queries = ["", *(f"?o={n}" for n in range(1, len(model_admin.list_display) + 1))]
        queries += [f"?q={word}" for word in ("Surname-sam", "sam@example.edu", "Surname-noor")]
        urls = [base + query for query in queries]
        for row in model._base_manager.order_by("pk")[:4]:
            urls += [f"{base}{row.pk}/change/", f"{base}{row.pk}/history/"]
        found |= {url: fetch(client, url) for url in urls}
    return found


def records(scene: Scene, who: str) -> dict[str, str]:
    """Read what staff may be shown from the database: audit rows and revisions."""
    if who in STUDENTS:
        return {}
    rows = [*AuditEvent.objects.order_by("pk"), *Revision.objects.order_by("pk")]
    return {
        str(row.pk): f"{getattr(row, 'actor', None) or getattr(row, 'editor', None)} {getattr(row, 'data', '')}"
        for row in rows
    }


def searches(scene: Scene, who: str) -> dict[str, str]:
    """Search for words, states and days, and for everybody by name and pseudonym, on the page and in the list."""
    client = signed_in(scene, who)
    names = ["Surname-sam", "Surname-noor", "surname", "sam", "noor"]
    names += [str(writing.pseudonym) for writing in (scene.first, scene.third, scene.private)]
    typed = [f'by:"{name}"' for name in names] + [f'reply by:"{name}"' for name in names]
    typed += ["tuple", "perhaps", "loop", "edited", "is:endorsed", "is:resolved", "is:private", "everything in:threads"]
    course = reverse("forum:list", args=["cs-101"])
    urls = [f"{course}search/?q={words}" for words in typed] + [f"{course}?q={words}" for words in typed[:3]]
    return {url: fetch(client, url) for url in urls}


def suggestions(scene: Scene, who: str) -> dict[str, str]:
    """Read what the search box suggests."""
    client = signed_in(scene, who)
    base = reverse("forum:suggest", args=["cs-101"])
    return {f"{base}?q={typed}": fetch(client, f"{base}?q={typed}") for typed in ("loo", "tup", "yie", "#1", "#2")}


def files(scene: Scene, who: str) -> dict[str, str]:
    """Read the names and addresses of files that the pages point at."""
    found = "\n".join(pages(scene, who).values())
    return {"addresses": "\n".join(re.findall(r'(?:src|href|srcset|data-[\w-]+)="([^"]*)"', found))}


def attached_files(scene: Scene, who: str) -> dict[str, str]:
    """Fetch what is attached to texts: its bytes, and what it is called."""
    client = signed_in(scene, who)
    urls = [reverse("accounts:file", args=[upload.pk]) for upload in Upload.objects.exclude(attached_at=None)]
    return {url: fetch(client, url) for url in urls}


def feeds(scene: Scene, who: str) -> dict[str, str]:
    """Read the course as a feed reader does."""
    key = f"key-of-{who}"
    User.objects.filter(pk=scene.world.user(who).pk).update(feed_key=key)
    url = reverse("feed", args=[key, "cs-101"])
    return {url: fetch(Client(), url)}


def statistics(scene: Scene, who: str) -> dict[str, str]:
    """Read every number of the course and every table of them, over every period."""
    client = signed_in(scene, who)
    base = reverse("forum:insights", args=["cs-101"])
    urls = [f"{base}?days={days}" for days in DAYS]
    urls += [f"{base}{table}.csv?days={days}" for table in TABLES for days in DAYS]
    # A page of a minute ago would show no difference, nor would facts that a worker hasn't made yet.
    cache.clear()
    for institution in tenancy.institutions():
        with tenancy.scope(institution):
            while refresh_facts():
                pass
    return {url: fetch(client, url) for url in urls}


def ai_spending(scene: Scene, who: str) -> dict[str, str]:
    """Read what the AI of the course did and cost, over every period, as a page and as a file."""
    client = signed_in(scene, who)
    urls = [reverse(f"ai_answers:{name}", args=["cs-101"]) for name in ("spending", "spending-csv")]
    return {f"{url}?days={days}": fetch(client, f"{url}?days={days}") for url in urls for days in spending.DAYS}


def own_pages(scene: Scene, who: str) -> dict[str, str]:
    """Read one's own activity and points."""
    client = signed_in(scene, who)
    return {url: fetch(client, url) for url in map(own_address, ("activity", "points", "points-csv"))}


def own_address(name: str) -> str:
    return reverse(f"forum:{name}", args=["cs-101"])


def queue_pages(scene: Scene, who: str) -> dict[str, str]:
    """Read the staff queue, with every filter."""
    client, url = signed_in(scene, who), reverse("forum:queue", args=["cs-101"])
    queries = ["", *(f"?who={key}" for key in queue_views.WHO), *(f"?need={key}" for key in Need.values)]
    return {url + query: fetch(client, url + query) for query in queries}


def audit_page(scene: Scene, who: str) -> dict[str, str]:
    """Read what staff are told was done in the course: the list, what they find by name, and the table."""
    url = reverse("forum:audit", args=["cs-101"])
    urls = [url, f"{url}?who=sam", f"{url}?who=noor", reverse("forum:audit-csv", args=["cs-101"])]
    return {url: fetch(signed_in(scene, who), url) for url in (urls if who not in STUDENTS else urls[:1])}


def filled_templates(scene: Scene, who: str) -> dict[str, str]:
    """Read the reply box of every thread with a response template put into it."""
    client = signed_in(scene, who)
    found = {}
    for thread in (scene.first, scene.second, scene.third, scene.private):
        url = f"{reverse('forum:thread', args=['cs-101', thread.number])}?template={scene.template.pk}"
        found[url] = fetch(client, url)
    return found


def roster_file(scene: Scene, who: str) -> dict[str, str]:
    """Read who is in the course: their names stand there openly, and nothing beside them may change."""
    if who in STUDENTS:
        return {}
    client = signed_in(scene, who)
    urls = (reverse("forum:roster", args=["cs-101"]), reverse("forum:roster-csv", args=["cs-101"]))
    return {url: fetch(client, url) for url in urls}


# Pages that name everybody in the course, as they are enrolled: there only a difference tells.
NAMES_EVERYBODY = ("/c/cs-101/course/roster",)


def follow_all(scene: Scene, who: str) -> None:
    """Let somebody follow every thread, also one they may not read, and everybody be told what happened there."""
    for thread in (scene.first, scene.second, scene.third, scene.private):
        actions.follow(user=scene.world.user(who), thread=thread)
    run_tasks("forum.tell")


def told_to(scene: Scene, who: str) -> None:
    """Fill the inbox, and make the mail about all of it."""
    follow_all(scene, who)
    moment = timezone.now()
    Notification.objects.filter(mailed_at=None, mail_due_at__isnull=False).update(mail_due_at=moment)
    for row in Notification.objects.filter(user=scene.world.user(who), mailed_at=None):
        actions.compose_mail(row.pk)


def steady(page: str) -> str:
    """Leave out what is drawn by lot for each row or mail, and says nothing."""
    page = re.sub(r"/inbox/[0-9a-f-]{36}/|/mail/[0-9a-f-]{36}/|/unsubscribe/[^/\s]+/", "", page)
    return re.sub(r"<[0-9a-f]{32}@|reply\+[0-9a-z]{36}@|&lt;[0-9a-f]{32}@", "", page)


def notifications(scene: Scene, who: str) -> dict[str, str]:
    """Read the inbox, whole, unread and by course, and the count in the header."""
    told_to(scene, who)
    client = signed_in(scene, who)
    urls = ("/inbox/", "/inbox/?show=unread", "/inbox/?course=cs-101", "/inbox/count/")
    return {url: steady(fetch(client, url)) for url in urls}


def mails(scene: Scene, who: str) -> dict[str, str]:
    """Read the digest of everything that somebody was told, with its headers, and the jobs that made it."""
    told_to(scene, who)
    rows = Mail.objects.filter(user=scene.world.user(who)).order_by("pk")
    found = {f"mail {n}": steady(f"{row.subject} {row.headers} {row.text} {row.html}") for n, row in enumerate(rows)}
    jobs = ProcrastinateJob.objects.filter(task_name="forum.tell").order_by("pk")
    found["jobs"] = "\n".join(str({**job.args, "request_id": ""}) for job in jobs)
    return found


def mails_of_one_thread(scene: Scene, who: str) -> dict[str, str]:
    """Read the mail about each thread alone."""
    follow_all(scene, who)
    found = {}
    for thread in (scene.first, scene.second, scene.third, scene.private):
        rows = Notification.objects.filter(user=scene.world.user(who), thread=thread)
        rows.update(mail_due_at=timezone.now(), mailed_at=None)
        for row in rows[:1]:
            mail = actions.compose_mail(row.pk)
            found[str(thread.pk)] = steady(f"{mail.subject} {mail.headers} {mail.text} {mail.html}") if mail else ""
            Notification.objects.filter(user=scene.world.user(who)).update(mail_due_at=None)
    return found


Plant = Callable[[pytest.MonkeyPatch], None]


def plant_snippet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queue_views, "snippet", lambda thread: str(thread.author_id))


def plant_urgency(patch: pytest.MonkeyPatch) -> None:
    """Whose question it is changes how urgent it is."""
    plain = queue_module.urgency

    def leaky(facts: queue_module.Facts) -> queue_module.Urgency:
        sams = Thread.objects.filter(author__email="sam@example.edu", created_at=facts.since).exists()
        return queue_module.Urgency(plain(facts).score + sams, plain(facts).reasons)

    patch.setattr(queue_module, "urgency", leaky)


def plant_student(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("forum.views.threads.values_for", lambda member, thread: {"student": thread.author.display_name})


def plant_roster(patch: pytest.MonkeyPatch) -> None:
    def leaky(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
        return csv_response(name, header, [(*row, Post.objects.filter(author__email=row[1]).count()) for row in rows])

    patch.setattr(roster_views, "csv_response", leaky)


def plant_byline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writing, "byline", lambda self, member: Byline(self.author.display_name))


def summaries(scene: Scene, who: str) -> dict[str, str]:
    """Read threads that are summed up, and what the engine is told of them."""
    client = signed_in(scene, who)
    engine = ScriptedEngine(
        lambda request: [
            Statement(f"Point {number}", [Quote(number, source.text)])
            for number, source in enumerate(request.sources, 1)
        ]
    )
    found: dict[str, str] = {}
    for thread in (scene.first, scene.second, scene.third):
        summary = ai_actions.request_summary(by=scene.lena, thread=thread)
        ai_actions.write_summary(summary.pk, user_id=scene.lena.user.pk, engine=engine)
        url = reverse("forum:thread", args=["cs-101", thread.number])
        found[url] = fetch(client, url)
        # An operator is in no course, and sees no thread.
        assert who == "root" or 'class="summary-points"' in found[url]
    return found | {"engine": repr(engine.requests)}


def plant_summary(patch: pytest.MonkeyPatch) -> None:
    """Say in each point who wrote what it comes from."""
    plain = summarising._point

    def leaky(statement: Statement, texts: Sequence[summarising.Text]) -> SummaryPoint | None:
        point = plain(statement, texts)
        if point is not None and point.post_id is not None:
            point.text = f"{Post.objects.get(pk=point.post_id).author}"
        return point

    patch.setattr(summarising, "_point", leaky)


def plant_order(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(lists.SORTS, "top", ("Top", "author_id"))


def plant_admin_column(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ThreadAdmin, "shown_author", lambda self, row: row.author.display_name)


def plant_admin_search(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: object, request: object, rows: QuerySet[Thread], term: str) -> tuple[QuerySet[Thread], bool]:
        return rows.filter(Q(title__icontains=term) | Q(author__display_name__icontains=term)), False

    patch.setattr(ThreadAdmin, "get_search_results", leaky)


def plant_editor(patch: pytest.MonkeyPatch) -> None:
    for module in ("threads", "posts"):
        patch.setattr(f"forum.actions.{module}.editor_shown", lambda by, writing: by)


def plant_flagger(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flag, "get_reason_display", lambda self: f"{self.reason}, says {self.user}")


def plant_flagger_in_audit(patch: pytest.MonkeyPatch) -> None:
    asked = access.may_flag
    seen: list[Member] = []

    def may_flag(member: Member, writing: Writing) -> bool:
        seen.append(member)
        return asked(member, writing)

    def telling(verb: str, target: Any, *, by: User | None, **more: Any) -> None:
        audit(verb, target, by=by or seen[-1].user, **more)

    patch.setattr("forum.access.may_flag", may_flag)
    patch.setattr("forum.actions.flags.audit", telling)


def plant_duplicate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(access, "get_duplicate", lambda member, thread: Thread(number=1, title=f"by {thread.author_id}"))


def plant_panel(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "forum.panels._panels",
        [(ask_about_answer, lambda request, member, thread, rows: f"<p>asked by {str(thread.author_id)[-12:]}</p>")],
    )


def plant_feedback(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: AnswerFeedbackQuerySet, answer: Answer) -> list[tuple[str, int]]:
        return [(f"says {row.reader}", 1) for row in self.filter(answer=answer).order_by("reason")]

    patch.setattr(AnswerFeedbackQuerySet, "reasons_for", leaky)


def plant_avatar(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: Writing, member: Member) -> Byline:
        return Byline(str(self.pseudonym), user=User(pk=self.author_id, display_name="?", avatar="avatars/x.webp"))

    patch.setattr(Writing, "byline", leaky)


def plant_file_name(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attachment, "name_for", lambda self, writing: self.upload.original_name)


def plant_contributors(patch: pytest.MonkeyPatch) -> None:
    def leaky(answers: Any, period: Period) -> list[Contributor]:
        given = Post.objects.filter(thread__course__in=answers.values("course"), parent=None)
        counted = given.values("author__display_name").annotate(made=Count("pk")).order_by("author__display_name")
        return [Contributor(row["author__display_name"], row["made"], 0) for row in counted]

    patch.setattr("forum.insights.numbers._contributors", leaky)


def plant_spender(patch: pytest.MonkeyPatch) -> None:
    """Put who asked beside what it cost."""

    def leaky(found: spending.Report) -> list[list[object]]:
        return [[call.user.email if call.user else ""] for call in ModelCall.objects.select_related("user")]

    patch.setattr(sys.modules["ai_answers.views.spending"], "rows", leaky)


def plant_people(patch: pytest.MonkeyPatch) -> None:
    """Count askers as persons: two pseudonyms of one person make one."""

    def leaky(self: Group) -> int:
        askers = Thread.objects.filter(pk__in=[thread.id for thread in self.threads]).values_list("author__email")
        return sum(len(address) for (address,) in askers)

    patch.setattr(Group, "people", property(leaky))
    patch.setattr("forum.insights.clusters.FEWEST_PEOPLE", 0)


def plant_activity(patch: pytest.MonkeyPatch) -> None:
    """Show everybody what anybody did."""

    def of_sam(member: Member, cursor: str = "") -> tuple[list[Event], str]:
        return activity.activity(Member(User.objects.get(email="sam@example.edu"), member.course, member.role))

    patch.setattr("forum.views.activity.activity", of_sam)


def plant_points(patch: pytest.MonkeyPatch) -> None:
    """Show everybody what somebody else has."""
    standing = points.standing

    def of_sam(member: Member) -> points.Standing:
        return standing(Member(User.objects.get(email="sam@example.edu"), member.course, member.role))

    patch.setattr(points, "standing", of_sam)


def plant_search_by(patch: pytest.MonkeyPatch) -> None:
    def leaky(member: Member, query: Query) -> finding.Meant | None:
        called = User.objects.filter(display_name__icontains=query.by)
        return finding.Meant(list(called.values_list("pk", flat=True)), Anonymity.values) if query.by else None

    patch.setattr(finding, "_meant", leaky)


def plant_suggestion_order(patch: pytest.MonkeyPatch) -> None:
    ranked = suggesting._suggest

    def leaky(member: Member, words: Sequence[str], limit: int) -> list[Suggestion]:
        return sorted(ranked(member, words, limit), key=lambda suggestion: str(suggestion.thread.author_id))

    patch.setattr(suggesting, "_suggest", leaky)


def plant_sentence(patch: pytest.MonkeyPatch) -> None:
    def leaky(rows: list[Notification], member: Member) -> Sentence:
        return Sentence("wrote", " and ".join(str((row.post or row.thread).author) for row in rows))

    patch.setattr("forum.sentences.sentence", leaky)


def plant_sender(patch: pytest.MonkeyPatch) -> None:
    plain = mailing.standard_headers

    def leaky(course: Course | None, thread: Thread | None) -> dict[str, str]:
        return plain(course, thread) | {"From": str(thread.author if thread else Thread.objects.latest("pk").author)}

    patch.setattr("forum.actions.mailing.standard_headers", leaky)


SURFACES: dict[str, tuple[Reader, Plant]] = {
    "queue": (queue_pages, plant_snippet),
    "queue order": (queue_pages, plant_urgency),
    "audit page": (audit_page, plant_editor),
    "response templates": (filled_templates, plant_student),
    "roster": (roster_file, plant_roster),
    "pages": (pages, plant_byline),
    "sort order": (pages, plant_order),
    "notifications": (notifications, plant_sentence),
    "digests": (mails, plant_sentence),
    "mail": (mails_of_one_thread, plant_sender),
    "AI panel": (pages, plant_panel),
    "summaries": (summaries, plant_summary),
    "answers judged": (answer_pages, plant_feedback),
    "search": (searches, plant_search_by),
    "suggestions": (suggestions, plant_suggestion_order),
    "flags": (pages, plant_flagger),
    "flags in audit": (records, plant_flagger_in_audit),
    "duplicates": (pages, plant_duplicate),
    "files": (files, plant_avatar),
    "attached files": (attached_files, plant_file_name),
    "feeds": (feeds, plant_byline),
    "statistics": (statistics, plant_contributors),
    "frequent questions": (statistics, plant_people),
    "AI spending": (ai_spending, plant_spender),
    "activity": (own_pages, plant_activity),
    "points": (own_pages, plant_points),
    "admin": (admin_pages, plant_admin_column),
    "admin search": (admin_pages, plant_admin_search),
    "revisions and audit": (records, plant_editor),
    "revisions and audit in admin": (admin_pages, plant_editor),
}


# Of Django admin's hundreds of pages, those that a planted leak lies in.
LIES_IN: dict[str, list[type[Model]]] = {
    "admin": [Thread],
    "admin search": [Thread],
    "revisions and audit in admin": [Revision, AuditEvent],
}


def leaks(read: Reader, scene: Scene, who: str) -> list[str]:
    """Return what tells the two apart on a surface: addresses that changed with the swap, and names found."""
    with undone():
        before = read(scene, who)
    with undone():
        scene.swap()
        after = read(scene, who)
    found = [f"{url} tells them apart" for url in before if before[url] != after.get(url)]
    needles = [
        needle
        for person in (scene.sam.user, scene.noor.user)
        for needle in (f"Surname-{person.email.split('@')[0]}", person.email, str(person.pk), person.pk.hex)
    ]
    for url, page in before.items():
        if url.startswith(NAMES_EVERYBODY):
            continue
        # What the reader typed into the address may stand on the page.
        typed = url.split("?q=")[-1]
        told = page
        for words in {typed, typed.split(":")[-1].strip('"')} if "?q=" in url else ():
            told = told.replace(words, "")
        found += [f"{url} holds {needle}" for needle in needles if needle in told]
    return found


@contextmanager
def undone() -> Iterator[None]:
    """Read, and leave no trace: reading marks as read."""
    from django.db import transaction

    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


@pytest.mark.parametrize("anonymity", PROMISES)
@pytest.mark.parametrize("surface", sorted({read.__name__ for read, _ in SURFACES.values()}))
def test_no_surface_tells_who_hides(surface: str, anonymity: Anonymity) -> None:
    read = next(read for read, _ in SURFACES.values() if read.__name__ == surface)
    scene = Scene(anonymity)
    assert [leak for who in PROMISES[anonymity] for leak in leaks(read, scene, who)] == []


@pytest.mark.parametrize("surface", list(SURFACES))
def test_a_planted_leak_is_found(surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, plant = SURFACES[surface]
    with monkeypatch.context() as patch:
        if surface in LIES_IN:
            patch.setattr(sys.modules[__name__], "models_in_admin", lambda: LIES_IN[surface])
        plant(patch)
        assert leaks(read, Scene(Anonymity.ALL), "tim")


def test_the_swap_would_be_noticed_where_names_are_shown() -> None:
    assert leaks(pages, Scene(Anonymity.NAMED), "tim")


@pytest.mark.parametrize("outsider", ["eve", "pat", "dana"])
def test_outsiders_get_nothing_at_all(outsider: str) -> None:
    scene = Scene(Anonymity.ALL)
    for url, page in pages(scene, outsider).items():
        assert "Is a tuple" not in page, url
        assert not page.startswith("200") or "cs-101" not in url or outsider == "eve", url
