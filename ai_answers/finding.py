"""What search finds beside threads and posts: answers of the machine, and passages of the materials.

Neither has tags, states or an author, so searches for those leave them out.
"""

import uuid
from collections.abc import Sequence

from django.db.models.functions import Left

from accounts.access import Member
from ai_answers.citations import still_hold
from ai_answers.models import Answer, MaterialFormat, Passage
from forum.search import Hit, Request, dated, rank_rows
from quokkaq.lib.markdown import plain_text, render

# A snippet is cut from so much of a passage.
SHOWN_CHARACTERS = 4000


def rank_answers(member: Member, request: Request) -> list[Hit]:
    """Rank the published answers to threads the member may read."""
    if not request.words or request.query.about_threads:
        return []
    rows = Answer.objects.visible_to(member).shown()
    return rank_rows("answers", request, dated(rows, request.query, "finished_at"), "search")


def fill_answers(member: Member, hits: Sequence[Hit]) -> None:
    """Load the answers that are shown; one whose quotations don't hold any more is left out, as on its own page."""
    rows = Answer.objects.visible_to(member).select_related("thread").with_citations()
    found = rows.in_bulk([hit.key for hit in hits])
    for hit in hits:
        answer = found.get(hit.key)
        if answer is None or not still_hold(list(answer.citations.all())):
            continue
        answer.thread.course = member.course
        hit.heading = answer.thread.title
        hit.url = f"{answer.thread.get_absolute_url()}#ai-answer"
        hit.text = " ".join([plain_text(answer.body_html), *(citation.quote for citation in answer.citations.all())])
        hit.when = answer.finished_at
        hit.thread = answer.thread
        hit.is_endorsed = answer.endorsement_count > 0


def rank_materials(member: Member, request: Request) -> list[Hit]:
    """Rank materials by the passage of their newest version that fits best; endorsed threads are found as threads."""
    if not request.words or request.query.about_threads:
        return []
    rows = Passage.objects.visible_to(member).current().taught()
    hits = rank_rows("materials", request, dated(rows, request.query, "version__created_at"), "search")
    versions = dict(rows.filter(pk__in=[hit.key for hit in hits]).values_list("pk", "version_id"))
    best: dict[uuid.UUID, Hit] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.key)):
        best.setdefault(versions[hit.key], hit)
    return list(best.values())


def fill_materials(member: Member, hits: Sequence[Hit]) -> None:
    """Load the passages that are shown, each with the address that opens its material there."""
    rows = Passage.objects.visible_to(member).with_source().defer("text")
    rows = rows.annotate(shown=Left("text", SHOWN_CHARACTERS))  # type: ignore[no-redef]  # declared on the model
    found = rows.in_bulk([hit.key for hit in hits])
    for hit in hits:
        passage = found.get(hit.key)
        if passage is None:
            continue
        hit.heading = passage.version.material.title
        hit.detail = passage.heading if passage.heading != hit.heading else ""
        hit.url = passage.source_url(member.course.slug)
        is_markdown = passage.version.format == MaterialFormat.MARKDOWN
        hit.text = plain_text(render(passage.shown)) if is_markdown else passage.shown
        hit.when = passage.version.created_at
