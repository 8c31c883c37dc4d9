"""Fields and forms that pages of every app use."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError


class HiddenText(forms.CharField):
    """A hidden field: nobody could see or mend what is wrong in it, so it takes anything. Who uses it checks it."""

    widget = forms.HiddenInput

    def run_validators(self, value: Any) -> None:
        """Refuse nothing."""


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


class ConfirmForm(forms.Form):
    """A tick that says one has read what will happen."""

    confirm = forms.BooleanField(
        label="I have read what will happen", error_messages={"required": "Tick this first: it concerns everybody."}
    )
