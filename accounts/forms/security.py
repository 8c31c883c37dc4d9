"""What people type to prove who they are, and to change how they do. allauth checks it; the words and limits are ours."""

from typing import Any

from allauth.account import forms as account_forms
from allauth.core import context
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn_forms
from django import forms
from django.contrib.auth.password_validation import validate_password

from accounts import actions
from accounts.models import User
from accounts.reaching import institution_of_email
from quokkaq.lib.http import client_address

TOO_OFTEN = "That was tried too often. Wait a quarter of an hour, then try again."
LONGER = "At least 10 characters. A few words that don’t belong together are good."


class AddressForm(forms.Form):
    """An address to mail something to."""

    email = forms.EmailField(
        label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True})
    )


class FinishSignUpForm(forms.Form):
    """The name and the password of a new account, whose address was proved."""

    display_name = forms.CharField(
        label="Name shown to others", max_length=80, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        help_text=LONGER,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        self.email = email
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "password" in data:
            person = User(email=self.email, display_name=data.get("display_name", ""))
            try:
                validate_password(data["password"], person)
            except forms.ValidationError as problem:
                self.add_error("password", problem)
        return data


class _NewPassword:
    """Words for the fields of a new password."""

    fields: dict[str, forms.Field]

    def say(self) -> None:
        for name, label in (
            ("oldpassword", "Your password now"),
            ("password1", "New password"),
            ("password2", "New password again"),
        ):
            if name in self.fields:
                field = self.fields[name]
                field.label = label
                field.help_text = LONGER if name == "password1" else ""
                field.widget.attrs.pop("placeholder", None)


class ChangePasswordForm(_NewPassword, account_forms.ChangePasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.say()

    def clean_oldpassword(self) -> str:
        guard(self.user)
        try:
            return str(super().clean_oldpassword())
        except forms.ValidationError:
            note_wrong(self.user)
            raise


class SetPasswordForm(_NewPassword, account_forms.SetPasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.say()


class NewPasswordForm(_NewPassword, account_forms.ResetPasswordKeyForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.say()


class NewAddressForm(account_forms.AddEmailForm):
    """A new address. One that somebody else has looks like any other: its owner confirms nothing, so nothing changes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "New e-mail"
        self.fields["email"].widget.attrs.pop("placeholder", None)

    def save(self, request: Any) -> Any:
        if institution_of_email(self.cleaned_data["email"]) is not None:
            return account_forms.EmailAddress(user=self.user, email=self.cleaned_data["email"])
        return super().save(request)


class PasswordAgainForm(account_forms.ReauthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["password"]
        field.label, field.help_text = "Your password", ""
        field.widget.attrs |= {"placeholder": "", "autofocus": True}


class _Code:
    """Words for the field of a code."""

    fields: dict[str, forms.Field]

    def say(self, label: str) -> None:
        field = self.fields["code"]
        field.label = label
        field.widget.attrs |= {"placeholder": "", "autofocus": True, "maxlength": 20, "spellcheck": "false"}


class SecondStepForm(_Code, mfa_forms.AuthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.say("Code of your app, or a recovery code")

    def clean_code(self) -> str:
        guard(self.user)
        return str(super().clean_code())


class CodeAgainForm(_Code, mfa_forms.ReauthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.say("Code of your app, or a recovery code")

    def clean_code(self) -> str:
        guard(self.user)
        return str(super().clean_code())


class AuthenticatorAppForm(_Code, totp_forms.ActivateTOTPForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.say("Code that the app shows")
        self.fields["code"].widget.attrs |= {"inputmode": "numeric", "autofocus": False}


class PasskeyForm(webauthn_forms.AddWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = "Name, to tell it from others"
        self.fields["name"].max_length = 60
        alone = self.fields["passwordless"]
        alone.label, alone.initial = "It signs me in by itself, without my password", True
        alone.help_text = "It asks for your fingerprint, your face or a PIN."


class PasskeyNameForm(webauthn_forms.EditWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = "Name"
        self.fields["name"].widget.attrs["maxlength"] = 60

    def clean_name(self) -> str:
        return str(self.cleaned_data["name"])[:60]


def guard(user: User) -> None:
    """Raise a problem when too many tries have failed."""
    if actions.sign_in_blocked(user.email, client_address(context.request)):
        raise forms.ValidationError(TOO_OFTEN)


def note_wrong(user: User) -> None:
    actions.note_failed_sign_in(user.email, client_address(context.request))
