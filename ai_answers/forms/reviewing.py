"""Forms of the life of an answer, of what a course lets the machine do."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms

from accounts.access import Refused
from accounts.forms import HiddenText
from ai_answers.actions import REVIEW_ACTS, check_markers, withdrawing
from ai_answers.actions.reviewing import Act
from ai_answers.models import STAFF_REASONS, AnswerMode, CourseAI, EngineName, FeedbackReason, WithdrawalReason
from forum.forms import PlainText
from forum.models import MAX_BODY

_REASONS = [(reason.value, reason.label) for reason in STAFF_REASONS]
MICROS = 1_000_000


class AnswerForm(forms.Form):
    """The text of an answer. Its `[n]` must be quotations the answer has."""

    body = PlainText(
        label="Answer",
        max_length=MAX_BODY,
        widget=forms.Textarea(attrs={"rows": 14}),
        error_messages={"required": "An answer needs some words."},
    )
    seen = HiddenText(required=False)

    def __init__(self, *args: Any, numbers: set[int], **kwargs: Any) -> None:
        self.numbers = numbers
        super().__init__(*args, **kwargs)

    def clean_body(self) -> str:
        body: str = self.cleaned_data["body"]
        try:
            check_markers(body, self.numbers)
        except Refused as refusal:
            raise forms.ValidationError(str(refusal)) from refusal
        return body


class WithdrawForm(forms.Form):
    """Why staff take an answer back."""

    reason = forms.ChoiceField(
        label="Why", choices=_REASONS, widget=forms.RadioSelect, error_messages={"required": "Say why."}
    )

    def why(self) -> WithdrawalReason:
        return WithdrawalReason(self.cleaned_data["reason"])


class FeedbackForm(forms.Form):
    """Whether an answer helps; if not, why. No value of `helpful` takes it back."""

    helpful = forms.TypedChoiceField(
        choices=[("1", "Helpful"), ("0", "Not helpful")],
        coerce=lambda value: value == "1",
        required=False,
        empty_value=None,
    )
    reason = forms.ChoiceField(
        label="What is wrong with it?",
        choices=[("", "I’d rather not say"), *[(r.value, r.label) for r in FeedbackReason if r]],
        required=False,
    )
    comment = PlainText(label="Anything else?", max_length=500, required=False)


class ReviewForm(forms.Form):
    """What to do to the answers ticked."""

    act = forms.ChoiceField(
        label="What to do",
        choices=[
            ("endorse", "Endorse"),
            ("publish", "Publish without endorsing"),
            ("withdraw", "Withdraw"),
            ("again", "Have it written anew"),
        ],
        error_messages={"required": "Choose what to do."},
    )
    reason = forms.ChoiceField(label="Why (to withdraw)", choices=[("", "—"), *_REASONS], required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("act") == "withdraw" and not data.get("reason") and "reason" not in self.errors:
            self.add_error("reason", "Say why you withdraw them.")
        return data

    def chosen_act(self) -> tuple[str, Act]:
        act: str = self.cleaned_data["act"]
        return withdrawing(WithdrawalReason(self.cleaned_data["reason"])) if act == "withdraw" else REVIEW_ACTS[act]

    def keys(self) -> set[uuid.UUID]:
        """Return the ids ticked; what isn't one is no answer, and left out."""
        values = self.data.getlist("answers") if hasattr(self.data, "getlist") else []
        return {key for value in values if (key := _uuid(value))}


def _uuid(value: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(value)
    except ValueError:
        return None


class CourseAIForm(forms.Form):
    """What a course lets the machine do. Thresholds are typed as “of 100”, the cap as dollars."""

    mode = forms.ChoiceField(label="New questions", choices=AnswerMode.choices, widget=forms.RadioSelect)
    engine = forms.ChoiceField(label="What writes the answers", choices=EngineName.choices, required=False)
    publish_of_100 = forms.IntegerField(
        label="Publish from",
        min_value=0,
        max_value=100,
        help_text="Of 100 answers with this confidence, about so many would be endorsed by staff. Surer ones are shown at once, marked as not reviewed.",
    )
    draft_of_100 = forms.IntegerField(
        label="Keep as a draft from",
        min_value=0,
        max_value=100,
        help_text="Between the two, an answer waits for staff. Below this, the machine says nothing and people answer.",
    )
    daily_cap = forms.DecimalField(
        label="Most this course may spend in a day, in US dollars",
        min_value=Decimal(0),
        max_value=Decimal(100_000),
        decimal_places=2,
        required=False,
        help_text="Left empty, what the institution allows each course. Quotations only cost nothing.",
    )
    conversations = forms.BooleanField(label="Students may have private conversations with the AI", required=False)
    previews = forms.BooleanField(label="Show what the materials say before a question is posted", required=False)

    @classmethod
    def of(cls, row: CourseAI) -> "CourseAIForm":
        """Return the form filled with what is saved."""
        cap = row.daily_cap_micros
        return cls(
            initial={
                "mode": row.mode,
                "engine": row.engine,
                "publish_of_100": round(row.publish_from * 100),
                "draft_of_100": round(row.draft_from * 100),
                "daily_cap": None if cap is None else Decimal(cap) / MICROS,
                "conversations": row.conversations,
                "previews": row.previews,
            }
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        publish, draft = data.get("publish_of_100"), data.get("draft_of_100")
        if publish is not None and draft is not None and draft > publish:
            self.add_error("draft_of_100", "This can’t be above what is published.")
        return data

    def settings(self) -> dict[str, Any]:
        """Return the values as they are stored, once valid."""
        data, cap = self.cleaned_data, self.cleaned_data["daily_cap"]
        return {
            "mode": data["mode"],
            "engine": data["engine"],
            "publish_from": data["publish_of_100"] / 100,
            "draft_from": data["draft_of_100"] / 100,
            "daily_cap_micros": None if cap is None else int(cap * MICROS),
            "conversations": data["conversations"],
            "previews": data["previews"],
        }
