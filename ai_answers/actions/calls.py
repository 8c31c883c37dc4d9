"""Asking an engine: the one door through which a request leaves for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.utils import timezone

from accounts.models import Course, User
from ai_answers.citations import UnsupportedQuotation
from ai_answers.engines import Abstention, Engine, Request, Statement, Usage, default_engine
from ai_answers.models import Answer, CallOutcome, ModelCall, Purpose

# How long an engine may take for one request, in seconds.
DEADLINE_SECONDS = 60


class Consultation:
    """What an engine says to one request, statement by statement; iterate it once.

    `engine` is the one that speaks, known from the first statement on.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self.engine = engine
        self.usage = Usage()
        self.outcome = CallOutcome.STOPPED
        self._request = request

    def __iter__(self) -> Iterator[Statement | Abstention]:
        outcome = CallOutcome.ANSWERED
        for said in self.engine.write(self._request, deadline=time.monotonic() + DEADLINE_SECONDS):
            match said:
                case Usage():
                    self.usage = said
                case Abstention():
                    outcome = CallOutcome.ABSTAINED
                    yield said
                case Statement():
                    yield said
        self.outcome = outcome


@contextmanager
def consult(
    request: Request,
    *,
    course: Course,
    user: User | None,
    purpose: Purpose,
    answer: Answer | None = None,
    engine: Engine | None = None,
) -> Iterator[Consultation]:
    """Ask the engine of a course, and write down in the ledger what came of it and what it cost.

    Inside the block, iterate the consultation. Leaving it early means that the person stopped it; raising
    `UnsupportedQuotation` that nothing it said was true to its sources. `user` is who asked; `engine` stands in for the
    course's.
    """
    consultation = Consultation(engine or default_engine(), request)
    started = time.monotonic()
    outcome, reason = None, ""
    try:
        yield consultation
    except Exception as error:
        outcome = CallOutcome.REFUSED if isinstance(error, UnsupportedQuotation) else CallOutcome.ERROR
        reason = type(error).__name__[:80]
        raise
    finally:
        ModelCall.objects.create(
            institution_id=course.institution_id,
            answer=answer,
            course=course,
            user=user,
            purpose=purpose,
            engine=consultation.engine.name,
            model=consultation.engine.model,
            prompt=consultation.engine.prompt,
            outcome=outcome or consultation.outcome,
            reason=reason,
            passages=len(request.sources),
            input_tokens=consultation.usage.input_tokens,
            output_tokens=consultation.usage.output_tokens,
            duration_ms=round((time.monotonic() - started) * 1000),
            settled_at=timezone.now(),
        )
