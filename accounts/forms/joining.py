"""Roster files, invitations and join codes, as people fill them in."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.forms.fields import HiddenText, LocalTime, UndamagedText
from accounts.forms.roster import SectionName
from accounts.models import Invitation, JoinCode, User


class RosterUploadForm(forms.Form):
    """One table of people, or one of people and one of enrollments."""

    file = forms.FileField(
        label="File",
        max_length=200,
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv"}),
        help_text="CSV with a header: email, name, role, section; or users.csv, enrollments.csv or an export of Canvas. "
        "Columns in any order, others are ignored. Up to 10,000 rows and 5 MB.",
        error_messages={"required": "Choose a file first.", "empty": "This file is empty."},
    )
    second = forms.FileField(
        label="Second file",
        required=False,
        max_length=200,
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv"}),
        help_text="Only if people and enrollments are two files, as in a SIS export of Canvas.",
        error_messages={"empty": "This file is empty."},
    )
    course_id = UndamagedText(
        label="What the file calls this course",
        required=False,
        max_length=100,
        help_text="Its course_id. Only needed if the file has rows of several courses.",
    )
    drop_missing = forms.BooleanField(
        label="People who aren’t in the file are dropped",
        required=False,
        help_text="They no longer see the course, and what they wrote stays. You are shown who it is first.",
    )

    def contents(self) -> list[tuple[str, bytes]]:
        """Return name and content of each file, once valid."""
        sent = [self.cleaned_data["file"], self.cleaned_data["second"]]
        return [(file.name, file.read()) for file in sent if file]


class JoinCodeForm(forms.Form):
    """A code as somebody read it off a wall."""

    code = UndamagedText(
        label="Code",
        max_length=40,
        help_text="Eight letters and digits, as your teacher shows them.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}),
        error_messages={"required": "Type the code first.", "max_length": "This code doesn’t work."},
    )


class JoinCodeLimitsForm(forms.Form):
    """Until when, how often and for which section a code works."""

    section = SectionName(help_text="Who joins is put into it. Empty: in none.")
    expires_at = LocalTime(label="Works until", required=False)
    max_uses = forms.IntegerField(
        label="For how many people", required=False, min_value=1, max_value=100_000, help_text="Empty: any number."
    )

    def __init__(self, data: Any = None, *, code: JoinCode | None) -> None:
        initial = {name: getattr(code, name) for name in ("section", "expires_at", "max_uses")} if code else {}
        super().__init__(data, initial=initial)
        zone = timezone.get_current_timezone_name().replace("_", " ")
        self.fields["expires_at"].help_text = f"Empty: until you switch it off. Your time zone is {zone}."

    def clean_expires_at(self) -> datetime | None:
        until: datetime | None = self.cleaned_data["expires_at"]
        if until is not None and until <= timezone.now():
            raise ValidationError("This time has passed. Choose a later one, or leave it empty.")
        return until


class NewPersonForm(forms.Form):
    """An account for somebody whose address an invitation has proved."""

    display_name = UndamagedText(
        label="Name shown to others", max_length=80, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least ten characters, and not one that many people use.",
    )
    email = HiddenText(required=False)  # for password managers; what is sent is ignored

    def __init__(self, data: Any = None, *, invitation: Invitation) -> None:
        self.invitation = invitation
        super().__init__(data, initial={"email": invitation.email})

    def clean_display_name(self) -> str:
        return " ".join(str(self.cleaned_data["display_name"]).split())

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        password = data.get("password")
        if password:
            person = User(email=self.invitation.email, display_name=data.get("display_name", ""))
            try:
                validate_password(password, person)
            except ValidationError as error:
                self.add_error("password", error)
        return data
