"""axe finds nothing on any page, light and dark, desktop and phone."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Page

from accounts import actions as account_actions
from accounts.access import get_member
from accounts.actions import record_consent
from accounts.lti.memberships import Members
from accounts.models import ConsentKind, Course, Enrollment, LtiContext, LtiIdentity, LtiPlatform, Role, User
from ai_answers import actions as ai_actions
from ai_answers.actions import edit_token
from ai_answers.models import (
    Answer,
    Calibration,
    Disclosure,
    FeedbackReason,
    MaterialFormat,
    MaterialImport,
    MaterialKind,
    ModelCall,
    SummaryPoint,
    ThreadSummary,
    WithdrawalReason,
)
from forum import actions
from forum.actions.mailing import unsubscribe_url
from forum.models import (
    Anonymity,
    Assignment,
    Flag,
    FlagReason,
    FollowState,
    Mail,
    Notification,
    NotificationKind,
    Post,
    Thread,
)
from tests import factories
from tests.accounts.test_signing_in import add_app
from tests.browser.conftest import Visit
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("accessibility")]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
RICH = "# Heading\n\n> quote\n\n```python\ndef f(x=[]):\n    return x  # comment\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n$$\\frac{a}{b}$$\n\n- item `code`"


def violations(page: Page) -> list[str]:
    # What is half under the header, because the page was scrolled to its anchor, would count as too small to be pressed.
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    found: list[dict[str, Any]] = Axe().run(page, options=RULES).response["violations"]
    return [
        f"{page.url}: {rule['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in found
        for node in rule["nodes"]
    ]


def fill(world: World) -> dict[str, str]:
    """Put one of everything into the course; return the addresses of all pages."""
    sam, noor, tim = (world.member(name) for name in ("sam", "noor", "tim"))
    answer = factories.make_answer(sam, tim)
    thread = answer.thread
    post = factories.make_post(noor, thread, RICH)
    comment = factories.make_post(sam, thread, "Thanks", parent=post, anonymity=Anonymity.CLASSMATES)
    actions.edit_post(by=noor, post=post, body=RICH + "\n\nEdited.")
    actions.set_endorsement(by=tim, post=post, on=True)
    actions.accept_answer(by=sam, post=post, accepted=True)
    actions.delete_post(by=sam, post=comment)
    factories.make_thread(sam, "Private matter", RICH, visibility="staff")
    factories.make_thread(sam, "Hidden question", anonymity="all")
    failed = factories.make_thread(sam, "Failed to answer this one")
    Answer.objects.filter(thread=failed).update(status="failed")
    waiting = factories.make_thread(sam, "Still waiting for an answer")
    actions.set_pinned(by=tim, thread=waiting, pinned=True)
    news = factories.make_thread(tim, "An announcement", kind="announcement")
    actions.set_locked(by=tim, thread=news, locked=True)
    actions.add_staff_note(by=tim, thread=thread, body="He asked me **in person** too, see #2.", form_key=uuid.uuid4())
    actions.set_same_question(by=noor, thread=thread, on=True)
    for member in (sam, tim):
        actions.save_view(by=member, name="Unread questions", query="show=unread&kind=question")
        actions.save_draft(by=member, thread=thread, post=None, fields={"body": "Half a reply, @Noor Surname-noor"})
        actions.save_draft(by=member, thread=None, post=None, fields={"title": "Half a question", "body": "See #1"})
    soon = timezone.now() + timedelta(hours=5)
    call = ModelCall.objects.create(
        institution=world.institution, course=world.course, user=sam.user, engine="openai", model="m-1", outcome="answered"
    )  # fmt: skip
    Disclosure.objects.create(
        institution=world.institution, call=call, user=sam.user, course=world.course, provider="openai", model="m-1",
        text="Exactly what was sent. " * 60,
    )  # fmt: skip
    homework = actions.save_assignment(by=tim, assignment=None, title="Homework 1", due_at=soon, embargo_until=soon)
    actions.assign_thread(by=tim, thread=waiting, to=tim.user)
    Flag.objects.create(institution_id=thread.institution_id, user=noor.user, thread=thread, reason="wrong")
    template = actions.save_template(
        by=tim, template=None, title="Hello", category="Common", body="Dear {student}, {due}"
    )
    row = Enrollment.objects.get(user=sam.user, course=world.course)
    Enrollment.objects.filter(pk=row.pk).update(section="Monday")
    actions.set_follow(by=sam, thread=failed, state=FollowState.MUTED)
    actions.enqueue_telling(NotificationKind.FLAGGED, thread=thread, post=post)
    run_tasks("forum.tell")
    Notification.objects.update(mail_due_at=timezone.now())
    actions.enqueue_due_mail()
    run_tasks("forum.compose_mail", "forum.send_mail")
    first = Mail.objects.filter(user=sam.user).first()
    stop = unsubscribe_url(sam.user, thread, NotificationKind.REPLY, "thread").removeprefix(settings.BASE_URL)
    gone = factories.make_thread(sam, "Deleted thread")
    actions.delete_thread(by=sam, thread=gone)
    factories.make_data_export(sam.user)
    record_consent(by=sam.user, kind=ConsentKind.AI, version="2026-11", is_given=True)
    order = keep_order(world) | come_in(world)
    course = "/c/cs-101/"
    talks = talk(world)
    sum_up(thread, post)
    lab = Assignment.objects.create(
        institution=noor.course.institution, course=noor.course, slug="lab-1", title="Lab one"
    )
    Thread.objects.filter(pk=waiting.pk).update(assignment=lab)
    order |= review_answers(world, homework)
    version = answer.citations.get(number=1).version
    factories.make_import(world.member("tim"), title="Being read")
    failed_import = factories.make_import(world.member("tim"), title="Not to be read")
    MaterialImport.objects.filter(pk=failed_import.pk).update(state="failed", problem="This file is damaged.")
    ai_actions.import_material(
        by=world.member("tim"),
        title="Lecture on functions",
        kind=MaterialKind.LECTURE,
        format=MaterialFormat.MARKDOWN,
        text=version.text.replace("once", "one time"),
        material=version.material,
    )
    material = f"{course}materials/{version.material_id}/"
    return order | {
        "versions": f"{material}versions/", "delete material": f"{material}delete/",
        "search help": f"{course}search/", "results": f"{course}search/?q=default+parameter+question+private",
        "no results": f"{course}search/?q=zebra", "search problem": f"{course}search/?q=is:odd+after:never",
        "list by words": f"{course}?q=question&assignment=lab-1",
        "security": "/me/security/", "sessions": "/me/security/sessions/", "password": "/me/security/password/",
        "e-mail": "/me/security/email/", "passkeys": "/me/security/passkeys/", "connections": "/me/security/connections/",
        "guarded": "/me/security/app/", "sign in again": "/me/security/again/sign-in/",
        "courses": "/courses/", "filtered": f"{course}?show=unanswered", "settings": "/me/", "list": course, "nothing found": f"{course}?show=unread&kind=discussion",
        "bad address": f"{course}?cursor=x", "ask": f"{course}ask/", "answered": f"{course}{thread.number}/",
        "private": f"{course}2/", "hidden": f"{course}3/", "failed": f"{course}{failed.number}/", "waiting": f"{course}{waiting.number}/",
        "locked": f"{course}{news.number}/", "deleted": f"{course}{gone.number}/", "edit": f"{course}{thread.number}/edit/",
        "history": f"{course}{thread.number}/posts/{post.pk}/history/", "materials": f"{course}materials/",
        "source": answer.citations.get(number=1).source_url("cs-101"), "add material": f"{course}materials/add/",
        "activity": f"{course}activity/", "points": f"{course}activity/points/", "insights": f"{course}insights/?days=7",
        "insights over weeks": f"{course}insights/?days=90", "evaluation": f"{course}answers/evaluation/",
        "inbox": "/inbox/", "inbox of a course": "/inbox/?show=unread&course=cs-101", "preferences": "/me/notifications/",
        "preferences of a course": "/me/notifications/?course=cs-101", "unsubscribe": stop, "mails": "/mail/",
        "bad link": "/unsubscribe/x/", "mail": f"/mail/{first.pk if first else ''}/",
        "not found": "/c/nowhere/", "forbidden": f"{course}{news.number}/edit/",
        "queue": f"{course}queue/", "bulk": f"{course}bulk/", "inserted": f"{course}{waiting.number}/?template={template.pk}",
        "templates": f"{course}templates/", "template": f"{course}templates/{template.pk}/", "set-up": f"{course}course/",
        "course settings": f"{course}course/settings/", "roster": f"{course}course/roster/",
        "learning platform": learning_platform(world), "platforms": "/lti/platforms/", "add platform": "/lti/platforms/add/",
        "add people": f"{course}course/roster/add/", "person": f"{course}course/roster/{row.pk}/",
        "sections": f"{course}course/sections/", "assignments": f"{course}course/assignments/",
        "assignment": f"{course}course/assignments/{homework.pk}/", "tags": f"{course}course/tags/",
        "audit": f"{course}course/audit/", "AI spending": f"{course}ai-spending/?days=1", "AI and my texts": "/me/ai/",
        "narrowed audit": f"{course}course/audit/?who=tim&since=2026-01-01", "my data": "/me/data/", "erase": "/me/erase/",
    } | talks  # fmt: skip


def come_in(world: World) -> dict[str, str]:
    """Let people come into the course by file, invitation and code; return the addresses of the pages for it."""
    ada, roster = world.member("ada"), "/c/cs-101/course/roster/"
    text = (
        "email,name,role,section\nlena@example.edu,Lena,observer,Mon\nnoor@example.edu,Noor,student,Tue\n"
        "dana@example.edu,Dana,student,\nnobody,Bad,student,\n"
    )
    waiting = factories.make_roster_import(ada, text, drop_missing=True)
    applied = factories.make_roster_import(ada, "email,section\nomar@example.edu,Mon\n")
    account_actions.apply_roster(by=ada, roster=applied, seen=account_actions.compare_roster(ada, applied).mark)
    gone = factories.make_roster_import(ada, text)
    account_actions.discard_roster(by=ada, roster=gone)
    invitation = factories.make_invitation(ada, "rosa@example.edu", section="Mon")
    run_tasks("accounts.send_invitation")
    factories.make_invitation(ada, "zoe@example.edu", role="ta")
    code = account_actions.make_join_code(by=ada, settings={"section": "Mon", "max_uses": 30})
    other = account_actions.make_join_code(by=world.member("pat", world.other_course))
    link = account_actions.link_of(invitation).removeprefix(settings.BASE_URL)
    return {
        "import a file": f"{roster}import/", "what a file changes": f"{roster}imports/{waiting.pk}/",
        "changes of a file": f"{roster}imports/{waiting.pk}/?show=change",
        "problems of a file": f"{roster}imports/{waiting.pk}/?show=problems",
        "applied file": f"{roster}imports/{applied.pk}/", "file thrown away": f"{roster}imports/{gone.pk}/",
        "invitations": f"{roster}invitations/", "join code": "/c/cs-101/course/join-code/",
        "join": "/join/", "join a course": f"/join/{other.code}/", "in the course already": f"/join/{code.code}/",
        "no such code": "/join/NNNNNNNN/", "invitation of somebody else": link, "invitation that is over": "/invitations/x/",
    }  # fmt: skip


def talk(world: World) -> dict[str, str]:
    """Let sam talk with the machine; return the addresses of the pages of it."""
    sam = world.member("sam")
    text = "When is a default parameter value evaluated?"
    talks = [ai_actions.start_conversation(by=sam, text=text, form_key=uuid.uuid4()) for _ in range(3)]
    said = [one.messages.get(speaker="machine") for one in talks]
    ai_actions.write_reply(said[0].pk)
    ai_actions.ask(by=sam, conversation=talks[0], text="Who won the cup of 1954 then?", form_key=uuid.uuid4())
    ai_actions.write_reply(talks[0].messages.get(position=4).pk)
    ai_actions.fail_reply(said[1].pk, RuntimeError("x"))
    base = "/c/cs-101/ai/"
    return {
        "conversations": base, "my conversations": "/ai/", "conversation": f"{base}{talks[0].pk}/",
        "failed answer": f"{base}{talks[1].pk}/", "delete conversation": f"{base}{talks[0].pk}/delete/",
        "a question from a conversation": f"/c/cs-101/ask/?from=conversation:{talks[0].pk}",
    }  # fmt: skip


def learning_platform(world: World) -> str:
    """Fetch a list of members with something of every kind; return the address of the page that compares it."""
    ada = world.user("ada")
    ada.is_staff, ada.institution_role = True, "admin"
    ada.save(update_fields=["is_staff", "institution_role"])
    fields = dict.fromkeys(("authorization_url", "token_url", "jwks_url"), "https://canvas.example/x")
    platform = account_actions.save_lti_platform(
        by=ada, platform=None, fields=fields | {"name": "Canvas", "issuer": "https://canvas.example", "client_id": "7"},
        deployments=["1"],
    )  # fmt: skip
    for name in ("carl", "noor"):
        LtiIdentity.objects.create(
            institution=world.institution, platform=platform, sub=f"sub-{name}", user=world.user(name)
        )
    context = LtiContext.objects.create(
        institution=world.institution, deployment=platform.deployments.get(), context_id="1", course=world.course,
        title="Programming I", memberships_url="https://canvas.example/members", linked_by=ada,
    )  # fmt: skip
    sync = account_actions.start_lti_sync(by=world.member("ada"), context=context)
    people = [
        {
            "sub": f"sub-{name}",
            "email": f"{name}@example.edu",
            "name": name,
            "role": role,
            "role_known": True,
            "active": True,
        }
        for name, role in (("zoe", "ta"), ("sam", "ta"), ("dana", "student"))
    ]
    unreadable = [{"number": 4, "reason": "It has no roles."}]
    account_actions.finish_lti_fetch(sync.pk, Members(people, unreadable))
    return "/c/cs-101/course/lms/"


def sum_up(thread: Thread, post: Post) -> None:
    """Put a summary on a thread's page."""
    summary = ThreadSummary.objects.create(institution_id=thread.institution_id, thread=thread, state="ready")
    SummaryPoint.objects.create(
        institution_id=thread.institution_id, summary=summary, number=1, text="It is said.", post=post,
        quote=post.body[:9],
    )  # fmt: skip


def review_answers(world: World, homework: Assignment) -> dict[str, str]:
    """Let answers of the machine come to every point of their life; return the addresses of the pages for it."""
    sam, noor, tim, ada = (world.member(name) for name in ("sam", "noor", "tim", "ada"))
    made = {name: factories.make_answer(sam, tim) for name in ("edited", "withdrawn", "published")}
    edited, withdrawn, published = made.values()
    ai_actions.edit_answer(by=tim, answer=edited, body="At the definition [1]. Not later.", seen=edit_token(edited))
    ai_actions.withdraw_answer(by=tim, answer=withdrawn, reason=WithdrawalReason.WRONG)
    ai_actions.give_feedback(by=noor, answer=edited, helpful=False, reason=FeedbackReason.UNCLEAR)
    ai_actions.ask_person(by=sam, answer=published, on=True)
    ai_actions.set_course_ai(by=ada, fields={"mode": "draft"})
    draft = factories.make_answer(sam, tim)
    ai_actions.set_course_ai(by=ada, fields={"mode": "publish"})
    hint = factories.make_thread(sam, "When is a default parameter value evaluated?", assignment=homework)
    ai_actions.generate_answer(Answer.objects.get(thread=hint).pk)
    Calibration.objects.create(
        institution=world.institution, course=world.course, method="platt", judged=60, endorsed=30, brier=0.2,
        calibration_error=0.05,
        parameters={"slope": 1.0, "offset": 0.0, "reliability": [[0.3, 0.4, 30, 0.35, 0.3], [0.6, 0.7, 30, 0.65, 0.7]]},
    )  # fmt: skip
    at = {name: f"/c/cs-101/{answer.thread.number}/" for name, answer in (made | {"draft": draft}).items()}
    return {
        "edited answer": at["edited"], "withdrawn answer": at["withdrawn"], "draft answer": at["draft"],
        "judged answer": at["published"], "hint": f"/c/cs-101/{hint.number}/",
        "edit answer": f"{at['published']}answer/edit/", "withdraw answer": f"{at['published']}answer/withdraw/",
        "history of an answer": f"{at['edited']}answer/history/", "AI answers": "/c/cs-101/answers/review/",
        "published answers": "/c/cs-101/answers/review/?show=unreviewed", "course AI": "/c/cs-101/answers/settings/",
        "course AI to a TA": "/c/cs-101/answers/settings/", "AI confidence": "/c/cs-101/answers/confidence/",
    }  # fmt: skip


def keep_order(world: World) -> dict[str, str]:
    """Flag, hide, merge, hold back and move something; return the addresses of the pages for it."""
    sam, noor, tim, ada = (world.member(name) for name in ("sam", "noor", "tim", "ada"))
    rude = factories.make_thread(noor, "A rude question", RICH)
    reply = factories.make_post(sam, rude, "A rude reply")
    for text in (rude, reply):
        actions.flag_text(by=ada, text=text, reason=FlagReason.OTHER, details="Look at the tone")
    other = factories.make_post(sam, rude, "A reply that is hidden")
    actions.hide_text(by=tim, text=other, reason="Say it kindly")
    decided = factories.make_thread(noor, "A question flagged by mistake")
    actions.flag_text(by=ada, text=decided, reason=FlagReason.SPAM)
    actions.decide_flags(by=tim, text=decided, decision=actions.Decision.NOTE, note="Please mind the tone")
    again = factories.make_thread(sam, "A rude question asked again", RICH, anonymity="classmates")
    actions.merge_threads(by=tim, source=again, target=rude)
    actions.set_duplicate(by=tim, thread=decided, of=rude)
    Course.objects.filter(pk=world.course.pk).update(posting_policy="approve")
    waiting = factories.make_thread(get_member(sam.user, "cs-101"), "A question that waits for approval")
    Course.objects.filter(pk=world.course.pk).update(posting_policy="open")
    private = factories.make_thread(sam, "A private one to open", visibility="staff")
    factories.enroll(world.user("tim"), world.other_course, Role.TA)
    at = {thread: f"/c/cs-101/{thread.number}/" for thread in (rude, decided, waiting, private)}
    return {
        "flags": "/c/cs-101/flags/", "decided flags": "/c/cs-101/flags/?show=closed", "approvals": "/c/cs-101/approvals/",
        "merged": at[rude], "duplicate": at[decided], "pending": at[waiting], "flag": f"{at[decided]}flag/",
        "hide": f"{at[decided]}hide/", "mark duplicate": f"{at[decided]}duplicate/", "merge": f"{at[decided]}merge/",
        "merge preview": f"{at[decided]}merge/?into={rude.number}", "move": f"{at[decided]}move/",
        "open": f"{at[private]}open/", "ban": f"/c/cs-101/people/{sam.user.pk}/ban/",
    }  # fmt: skip


# Pages for who isn't signed in.
OUTSIDE = [
    "/sign-in/", "/sign-up/", "/sign-up/sent/", "/sign-up/finish/x/", "/sign-in/reset/", "/sign-in/reset/sent/",
    "/sign-in/reset/0-x/", "/sign-in/confirm/", "/sign-in/confirm/x/", "/sign-in/institution/", "/sign-in/at/home/",
    "/sign-in/inactive/", "/sign-in/cancelled/", "/sign-in/error/",
]  # fmt: skip


FOR_STAFF = {
    "add material", "forbidden", "insights", "insights over weeks", "flags", "decided flags", "approvals", "hide",
    "mark duplicate", "merge", "merge preview", "move", "ban", "edit answer", "withdraw answer", "history of an answer",
    "AI answers", "published answers", "course AI to a TA",
    "delete material",
    "evaluation",
}  # fmt: skip
# What sam asked the machine is nobody else's.
FOR_SAM = {"conversation", "failed answer", "delete conversation", "a question from a conversation"}
# An instructor may change everything there.
FOR_INSTRUCTORS = {
    "learning platform", "platforms", "add platform",
    "queue", "bulk", "inserted", "templates", "template", "set-up", "course settings", "roster", "add people", "person",
    "sections", "assignments", "assignment", "tags", "audit", "narrowed audit", "course AI", "AI confidence",
    "AI spending", "import a file", "what a file changes", "changes of a file", "problems of a file", "applied file",
    "file thrown away", "invitations", "join code",
}  # fmt: skip


def rounds(pages: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return who opens which pages."""

    def without(*names: str) -> dict[str, str]:
        return {name: url for name, url in pages.items() if name not in names}

    return [
        ("sam", without(*FOR_STAFF, *FOR_INSTRUCTORS)),
        ("tim", without(*FOR_INSTRUCTORS, *FOR_SAM, "deleted", "mail", "open")),
        ("ada", {name: pages[name] for name in pages if name in FOR_INSTRUCTORS}),
    ]


@pytest.mark.drill
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_no_page_has_a_barrier(stage: World, visit: Visit, look: str) -> None:
    pages = fill(stage)
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options["viewport"] = {"width": 390, "height": 844}
    found: list[str] = []
    out = visit("", bypass_csp=True, **options)
    for url in (*OUTSIDE, pages["invitation of somebody else"], "/invitations/x/"):
        out.goto(url)
        found += violations(out)
    for who, opened in rounds(pages):
        page = visit(who, bypass_csp=True, **options)
        for name, url in opened.items():
            page.goto(url)
            page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            found += violations(page)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name} scrolls sideways by {wide} px"
    assert found == []


@pytest.mark.drill
@pytest.mark.parametrize("look", ["light", "dark"])
def test_what_shows_while_somebody_types_has_no_barrier(stage: World, visit: Visit, look: str) -> None:
    title = "When is a default parameter value evaluated?"
    factories.make_thread(stage.member("noor"), title)
    page = visit("sam", bypass_csp=True, color_scheme=look)
    page.goto("/c/cs-101/ask/")
    page.locator("#course-search").press_sequentially("defau")
    page.locator(".suggestions a").first.wait_for()
    # The list lies over the tabs while it is open; it closes with Escape, or when something else is looked at.
    found = [barrier for barrier in violations(page) if "target-size" not in barrier or 'class="tab"' not in barrier]
    page.locator("#id_title").press_sequentially(title)
    page.locator("#similar li").first.wait_for()
    found += violations(page)
    page.locator("#id_body").fill("Once?")
    page.get_by_role("button", name="Post", exact=True).click()
    page.locator("#duplicate-warning").wait_for()
    assert found + violations(page) == []


def test_axe_would_find_a_barrier(stage: World, visit: Visit) -> None:
    page = visit("", bypass_csp=True)
    page.goto("/sign-in/")
    page.evaluate("document.querySelector('label').remove()")
    assert violations(page)


def walk(page: Page) -> list[str]:
    """Press Tab until the focus leaves the page; return what is wrong with where it was."""
    wrong: list[str] = []
    page.evaluate("document.activeElement.blur()")
    for step in range(400):
        page.keyboard.press("Tab")
        at: dict[str, Any] | None = page.evaluate(
            """() => {
                const here = document.activeElement;
                if (!here || here === document.body) return null;
                const box = here.getBoundingClientRect(), style = getComputedStyle(here);
                const first = !here.dataset.walked, around = here.dataset.walked === "0";
                here.dataset.walked ??= document.querySelectorAll("[data-walked]").length;
                const target = here.closest("label") || here;
                return {
                    // The parts of a date are stops of their own.
                    parts: here.type === "date" || here.type === "datetime-local",
                    first, around, html: here.outerHTML.slice(0, 120),
                    seen: style.outlineStyle !== "none" || style.boxShadow !== "none"
                        || getComputedStyle(target).outlineStyle !== "none",
                    inside: box.bottom > 0 && box.top < innerHeight && box.width > 0,
                };
            }"""
        )
        if at is None or at["around"]:
            return wrong if step else [f"{page.url}: nothing can be reached"]
        if not at["first"] and not at["parts"]:
            return [*wrong, f"{page.url}: the focus turns in circles at {at['html']}"]
        if not at["seen"]:
            wrong.append(f"{page.url}: focus isn't visible on {at['html']}")
        if not at["inside"]:
            wrong.append(f"{page.url}: focus is out of sight on {at['html']}")
    return [*wrong, f"{page.url}: more than 400 stops"]


@pytest.mark.drill
@pytest.mark.parametrize("look", ["desktop", "phone"])
def test_every_page_can_be_walked_by_keyboard(stage: World, visit: Visit, look: str) -> None:
    pages = fill(stage)
    options: dict[str, Any] = {"viewport": {"width": 390, "height": 844}} if look == "phone" else {}
    found: list[str] = []
    out = visit("", **options)
    for url in OUTSIDE:
        out.goto(url)
        found += walk(out)
    for who, opened in rounds(pages):
        page = visit(who, **options)
        for url in opened.values():
            page.goto(url)
            found += walk(page)
    assert found == []


@pytest.mark.drill
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_no_page_of_signing_in_has_a_barrier(stage: World, visit: Visit, look: str) -> None:
    """Those one comes to by proving something first: axe, keyboard and width."""
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options["viewport"] = {"width": 390, "height": 844}
    page = visit("sam", bypass_csp=True, **options)
    found: list[str] = []

    def look_at(url: str) -> None:
        page.goto(url)
        assert page.url.endswith(url), page.url
        found.extend([*violations(page), *walk(page)])
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{url} scrolls sideways by {wide} px"

    look_at("/me/security/again/")
    page.goto("/me/security/app/")
    page.get_by_label("Your password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/me/security/app/")
    for name in ("app", "passkeys/add", "email", "password"):
        look_at(f"/me/security/{name}/")
    add_app(stage.user("sam"))
    page.goto("/me/security/recovery-codes/new/")
    page.get_by_role("button", name="Make new ones").click()
    page.wait_for_url("**/recovery-codes/")
    for name in ("", "app/remove/", "recovery-codes/", "recovery-codes/new/", "again/code/"):
        look_at(f"/me/security/{name}")
    User.objects.filter(pk=stage.user("noor").pk).update(password="!")
    platform = LtiPlatform.objects.create(
        institution=stage.institution, name="Canvas of the university", issuer="https://canvas.example", client_id="7",
        authorization_url="https://canvas.example/x", token_url="https://canvas.example/x", jwks_url="https://canvas.example/x",
    )  # fmt: skip
    LtiIdentity.objects.create(institution=stage.institution, platform=platform, sub="s", user=stage.user("noor"))
    cookie = factories.browser(User.objects.get(pk=stage.user("noor").pk)).cookies[settings.SESSION_COOKIE_NAME].value
    page.context.clear_cookies()
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": page.url}])
    for url in ("/me/erase/", "/me/security/connections/", "/me/security/password/set/", "/me/security/again/sign-in/"):
        look_at(url)
    page.context.clear_cookies()
    page.goto("/sign-in/")
    page.get_by_label("E-mail").fill("sam@example.edu")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/second-step/")
    look_at("/sign-in/second-step/")
    assert found == []


def test_the_walk_would_find_a_focus_that_cannot_be_seen(stage: World, visit: Visit) -> None:
    page = visit("", bypass_csp=True)
    page.goto("/sign-in/")
    page.add_style_tag(content="* { outline: none !important; box-shadow: none !important; }")
    assert walk(page)
