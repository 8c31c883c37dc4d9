"""What the machine's part of QuokkaQ keeps about people: see `accounts.privacy`."""

from typing import Any

from accounts.models import User
from accounts.privacy import (
    Changed,
    Gone,
    PersonalData,
    Reference,
    Stays,
    not_personal,
    refer,
    register,
)
from accounts.retention import Retained, retain
from ai_answers.models import (
    AIConsent,
    Answer,
    AnswerEndorsement,
    AnswerFeedback,
    Calibration,
    Citation,
    Conversation,
    ConversationKind,
    CourseAI,
    Disclosure,
    EvaluationCase,
    EvaluationRun,
    InstitutionAI,
    Material,
    MaterialImport,
    MaterialVersion,
    Message,
    ModelCall,
    ModelPrice,
    Passage,
    PassageVector,
    Spending,
    SpendingScope,
    SummaryPoint,
    ThreadSummary,
)

_COURSE = {"of_course": "course__slug"}


def _of(model: Any) -> Any:
    return lambda person: model.objects.filter(user=person)


def register_own_data() -> None:
    """Say all of it, once the apps are there."""
    register(
        PersonalData("ai_consent", "Whether your texts may go to a model", AIConsent, ("user",), _of(AIConsent), Gone()),
        # Before conversations: deleting those takes their messages along.
        PersonalData(
            "messages", "What was said in your conversations with the AI", Message, (),
            lambda person: Message.objects.filter(conversation__user=person), Gone(),
            without={"error_code": "it is about our machine"},
        ),
        PersonalData(
            "conversations", "Your conversations with the AI", Conversation, ("user",), _of(Conversation), Gone(), also=_COURSE
        ),
        PersonalData(
            "answer_feedback", "How you judged answers of the AI", AnswerFeedback, ("reader",),
            lambda person: AnswerFeedback.objects.filter(reader=person), Gone(),
            also={"of_course": "answer__thread__course__slug", "thread_number": "answer__thread__number"},
        ),
        PersonalData(
            "answer_endorsements", "Answers of the AI you endorsed", AnswerEndorsement, ("endorser",),
            lambda person: AnswerEndorsement.objects.filter(endorser=person),
            Stays("they say what staff of the course stood by"),
        ),
        PersonalData(
            "disclosures", "Texts sent to a model outside this server for you", Disclosure, ("user",), _of(Disclosure), Gone(),
            also=_COURSE,
        ),
        PersonalData(
            "model_calls", "What was asked of a model for you, and what it cost", ModelCall, ("user",), _of(ModelCall),
            Changed({"user": None}, "the course goes on knowing what it spent"), also=_COURSE,
        ),
        PersonalData(
            "spending", "What was spent for you on each day", Spending, (), _own_spending, Gone(),
        ),
        PersonalData(
            "material_imports", "Files of course materials you added", MaterialImport, ("created_by",),
            lambda person: MaterialImport.objects.filter(created_by=person), Stays("they belong to the course"), also=_COURSE,
            without={"storage_key": "where it lies in our store"},
        ),
        PersonalData(
            "material_versions", "Course materials you added", MaterialVersion, ("created_by",),
            lambda person: MaterialVersion.objects.filter(created_by=person), Stays("they belong to the course"),
        ),
    )  # fmt: skip
    retain(
        Retained(
            "previews", "Previews of questions being written.",
            lambda before: Conversation.objects.filter(kind=ConversationKind.PREVIEW, created_at__lt=before),
        ),
        Retained(
            "disclosures", "Texts that were sent to a model.", lambda before: Disclosure.objects.filter(sent_at__lt=before)
        ),
        Retained(
            "model_calls", "What calls of a model cost; sums per day stay.",
            lambda before: ModelCall.objects.filter(created_at__lt=before),
        ),
    )  # fmt: skip
    shown = "what staff did, for the course; it shows “Deleted user”"
    refer(Reference(Answer, "edited_by", shown), Reference(Answer, "withdrawn_by", shown))
    machine, course = "the machine made it", "it belongs to the course"
    not_personal({
        Answer: machine, Citation: machine, Calibration: machine, ThreadSummary: machine, SummaryPoint: machine,
        CourseAI: course, Material: course, Passage: course, PassageVector: course, EvaluationCase: course,
        EvaluationRun: machine, InstitutionAI: "it belongs to the institution", ModelPrice: "a price",
    })  # fmt: skip


def _own_spending(person: User) -> Any:
    return Spending.objects.filter(scope=SpendingScope.USER, scope_id=person.pk)
