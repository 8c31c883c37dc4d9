"""Asking an engine: the one door through which a request leaves for it."""

import random
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from time import sleep

from accounts.models import Course, User
from ai_answers import measures
from ai_answers.actions.budget import (
    BudgetExceeded,
    begin_call,
    extend_call,
    policy_of,
    settle_call,
)
from ai_answers.citations import UnsupportedQuotation
from ai_answers.engines import (
    Abstention,
    Engine,
    Request,
    Statement,
    Unavailable,
    Usage,
    configured_engine,
    default_engine,
    prompting,
)
from ai_answers.engines.limits import (
    FIRST_PAUSE_SECONDS,
    HARD_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MAX_ATTEMPTS,
    SOFT_SECONDS,
)
from ai_answers.engines.prompting import Prompt
from ai_answers.engines.remote import Failed, RemoteEngine
from ai_answers.models import AIConsent, Answer, CallOutcome, Disclosure, EngineName, ModelCall, Purpose
from ai_answers.neutralising import neutralise
from ai_answers.privacy import Pseudonyms, pseudonyms_for

# How long an engine may take for one request, in seconds.
DEADLINE_SECONDS = HARD_SECONDS

NOT_CONFIGURED = "The model this course chose isn’t set up on this server."
NO_CONSENT = "You haven’t allowed that your texts go to a model outside this server."
FAILED = "The model couldn’t be reached."


class Consultation:
    """What an engine says to one request, statement by statement; iterate it once.

    `engine` is the one that speaks: known from the first statement on, as a local one steps in for one that fails before.
    `notice` says in a sentence why another engine speaks than the course chose; empty when it doesn't.
    """

    def __init__(self, asked: "_Asked", engine: Engine, notice: str) -> None:
        self.engine = engine
        self.notice = notice
        self.usage = Usage()
        self.outcome = CallOutcome.STOPPED
        self._asked = asked
        self._attempt = _Attempt(asked, engine)
        self._said_something = False

    def __iter__(self) -> Iterator[Statement | Abstention]:
        outcome = CallOutcome.ANSWERED
        with closing(self._speak()) as speech:
            for said in speech:
                match said:
                    case Usage():
                        self.usage = said
                    case Abstention():
                        outcome = CallOutcome.ABSTAINED
                        yield said
                    case _:
                        yield Statement(neutralise(said.text), said.quotes)
        self.outcome = outcome

    def _speak(self) -> Generator[Statement | Abstention | Usage]:
        try:
            for said in self._attempt.say():
                self._said_something = self._said_something or not isinstance(said, Usage)
                yield said
        except Unavailable as error:
            if self._said_something or not self.engine.is_remote:
                raise
            self._attempt.settle(CallOutcome.ERROR, _code(error))
            self.engine, self.notice = default_engine(), self.notice or FAILED
            self._attempt = _Attempt(self._asked, self.engine, is_stand_in=True)
            yield from self._attempt.say()

    def close(self, outcome: CallOutcome | None, reason: str) -> None:
        """Settle the call that is open. Doing it twice changes nothing."""
        self._attempt.settle(outcome or self.outcome, reason, self.usage)


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
    course's. Raises `BudgetExceeded` when the person has asked as often as they may; where only money is short, nothing
    leaves this server and the local engine answers. Don't call it inside a transaction: the budget's locks would be held
    until its end.
    """
    consultation = _open(_Asked(request, course, user, purpose, answer), engine)
    outcome, reason = None, ""
    try:
        yield consultation
    except Exception as error:
        outcome = CallOutcome.REFUSED if isinstance(error, UnsupportedQuotation) else CallOutcome.ERROR
        reason = _code(error)
        raise
    finally:
        consultation.close(outcome, reason)


def choose_engine(course: Course) -> tuple[Engine, str]:
    """Return the engine a course has chosen, or the local one and why."""
    house, own = policy_of(course)
    engine = configured_engine(own.engine or house.engine or EngineName.EXTRACTIVE)
    return (engine, "") if engine is not None else (default_engine(), NOT_CONFIGURED)


def may_disclose(user: User | None, purpose: Purpose) -> bool:
    """Tell whether what a person wrote may leave this server. An evaluation asks questions of nobody."""
    if purpose == Purpose.EVALUATION:
        return True
    return user is not None and AIConsent.objects.given().filter(user=user).exists()


class _Asked:
    """What is asked, of whom it doesn't matter."""

    def __init__(
        self, request: Request, course: Course, user: User | None, purpose: Purpose, answer: Answer | None
    ) -> None:
        self.request = request
        self.course = course
        self.user = user
        self.purpose = purpose
        self.answer = answer


def _open(asked: _Asked, engine: Engine | None) -> Consultation:
    notice = ""
    if engine is None:
        engine, notice = choose_engine(asked.course)
    if engine.is_remote and not may_disclose(asked.user, asked.purpose):
        engine, notice = default_engine(), NO_CONSENT
    consultation = Consultation(asked, engine, notice)
    try:
        consultation._attempt.begin()
    except BudgetExceeded as refusal:
        if not engine.is_remote or (
            refusal.reason == "rate" and asked.purpose in (Purpose.CONVERSATION, Purpose.PREVIEW)
        ):
            raise
        consultation = Consultation(asked, default_engine(), str(refusal))
        consultation._attempt.begin()
    return consultation


class _Attempt:
    """One engine asked for one request: its row in the ledger, its disclosure, its tries."""

    def __init__(self, asked: _Asked, engine: Engine, *, is_stand_in: bool = False) -> None:
        self.engine = engine
        self.call: ModelCall | None = None
        self._asked = asked
        self._is_stand_in = is_stand_in
        self._started = time.monotonic()
        self._usage: Usage | None = None if engine.is_remote else Usage()
        self._tries = 1
        self._lost = 0
        # Nothing is owed before anything is sent, nor for what the provider refused.
        self._free = True
        self._prompt: Prompt | None = None
        self._most = Usage()
        self._pseudonyms: Pseudonyms | None = None
        self._request = asked.request

    def begin(self) -> None:
        """Write the call into the ledger. Raises `BudgetExceeded`."""
        asked = self._asked
        if self.engine.is_remote:
            self._pseudonyms = pseudonyms_for(asked.request, asked.course, asked.user)
            self._request = self._pseudonyms.mask_request(asked.request)
            if isinstance(self.engine, RemoteEngine):
                self._prompt = self.engine.compose(self._request)
                self._most = self.engine.most_of(self._prompt)
            else:
                self._prompt = prompting.compose(self._request)
                self._most = self.engine.most(self._request)
        self.call = begin_call(
            engine=self.engine,
            request=asked.request,
            most=self._most,
            course=asked.course,
            user=asked.user,
            purpose=asked.purpose,
            answer=asked.answer,
            is_stand_in=self._is_stand_in,
        )

    def say(self) -> Iterator[Statement | Abstention | Usage]:
        if self.call is None:
            self.begin()
        deadline = self._started + DEADLINE_SECONDS
        if not self.engine.is_remote:
            yield from self.engine.write(self._request, deadline=deadline)
            return
        self._disclose()
        emitted = False
        while True:
            self._free = False
            try:
                with closing(self._write(deadline)) as written:
                    for said in written:
                        if isinstance(said, Usage):
                            self._usage = said
                        elif self._recites(said):
                            continue
                        else:
                            emitted = True
                        yield self._unmasked(said)
                return
            except Failed as failure:
                self._free = not failure.may_cost
                pause = self._pause(failure)
                if emitted or pause is None or not self._again(failure):
                    raise
                sleep(pause)
                self._tries += 1

    def settle(self, outcome: CallOutcome, reason: str, usage: Usage | None = None) -> None:
        if self.call is None:
            return
        duration_ms = round((time.monotonic() - self._started) * 1000)
        known = self._usage if self.engine.is_remote else usage or self._usage
        cost = settle_call(
            self.call,
            outcome=outcome,
            reason=reason,
            usage=known,
            free=self._free,
            lost_micros=self._lost,
            attempts=self._tries,
            duration_ms=duration_ms,
            prompt=self.engine.prompt,
        )
        measures.count_call(self.engine.name, outcome, duration_ms / 1000, known, cost)
        self.call = None

    def _write(self, deadline: float) -> Generator[Statement | Abstention | Usage]:
        if isinstance(self.engine, RemoteEngine) and self._prompt is not None:
            yield from self.engine.send(self._prompt, deadline=deadline)
        else:
            yield from self.engine.write(self._request, deadline=deadline)

    def _recites(self, said: Statement | Abstention) -> bool:
        return isinstance(said, Statement) and self._prompt is not None and self._prompt.is_told_in(said.text)

    def _unmasked(self, said: Statement | Abstention | Usage) -> Statement | Abstention | Usage:
        return self._pseudonyms.unmask(said) if self._pseudonyms and isinstance(said, Statement) else said

    def _disclose(self) -> None:
        """Keep exactly the text that leaves, before it leaves."""
        if self.call is None or self._prompt is None:
            return
        Disclosure.objects.create(
            institution_id=self.call.institution_id,
            call=self.call,
            user=self._asked.user,
            course=self._asked.course,
            provider=self.engine.name,
            model=self.engine.model,
            text=self._prompt.text,
        )

    def _pause(self, failure: Failed) -> float | None:
        """Return how long to wait before another try; None when there is none."""
        if not failure.is_temporary or self._tries >= MAX_ATTEMPTS:
            return None
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self._tries - 1))
        pause = max(failure.wait, random.uniform(0, longest))  # noqa: S311 (jitter)  # nosec B311
        return pause if time.monotonic() + pause < self._started + SOFT_SECONDS else None

    def _again(self, failure: Failed) -> bool:
        """Tell whether the budget has room for another try, after one that may have to be paid."""
        if not failure.may_cost or self.call is None:
            return True
        before = self.call.reserved_micros
        try:
            extend_call(self.call, engine=self.engine, most=self._most, course=self._asked.course)
        except BudgetExceeded:
            return False
        self._lost = before
        return True


def _code(error: BaseException) -> str:
    """Return what the ledger calls an error: the engine's short code, or the class of anything else. Never a text."""
    if isinstance(error, Failed):
        return error.code
    return "unavailable" if isinstance(error, Unavailable) else type(error).__name__[:80]
