"""What a person answers when they are asked whether their texts may leave this server."""

from django import forms


class ConsentForm(forms.Form):
    """`given` is `yes` or `no`; `next` is the page they came from."""

    given = forms.ChoiceField(choices=[("yes", "yes"), ("no", "no")])
    next = forms.CharField(required=False, max_length=2000)

    @property
    def is_given(self) -> bool:
        return bool(self.cleaned_data["given"] == "yes")
