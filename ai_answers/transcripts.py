"""What was said in a conversation, as its reader may see it now."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from accounts.access import Member
from ai_answers import access
from ai_answers.citations import still_hold
from ai_answers.models import Citation, EngineName, Message, Speaker


@dataclass(frozen=True)
class Shown:
    """A message and its quotations, each with the address of its source; nothing of one that is withheld."""

    message: Message
    citations: Sequence[tuple[Citation, str]] = ()
    withheld: bool = False

    @property
    def by_machine(self) -> bool:
        return self.message.speaker == Speaker.MACHINE

    @property
    def body(self) -> str:
        return "" if self.withheld else self.message.body

    @property
    def html(self) -> str:
        return "" if self.withheld else self.message.body_html

    @property
    def engine(self) -> str:
        """Say who spoke: the model, or what the engine is called."""
        names = dict(EngineName.choices)
        return self.message.model or names.get(self.message.engine, self.message.engine)

    @property
    def may_retry(self) -> bool:
        return access.may_retry_message(self.message)


def shown(member: Member, messages: Sequence[Message]) -> list[Shown]:
    """Return messages loaded with their quotations as the member may see them. One query, or none without quotations."""
    unreadable = access.unreadable_sources(member, messages)
    return [_shown(member, message, unreadable) for message in messages]


def _shown(member: Member, message: Message, unreadable: set[uuid.UUID]) -> Shown:
    if is_withheld(message, unreadable):
        return Shown(message, withheld=True)
    return Shown(message, [(c, c.source_url(member.course.slug)) for c in message.citations.all()])


def is_withheld(message: Message, unreadable: set[uuid.UUID]) -> bool:
    """Tell whether what the machine said mustn't be shown: a source changed under a quotation, or can't be read any more.

    Args:
        message: loaded with its quotations.
        unreadable: what `access.unreadable_sources` returns.
    """
    if message.speaker == Speaker.PERSON or not message.body:
        return False
    citations = list(message.citations.all())
    return not still_hold(citations) or any(citation.version_id in unreadable for citation in citations)
