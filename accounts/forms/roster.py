"""Who is in a course, as what, and in which section."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts.forms.fields import HiddenText, UndamagedText
from accounts.models import EnrollmentStatus, Role


class SectionName(UndamagedText):
    """The name of a section; runs of blanks count, and are kept, as one."""

    def __init__(self, **kwargs: Any) -> None:
        options: dict[str, Any] = {"label": "Section", "max_length": 40, "required": False}
        super().__init__(**(options | kwargs))

    def to_python(self, value: Any) -> str:
        return " ".join((super().to_python(value) or "").split())


class EnrollmentForm(forms.Form):
    """What somebody is in a course. Those who may only sort people into sections see only that field."""

    role = forms.ChoiceField(choices=Role.choices)
    status = forms.ChoiceField(choices=EnrollmentStatus.choices)
    section = SectionName(help_text="Empty: in no section.")

    def __init__(self, *args: Any, whole: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not whole:
            del self.fields["role"], self.fields["status"]

    def changes(self) -> dict[str, Any]:
        """Return the arguments of `change_enrollments`, once valid."""
        data = self.cleaned_data
        changes: dict[str, Any] = {"section": data["section"]}
        if "role" in data:
            changes |= {"role": Role(data["role"]), "status": EnrollmentStatus(data["status"])}
        return changes


class ManyEnrollmentsForm(forms.Form):
    """Set role, status or section of several people at once; what is left empty stays."""

    people = forms.TypedMultipleChoiceField(
        coerce=str, error_messages={"required": "Tick the people you mean first."}, widget=forms.CheckboxSelectMultiple
    )
    role = forms.ChoiceField(choices=[("", "Leave as it is"), *Role.choices], required=False)
    status = forms.ChoiceField(choices=[("", "Leave as it is"), *EnrollmentStatus.choices], required=False)
    section = SectionName(widget=forms.TextInput(attrs={"placeholder": "Leave as it is", "list": "sections"}))
    no_section = forms.BooleanField(label="In no section", required=False)

    def __init__(self, *args: Any, whole: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not whole:
            del self.fields["role"], self.fields["status"]
        # Whether they are in the course is asked by the action, under its lock; here only that they are keys.
        self.fields["people"].valid_value = lambda value: bool(_KEY.fullmatch(value))  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("section") and data.get("no_section"):
            self.add_error("section", "Name a section or tick “In no section”, not both.")
        elif not self.errors and not self.changes():
            raise ValidationError("Choose what to change: a role, a status or a section.")
        return data

    def changes(self) -> dict[str, Any]:
        """Return the arguments of `change_enrollments`, once valid."""
        data = self.cleaned_data
        changes: dict[str, Any] = {}
        if data.get("role"):
            changes["role"] = Role(data["role"])
        if data.get("status"):
            changes["status"] = EnrollmentStatus(data["status"])
        if data.get("section") or data.get("no_section"):
            changes["section"] = data["section"]
        return changes


_KEY = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")


class AddPeopleForm(forms.Form):
    """E-mail addresses, however they were copied: one a line, or `Name <address>, …`."""

    emails = UndamagedText(
        label="E-mail addresses",
        max_length=60_000,
        widget=forms.Textarea(attrs={"rows": 8, "data-grow": True, "placeholder": "sam@example.edu\nnoor@example.edu"}),
        help_text="One a line, or separated by commas, with or without names. Who has no account here yet gets an invitation by mail.",
        error_messages={"required": "Paste the addresses first.", "max_length": "This is too long. Add them in parts."},
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.STUDENT)
    section = SectionName(help_text="Empty: in no section.")

    def clean_emails(self) -> list[str]:
        """Return each address once, in lower case, in the order given."""
        found: dict[str, None] = {}
        wrong = []
        for part in re.split(r"[\n,;]+", self.cleaned_data["emails"]):
            addresses = [address.lower() for address in _ADDRESS.findall(part)]
            if part.strip() and not (addresses and all(map(_is_email, addresses))):
                wrong.append(part.strip()[:80])
            found |= dict.fromkeys(addresses)
        if wrong:
            raise ValidationError(f"This isn’t an e-mail address: {', '.join(wrong[:5])}. Nobody was added yet.")
        return list(found)


def _is_email(address: str) -> bool:
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True


class SectionForm(forms.Form):
    """Another name for a section."""

    old = HiddenText(required=False)
    new = SectionName(label="New name", required=True, error_messages={"required": "Give the section a name."})
