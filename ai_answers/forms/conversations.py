"""Asking the machine."""

from django import forms

from ai_answers.models import MAX_MESSAGE
from forum.forms import FormKeyed, PlainText


class MessageForm(FormKeyed):
    """One question, sent once."""

    text = PlainText(
        label="Your question",
        max_length=MAX_MESSAGE,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 3, "data-grow": True}),
        error_messages={
            "required": "Write your question first.",
            "max_length": "This is too long: %(show_value)d characters. The limit is %(limit_value)d.",
        },
    )
