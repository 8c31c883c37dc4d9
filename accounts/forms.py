"""What people may say about themselves, and staff about a course."""

import re
import zoneinfo
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest
from django.utils import timezone

from accounts.actions import SETTINGS, settings_version
from accounts.models import Course, EnrollmentStatus, Role, User


class HiddenText(forms.CharField):
    """A hidden field: nobody could see or mend what is wrong in it, so it takes anything. Who uses it checks it."""

    widget = forms.HiddenInput

    def run_validators(self, value: Any) -> None:
        """Refuse nothing."""


class SignInForm(forms.Form):
    """E-mail and password. One message for every way to be wrong, so that it doesn't tell which addresses exist."""

    email = forms.EmailField(
        label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )
    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    next = HiddenText(required=False)

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.request = request
        self.user: User | None = None
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        found = authenticate(self.request, username=data["email"].strip().lower(), password=data["password"])
        if not isinstance(found, User):
            raise forms.ValidationError("This e-mail and password don't match. Check both and try again.")
        self.user = found
        return data


class ProfileForm(forms.ModelForm[User]):
    """Name, pronouns, time zone and theme."""

    time_zone = forms.ChoiceField(
        label="Time zone", choices=[(name, name.replace("_", " ")) for name in sorted(zoneinfo.available_timezones())]
    )

    class Meta:
        model = User
        fields = ["display_name", "pronouns", "time_zone", "theme"]
        labels = {"display_name": "Name shown to others"}
        widgets = {"theme": forms.RadioSelect}


class AvatarForm(forms.Form):
    """A picture to upload; what is in it is checked by the action."""

    picture = forms.FileField(
        label="Picture",
        help_text="PNG, JPEG or WebP, up to 5 MB. Location and camera data are removed.",
        widget=forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/webp"}),
    )


class UndamagedText(forms.CharField):
    """Text that refuses what arrived damaged (bytes that aren't UTF-8 come as U+FFFD)."""

    def validate(self, value: str) -> None:
        super().validate(value)
        if "\ufffd" in value:
            raise ValidationError("Some characters arrived damaged (shown as \ufffd). Type them again.")


class LocalTime(forms.DateTimeField):
    """A date and a time in the reader's time zone, as the browser's own picker sends it."""

    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})

    def __init__(self, **kwargs: Any) -> None:
        options: dict[str, Any] = {
            "error_messages": {"invalid": "Give a date and a time, for example 2026-03-31 18:00."}
        }
        super().__init__(**(options | kwargs))


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


class ConfirmForm(forms.Form):
    """A tick that says one has read what will happen."""

    confirm = forms.BooleanField(
        label="I have read what will happen", error_messages={"required": "Tick this first: it concerns everybody."}
    )


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
        help_text="One a line, or separated by commas, with or without names. People need an account here already.",
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
