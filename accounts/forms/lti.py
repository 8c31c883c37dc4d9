"""Registering a learning platform, and saying which course is which."""

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError

from accounts.forms.fields import UndamagedText
from accounts.lti.protocol import usable_url
from accounts.models import Course, LtiPlatform

_URLS = ("authorization_url", "token_url", "jwks_url")


class LtiPlatformForm(forms.ModelForm[LtiPlatform]):
    """What a platform says about itself once QuokkaQ is set up there."""

    deployments = forms.CharField(
        label="Deployment IDs", required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line. A launch from any other deployment is refused.",
    )  # fmt: skip

    class Meta:
        model = LtiPlatform
        fields = ["name", "issuer", "client_id", "authorization_url", "token_url", "jwks_url", "is_active"]
        labels = {
            "name": "Name", "issuer": "Issuer", "client_id": "Client ID", "authorization_url": "Authorisation URL",
            "token_url": "Token URL", "jwks_url": "Key set URL", "is_active": "People may come from this platform",
        }  # fmt: skip
        help_texts = {
            "name": "What people here call it, for example Canvas.",
            "issuer": "Canvas: https://canvas.instructure.com. Moodle: the address of the site.",
            "client_id": "Canvas: the number of the developer key. Moodle: in the tool’s configuration details.",
            "authorization_url": "Where people are sent to be recognised. Also “authentication request URL”.",
            "token_url": "Where QuokkaQ asks for leave to read lists of members.",
            "jwks_url": "Where the platform publishes its keys. Also “public keyset URL”.",
        }
        error_messages = {NON_FIELD_ERRORS: {"unique_together": "This issuer and client ID are registered already."}}
        widgets = dict.fromkeys(
            ("authorization_url", "token_url", "jwks_url"), forms.TextInput(attrs={"inputmode": "url"})
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for name in _URLS:
            if data.get(name) and not usable_url(data[name], 500):
                self.add_error(name, "Give a whole address that begins with https://")
        for name in ("issuer", "client_id"):
            if any(character.isspace() for character in data.get(name, "")):
                self.add_error(name, "There is a blank in it. Copy it again.")
        return data

    def clean_deployments(self) -> list[str]:
        """Return each ID once, in the order given."""
        lines = [line.strip() for line in self.cleaned_data["deployments"].splitlines()]
        found = list(dict.fromkeys(line for line in lines if line))
        if any(len(line) > 255 or "\ufffd" in line for line in found):
            raise ValidationError("One of these lines isn’t a deployment ID. Copy it again.")
        if len(found) > 200:
            raise ValidationError("These are more than 200.")
        return found


class LinkCourseForm(forms.Form):
    """Choose one of one's own courses."""

    course = forms.ChoiceField(
        label="My course", error_messages={"required": "Choose a course.", "invalid_choice": "Choose a course."}
    )

    def __init__(self, *args: Any, courses: list[Course], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "Choose…"), *((course.slug, f"{course} ({course.term})") for course in courses)]
        self.fields["course"] = forms.ChoiceField(
            label="My course", choices=choices, error_messages=self.fields["course"].error_messages
        )


class MakeCourseForm(forms.Form):
    """A new course."""

    code = UndamagedText(label="Code", max_length=30, help_text="For example CS 101.")
    name = UndamagedText(label="Name", max_length=200)
    term = UndamagedText(label="Term", max_length=60, help_text="For example Autumn 2026.")
