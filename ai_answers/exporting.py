"""A conversation to take along: Markdown, JSON or CSV, with its quotations and where they come from."""

from collections.abc import Callable, Sequence

from django.conf import settings
from django.http import HttpResponse, JsonResponse

from ai_answers.models import MAX_MESSAGE, Citation, Conversation
from ai_answers.transcripts import Shown
from forum.models import MAX_BODY, MAX_TITLE, MIN_TITLE
from quokkaq.lib.spreadsheet import csv_response

WITHHELD = "(withheld: a source no longer says what was quoted, or can no longer be read)"
NAMES = (("md", "Markdown"), ("json", "JSON"), ("csv", "CSV"))
LEFT_OUT = "*(The beginning is left out: it is too long for one post.)*"


def export(kind: str, conversation: Conversation, said: Sequence[Shown]) -> HttpResponse | None:
    """Return a conversation as a download; None for a kind that there isn't."""
    write = KINDS.get(kind)
    if write is None:
        return None
    return write(file_name(kind, conversation), conversation, said)


def file_name(kind: str, conversation: Conversation) -> str:
    """Return what the file is called: without the title, for names end up in places where others look."""
    return f"conversation-{conversation.created_at:%Y-%m-%d}-{str(conversation.pk)[-6:]}.{kind}"


def as_thread(conversation: Conversation, said: Sequence[Shown]) -> dict[str, str]:
    """Return title and body of a thread made of a conversation, for the person to edit; the end of one too long for a post."""
    parts = []
    for shown in said:
        if not shown.by_machine:
            parts.append(f"**I asked:**\n\n{_quoted(shown.message.body)}")
        elif shown.body:
            sources = "\n".join(
                f"{citation.number}. “{' '.join(citation.quote.split())}” ({_link(citation, url)})"
                for citation, url in shown.citations
            )
            parts.append(f"**The AI said:**\n\n{_quoted(shown.body)}\n\n{sources}".rstrip())
    kept: list[str] = []
    room = MAX_BODY - len(LEFT_OUT) - 2
    for part in reversed(parts):
        room -= len(part) + 2
        if room < 0:
            kept.append(LEFT_OUT)
            break
        kept.append(part)
    return {"title": as_title(conversation.title), "body": "\n\n".join(reversed(kept))}


def as_title(text: str) -> str:
    """Return the first words of a question as the title of a thread; empty when they are too few for one."""
    title = " ".join(text.split())
    title = title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1]}…"
    return title if len(title) >= MIN_TITLE else ""


def _markdown(name: str, conversation: Conversation, said: Sequence[Shown]) -> HttpResponse:
    lines = [f"# {conversation.title}", "", f"{conversation.course.code}, {conversation.created_at:%Y-%m-%d %H:%M} UTC"]
    for shown in said:
        lines += ["", f"## {_speaker(shown)}, {shown.message.created_at:%Y-%m-%d %H:%M} UTC", "", _text(shown)]
        for citation, url in shown.citations:
            lines += ["", f"[{citation.number}] {_link(citation, url)}", "", _quoted(citation.quote)]
    return _download(name, "text/markdown; charset=utf-8", "\n".join(lines) + "\n")


def _json(name: str, conversation: Conversation, said: Sequence[Shown]) -> HttpResponse:
    content = {
        "title": conversation.title,
        "course": conversation.course.code,
        "started": conversation.created_at.isoformat(),
        "thread": conversation.thread.number if conversation.thread else None,
        "messages": [
            {
                "speaker": shown.message.speaker,
                "at": shown.message.created_at.isoformat(),
                "state": shown.message.state,
                "withheld": shown.withheld,
                "text": shown.body,
                "engine": shown.message.engine,
                "model": shown.message.model,
                "left_the_server": shown.message.is_remote,
                "quotations": [
                    {
                        "number": citation.number,
                        "quote": citation.quote,
                        "source": citation.version.material.title,
                        "version": citation.version.number,
                        "start": citation.start,
                        "end": citation.end,
                        "url": _absolute(url),
                    }
                    for citation, url in shown.citations
                ],
            }
            for shown in said
        ],
    }
    response = JsonResponse(content, json_dumps_params={"ensure_ascii": False, "indent": 2})
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _csv(name: str, conversation: Conversation, said: Sequence[Shown]) -> HttpResponse:
    header = ["at (UTC)", "speaker", "state", "text", "quotation", "quoted words", "source", "address"]
    rows: list[list[object]] = []
    for shown in said:
        start = [f"{shown.message.created_at:%Y-%m-%d %H:%M:%S}", shown.message.speaker, shown.message.state]
        rows.append([*start, _text(shown), "", "", "", ""])
        for citation, url in shown.citations:
            source = f"{citation.version.material.title}, {citation.version}"
            rows.append([*start, "", citation.number, citation.quote, source, _absolute(url)])
    return csv_response(name, header, rows)


KINDS: dict[str, Callable[[str, Conversation, Sequence[Shown]], HttpResponse]] = {
    "md": _markdown,
    "json": _json,
    "csv": _csv,
}


def _download(name: str, content_type: str, content: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(content, content_type=content_type, headers=headers)


def _speaker(shown: Shown) -> str:
    return "The AI" if shown.by_machine else "I"


def _text(shown: Shown) -> str:
    if shown.withheld:
        return WITHHELD
    return shown.body or f"({shown.message.get_state_display()})"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text[: 2 * MAX_MESSAGE].splitlines())


def _link(citation: Citation, url: str) -> str:
    title = citation.version.material.title.replace("[", "(").replace("]", ")")
    return f"[{title}, {citation.version}]({_absolute(url)})"


def _absolute(url: str) -> str:
    return f"{settings.BASE_URL}{url}"
