"""Signing in, and what people may say about themselves."""

import zoneinfo
from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from accounts.forms.fields import HiddenText
from accounts.models import User
from accounts.reaching import institution_of_email
from quokkaq.lib import tenancy


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
        # True when both fields were filled in and nobody is signed in by that.
        self.is_wrong = False
        super().__init__(*args, **kwargs)

    @sensitive_variables("data", "email")
    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        email = data["email"].strip().lower()
        with tenancy.scope(institution_of_email(email)):
            found = authenticate(self.request, email=email, password=data["password"])
        if not isinstance(found, User):
            self.is_wrong = True
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
