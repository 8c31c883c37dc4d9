"""What staff and students do around the threads of the demo course: joining, assigning, flagging, merging, being told."""

from datetime import datetime, timedelta

from accounts.access import Member
from ai_answers import actions as ai_actions
from ai_answers.models import Answer, AnswerMode, FeedbackReason, WithdrawalReason
from forum import actions
from forum.models import (
    Deflection,
    FlagReason,
    Kind,
    Post,
    ResponseTemplate,
    Thread,
)
from quokkaq.lib.uuid7 import uuid7

TEMPLATES = (
    (
        "Ask for the traceback", "Asking well",
        "Hi {student}, could you paste the whole traceback as text, inside a code block? The last line says what went "
        "wrong, the lines above it where.",
    ),
    (
        "Too close to a solution", "Homework",
        "Hi {student}, this is so close to {assignment} that I have hidden the code until it is due ({due}). Ask again "
        "with a small example that shows the same problem, and you will get an answer.",
    ),
    ("See the announcement", "Logistics", "Hi {student}, this is answered in #29. Tell me if something stays unclear. {me}"),
)  # fmt: skip


def run_the_course(members: dict[str, Member], now: datetime) -> None:
    """Let the weeks of the course have happened, through the actions that people's clicks use."""
    tim, ada = members["tim"], members["ada"]
    for title, category, body in TEMPLATES:
        actions.save_template(by=tim, template=None, title=title, category=category, body=body)
    ResponseTemplate.objects.filter(course=tim.course, category="Asking well").update(use_count=6)
    credit, circular = _thread(tim, "How is partial credit given"), _thread(tim, "Circular import between")
    for key in ("sam", "lena", "priya", "diego"):
        actions.set_same_question(by=members[key], thread=credit, on=True)
    actions.set_same_question(by=members["noor"], thread=circular, on=True)
    actions.assign_thread(by=ada, thread=credit, to=tim.user)
    _flag(members)
    _merge(members, now)
    _review(members, now)
    for days, (key, title) in enumerate(
        (("sam", "is vs =="), ("mei", "My two lists"), ("kofi", "nonlocal:"), ("jonas", "Are dicts ordered"))
    ):
        deflection = actions.record_deflection(by=members[key], thread=_thread(tim, title))
        Deflection.objects.filter(pk=deflection.pk).update(created_at=now - timedelta(days=2 * days, hours=5))


def _review(members: dict[str, Member], now: datetime) -> None:
    """Readers said what they think of the AI's answers; staff edited one, withdrew one, and have one to publish."""
    tim, ada = members["tim"], members["ada"]
    answers = Answer.objects.visible_to(tim).shown().filter(endorsement_count=0).order_by("is_hint", "thread__number")
    edited, *others = answers.select_related("thread")
    liked, withdrawn = others[0], others[-1]
    for key in ("noor", "mei"):
        ai_actions.give_feedback(by=members[key], answer=liked, helpful=True)
        ai_actions.give_feedback(
            by=members[key], answer=withdrawn, helpful=False, reason=FeedbackReason.OFF_TOPIC,
            comment="My question is about something else.",
        )  # fmt: skip
    ai_actions.ask_person(by=members["kofi"], answer=liked, on=True)
    ai_actions.withdraw_answer(by=tim, answer=withdrawn, reason=WithdrawalReason.OFF_TOPIC)
    body = f"{edited.body} Try it in the interpreter with a short example, and watch the lines it runs."
    ai_actions.edit_answer(by=ada, answer=edited, body=body, seen=ai_actions.edit_token(edited))
    # For a few days, staff wanted to see what it writes before anybody else does.
    ai_actions.set_course_ai(by=ada, fields={"mode": AnswerMode.DRAFT})
    draft = actions.ThreadDraft(
        title="What does the global statement do inside a function?",
        body="I see it in the solution of the lab, and the program works without it.",
        kind=Kind.QUESTION,
    )
    thread = actions.start_thread(by=members["jonas"], draft=draft, form_key=uuid7())
    asked_at = now - timedelta(hours=3)
    Thread.objects.filter(pk=thread.pk).update(created_at=asked_at, last_activity_at=asked_at)
    ai_actions.generate_answer(Answer.objects.get(thread=thread).pk)
    ai_actions.set_course_ai(by=ada, fields={"mode": AnswerMode.PUBLISH})


def _thread(by: Member, title: str) -> Thread:
    thread = Thread.objects.visible_to(by).filter(title__startswith=title).order_by("number").first()
    if thread is None:
        raise LookupError(f"the demo has no thread {title!r}")
    thread.course = by.course
    return thread


def _flag(members: dict[str, Member]) -> None:
    """Two students point at the same reply."""
    thread = _thread(members["tim"], "How much may we talk")
    reply = (
        Post.objects.filter(thread=thread, deleted_at=None, parent=None).exclude(author=members["noor"].user).first()
    )
    if reply is not None:
        actions.flag_text(
            by=members["noor"],
            text=reply,
            reason=FlagReason.INTEGRITY,
            details="Isn’t this nearly the solution of task 3?",
        )


def _merge(members: dict[str, Member], now: datetime) -> None:
    """The same question came twice; a TA brought the two together."""
    draft = actions.ThreadDraft(
        title="Why does my default list remember students of the last gradebook?",
        body="I make a second `Gradebook()` and the names of the first one are in it already. Is `[]` shared?",
        kind=Kind.QUESTION,
    )
    source = actions.start_thread(by=members["diego"], draft=draft, form_key=uuid7())
    asked_at = now - timedelta(days=13)
    Thread.objects.filter(pk=source.pk).update(created_at=asked_at, last_activity_at=asked_at)
    target = _thread(members["tim"], "Every new gradebook already")
    actions.merge_threads(by=members["tim"], source=source, target=target)
