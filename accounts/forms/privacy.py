"""Ending one's account."""

from typing import Any

from django import forms

from accounts.models import User
from accounts.signing_in import confirms_identity

WORD = "erase me"


class EraseForm(forms.Form):
    """The password again, and a word to type: nobody does this by mistake, nor on somebody else's open laptop.

    Who has no password proves before, in another way, who they are: `proved`.
    """

    password = forms.CharField(
        label="Your password",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    word = forms.CharField(
        label=f"Type “{WORD}”",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, user: User, *args: Any, proved: bool, **kwargs: Any) -> None:
        self.user = user
        self.proved = proved
        super().__init__(*args, **kwargs)
        if not user.has_usable_password():
            del self.fields["password"]

    @property
    def needs_proof(self) -> bool:
        """Tell whether the person has no password, and hasn't proved in another way who they are."""
        return "password" not in self.fields and not self.proved

    def clean(self) -> dict[str, Any]:
        if self.needs_proof:
            raise forms.ValidationError("Prove first that it is you.")
        return super().clean() or {}

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not confirms_identity(self.user, password):
            raise forms.ValidationError("This isn’t your password. Type it again.")
        return password

    def clean_word(self) -> str:
        word: str = self.cleaned_data["word"].strip().strip("“”\"'").lower()
        if word != WORD:
            raise forms.ValidationError(f"Type “{WORD}” if you really want to go.")
        return word
