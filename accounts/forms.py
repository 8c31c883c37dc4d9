"""What people may say about themselves."""

import zoneinfo
from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.http import HttpRequest

from accounts.models import User


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
