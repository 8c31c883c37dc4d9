"""Template tags every page uses: icons, times, and questions to the access rules."""

import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from django import template
from django.conf import settings
from django.template import Context
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from accounts.access import Member
from accounts.models import Role, Upload, User
from forum import access
from forum.models import Attachment, Byline, Draft, Post, StaffNote, Thread, Writing
from forum.places import Bar, Place, places
from quokkaq.lib import times
from quokkaq.lib.fragments import fragment, hole
from quokkaq.lib.inspecting import sentence
from quokkaq.lib.markdown import render

register = template.Library()


@cache
def _icon(name: str) -> str:
    svg = (Path(settings.BASE_DIR) / "static" / "icons" / f"{name}.svg").read_text(encoding="utf-8").strip()
    # How lines are drawn says components.css, once: a page may hold hundreds of icons.
    return '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">' + svg.split(">", 1)[1]


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return one of `static/icons/*.svg` inline; hidden from screen readers, the text beside it speaks."""
    return mark_safe(_icon(name))  # noqa: S308 (a file of ours)  # rule: mark-safe (a file of ours)


ago = register.simple_tag(times.ago, name="ago")


@register.simple_tag
def styles(*names: str) -> SafeString:
    """Return links to stylesheets `static/css/<name>.css`. `site` is for every page; a page links what else it shows."""
    return format_html_join("", '<link rel="stylesheet" href="{}">', ((static(f"css/{name}.css"),) for name in names))


@register.simple_tag(name="places")
def places_in(bar: str, member: Member) -> list[Place]:
    """Return the links other apps have put into a bar of the navigation."""
    return places(bar, member)


class _Person(NamedTuple):
    """What the header shows of who looks."""

    pk: UUID
    display_name: str
    initials: str
    avatar: str
    is_staff: bool


class _Course(NamedTuple):
    """What the header shows of the course they are in, and of what they may do there."""

    slug: str
    code: str
    name: str
    is_staff: bool
    may_post: bool
    places: tuple[Place, ...]


@register.simple_tag(takes_context=True)
def site_header(context: Context) -> SafeString:
    """Return the header of every page. `waiting` of the context is how much waits in the inbox; without it one query."""
    user = context.get("user")
    member = context.get("member")
    person = course = None
    waiting = 0
    if isinstance(user, User):
        person = _Person(user.pk, user.display_name, user.initials, str(user.avatar), user.is_staff)
        waiting = context["waiting"] if "waiting" in context else access.unread_count(user)
    if isinstance(member, Member):
        of = member.course
        added = tuple(places(Bar.COURSE, member))
        course = _Course(of.slug, of.code, of.name, member.is_staff, member.may_post, added)
    return fragment(
        "components/site_header.html",
        holes={"csrf": str(context.get("csrf_token", ""))},
        person=person,
        course=course,
        section=context.get("section") or "",
        waiting=waiting,
        csrf_token=hole("csrf"),
    )


@register.filter
def files_of(attached: dict[object, list[Attachment]], writing: Writing) -> list[Attachment]:
    """Return what is attached to one text of a page."""
    return attached.get(writing.pk, [])


@register.filter
def why_refused(upload: Upload) -> str:
    """Return the sentence that says why a file was refused."""
    return sentence(upload.rejection)


@register.filter
def byline(writing: Writing, member: Member) -> Byline:
    """Return how the author is shown to this reader."""
    return writing.byline(member)


@register.filter
def html_of(writing: Writing) -> SafeString:
    """Return the text as HTML; it was sanitised when it was rendered."""
    return mark_safe(writing.html())  # noqa: S308 (quokkaq.lib.markdown sanitises)  # rule: mark-safe (quokkaq.lib.markdown sanitises)


@register.filter
def note_html(note: StaffNote) -> SafeString:
    """Return a staff note as HTML; it was sanitised when it was rendered."""
    return mark_safe(note.body_html)  # noqa: S308 (quokkaq.lib.markdown sanitises)  # rule: mark-safe (quokkaq.lib.markdown sanitises)


@register.filter
def sanitised(html: str) -> SafeString:
    """Return HTML made by `quokkaq.lib.markdown.render`, which sanitises."""
    return mark_safe(html)  # noqa: S308  # rule: mark-safe (quokkaq.lib.markdown sanitised it)


@register.filter
def hue(name: str) -> int:
    """Return one of six colours for initials, the same for the same name."""
    return sum(map(ord, name)) % 6 + 1


@register.simple_tag
def may(act: str, member: Member, writing: Thread | Post) -> bool:
    """Ask `forum.access.may_<act>`."""
    match act:
        case "reply":
            return isinstance(writing, Thread) and access.may_reply(member, writing)
        case "edit":
            return access.may_edit(member, writing)
        case "delete":
            return access.may_delete(member, writing)
        case "restore":
            return access.may_restore(member, writing)
        case "vote":
            return access.may_vote(member, writing)
        case "resolve":
            return isinstance(writing, Thread) and access.may_resolve(member, writing)
        case "ask the same":
            return isinstance(writing, Thread) and access.may_ask_the_same(member, writing)
        case "endorse":
            return access.may_endorse(member) and not writing.is_by(member) and writing.is_shown
        case "flag":
            return access.may_flag(member, writing)
        case "judge":
            return access.may_judge(member, writing)
        case "mark duplicate":
            return isinstance(writing, Thread) and access.may_mark_duplicate(member, writing)
        case "open":
            return isinstance(writing, Thread) and access.may_open(member, writing)
        case "moderate":
            return access.may_moderate(member)
    raise ValueError(f"unknown act {act}")


@register.filter
def endorsed_by(post: Post, member: Member) -> bool:
    """Tell whether the member has endorsed a post that was read with `shown_to()`."""
    return any(endorser["key"] == str(member.user.pk) for endorser in post.endorsers)


@register.filter
def role_name(role: str) -> str:
    """Return what a role is called."""
    return str(Role(role).label)


@register.filter
def flags_on(flags: dict[object, int], writing: Writing) -> int:
    """Return how many open flags a text has; `flags` are those of its thread, by post."""
    return flags.get(writing.pk if isinstance(writing, Post) else None, 0)


@register.filter
def draft_for(drafts: dict[object, Draft], post: Post) -> dict[str, str]:
    """Return text and choice of name of a comment under `post` that its writer hasn't sent yet; empty without one."""
    draft = drafts.get(post.pk)
    return {name: str(draft.fields.get(name, "")) for name in ("body", "anonymity")} if draft else {}


@register.filter
def rendered(source: str) -> SafeString:
    """Return Markdown from a course material as HTML; `render` sanitises."""
    return mark_safe(render(source))  # noqa: S308  # rule: mark-safe (quokkaq.lib.markdown sanitises)


@register.filter
def has_layout(quote: str) -> bool:
    """Tell whether line breaks of a plain text mean something: some line stands further in than the first."""
    lines = [line for line in textwrap.dedent(quote).splitlines() if line.strip()]
    return any(line.startswith((" ", "\t")) for line in lines)
