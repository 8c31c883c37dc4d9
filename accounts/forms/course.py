"""What staff may say about a course."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.actions import SETTINGS, settings_version
from accounts.forms.fields import HiddenText, LocalTime
from accounts.models import Course


class CourseSettingsForm(forms.ModelForm[Course]):
    """Name and policies of a course. It knows which settings it was shown with, so that nobody overwrites unseen ones."""

    posting_closed_until = LocalTime(label="Closed for an exam until", required=False)
    version = HiddenText(required=False)

    class Meta:
        model = Course
        fields = [
            "name", "term", "description", "posting_policy", "posting_closed_until", "anonymity_policy", "points_hidden"
        ]  # fmt: skip
        labels = {
            "posting_policy": "Who may post",
            "anonymity_policy": "Names",
            "points_hidden": "Hide points",
        }
        help_texts = {
            "posting_policy": "Everybody: posts appear at once. Staff approve: a student’s post says “waiting for approval” "
            "to them until you decide, and classmates don’t see it. Only staff: students read and vote.",
            "anonymity_policy": "Under their name: there is nothing to choose. From classmates: staff see the name beside "
            "a pseudonym. From everyone: staff see the pseudonym only. It counts for what is posted from now on; who "
            "hides already stays hidden.",
            "points_hidden": "Nobody sees points or a ranking. They are still counted, so you can show them again.",
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3, "data-grow": True}),
            "posting_policy": forms.RadioSelect,
            "anonymity_policy": forms.RadioSelect,
        }

    def __init__(self, data: Any = None, *, instance: Course) -> None:
        initial: dict[str, Any] = {"version": settings_version(instance)}
        until = instance.posting_closed_until
        # The form's fields are written on the instance: it works on a copy, so the page shows what is saved.
        self.saved = instance
        copy = Course.from_db(None, [f.attname for f in Course._meta.concrete_fields], [
            getattr(instance, f.attname) for f in Course._meta.concrete_fields
        ])  # fmt: skip
        if until is not None and until <= timezone.now():
            initial["posting_closed_until"] = ""
        super().__init__(data, instance=copy, initial=initial)
        self.fields["posting_closed_until"].help_text = (
            "Students can read and not post until then; it opens again by itself. Empty: no such time. "
            f"Your time zone is {timezone.get_current_timezone_name().replace('_', ' ')}."
        )

    def clean_posting_closed_until(self) -> datetime | None:
        until: datetime | None = self.cleaned_data["posting_closed_until"]
        if until is not None and until <= timezone.now():
            raise ValidationError("This time has passed. Choose a later one, or leave it empty.")
        return until

    def settings(self) -> dict[str, Any]:
        """Return what was chosen, once valid."""
        chosen = {name: value for name, value in self.cleaned_data.items() if name != "version"}
        if chosen["posting_closed_until"] is None and not self._closed_now():
            chosen["posting_closed_until"] = self.saved.posting_closed_until  # it has passed: nothing to change
        return chosen

    def _closed_now(self) -> bool:
        until = self.saved.posting_closed_until
        return until is not None and until > timezone.now()

    def differences(self) -> Iterator[tuple[str, str]]:
        """Return label and saved value of every field where the form says something else: what somebody else chose."""
        for name, field in self.fields.items():
            value = getattr(self.saved, name, None)
            if name not in SETTINGS or self.cleaned_data.get(name) == value:
                continue
            if isinstance(value, datetime):
                value = f"{timezone.localtime(value):%Y-%m-%d %H:%M}"
            elif isinstance(value, bool):
                value = "yes" if value else "no"
            elif hasattr(self.saved, f"get_{name}_display"):
                value = getattr(self.saved, f"get_{name}_display")()
            yield str(field.label), str(value or "nothing")
