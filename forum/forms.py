"""What people may type into the forum, and what it says when they typed something else."""

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms

from accounts.access import Member
from accounts.forms import HiddenText
from forum import access
from forum.actions import DEFAULTS, Choice, ThreadDraft
from forum.models import (
    MAX_BODY,
    MAX_TITLE,
    MIN_TITLE,
    STAFF_KINDS,
    Anonymity,
    Assignment,
    Delivery,
    Kind,
    NotificationKind,
    Tag,
    Visibility,
)


class PlainText(forms.CharField):
    """Text with line ends as `\\n` (browsers send `\\r\\n`, which would count twice) and nothing that isn't text."""

    def to_python(self, value: Any) -> str:
        text = str(super().to_python(value) or "").replace("\r\n", "\n").replace("\r", "\n")
        # Blanks at the start of the first line may be the indentation of code.
        return text.rstrip().lstrip("\n") if text.strip() else ""

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """Leave out `maxlength`: browsers cut what is pasted beyond it without a word; the form refuses it with one."""
        return {}

    def validate(self, value: str) -> None:
        super().validate(value)
        # Bytes that aren't UTF-8 arrive as U+FFFD: the original is lost, so it has to be typed again.
        if "\ufffd" in value:
            raise forms.ValidationError("Some characters arrived damaged (shown as \ufffd). Type them again.")
        if any(ord(c) < 32 and c not in "\n\t" for c in value):
            raise forms.ValidationError("The text contains control characters. Remove them or paste it as plain text.")


def body_field(label: str, *, rows: int) -> PlainText:
    """Return the field for a Markdown text of up to `MAX_BODY` characters."""
    return PlainText(
        label=label,
        max_length=MAX_BODY,
        strip=False,
        widget=forms.Textarea(attrs={"rows": rows, "data-grow": True, "aria-describedby": "markdown-help"}),
        error_messages={
            "required": "Write something first.",
            "max_length": "This is too long: %(show_value)d characters. The limit is %(limit_value)d.",
        },
    )


class OneLine(PlainText):
    """Text of one line; runs of blanks count, and are kept, as one."""

    def to_python(self, value: Any) -> str:
        return " ".join(super().to_python(value).split())


class FormKeyed(forms.Form):
    """A form that knows when it is sent twice."""

    form_key = HiddenText(required=False)

    def key(self) -> uuid.UUID:
        """Return the key the form was shown with; a new one when it came without, or with something else."""
        try:
            return uuid.UUID(self.cleaned_data["form_key"])
        except ValueError:
            return uuid.uuid4()


def offer_anonymity(form: forms.Form, member: Member) -> None:
    """Leave the ways of hiding one's name that the course allows; no choice at all when there is only one."""
    allowed = [choice for choice in Anonymity.choices if access.may_hide_as(member, choice[0])]
    if len(allowed) == 1:
        del form.fields["anonymity"]
        return
    form.fields["anonymity"].choices = allowed  # type: ignore[attr-defined]
    if form.fields["anonymity"].initial not in dict(allowed):
        form.fields["anonymity"].initial = Anonymity.NAMED


class TitleAndTags(forms.Form):
    """What asking and editing a thread share."""

    title = OneLine(
        label="Title",
        min_length=MIN_TITLE,
        max_length=MAX_TITLE,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "What do you want to know, in one line?"}),
        error_messages={
            "required": "Give it a title.",
            "min_length": "The title is too short: use at least %(limit_value)d characters.",
            "max_length": "The title is too long: %(show_value)d characters. The limit is %(limit_value)d.",
        },
    )
    body = body_field("Details", rows=10)
    tags = forms.ModelMultipleChoiceField(
        Tag.objects.none(),
        to_field_name="slug",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "This course has no tag “%(value)s”. Choose from the list."},
    )
    assignment = forms.ModelChoiceField(
        Assignment.objects.none(),
        to_field_name="slug",
        required=False,
        empty_label="None",
        error_messages={"invalid_choice": "This course has no such assignment. Choose from the list."},
    )

    def __init__(self, *args: Any, member: Member, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["tags"].queryset = Tag.objects.visible_to(member)  # type: ignore[attr-defined]
        self.fields["assignment"].queryset = Assignment.objects.visible_to(member)  # type: ignore[attr-defined]


class ThreadForm(TitleAndTags, FormKeyed):
    """Ask a question, open a discussion, or (staff) announce something."""

    kind = forms.ChoiceField(choices=Kind.choices, initial=Kind.QUESTION, widget=forms.RadioSelect)
    visibility = forms.ChoiceField(
        label="Who can read it", choices=Visibility.choices, initial=Visibility.COURSE, widget=forms.RadioSelect
    )
    anonymity = forms.ChoiceField(
        label="Your name", choices=Anonymity.choices, initial=Anonymity.NAMED, widget=forms.RadioSelect
    )

    def __init__(self, *args: Any, member: Member, **kwargs: Any) -> None:
        super().__init__(*args, member=member, **kwargs)
        offer_anonymity(self, member)
        if not member.is_staff:
            self.fields["kind"].choices = [c for c in Kind.choices if c[0] != Kind.ANNOUNCEMENT]  # type: ignore[attr-defined]

    def draft(self) -> ThreadDraft:
        """Return what was typed, once valid."""
        data = self.cleaned_data
        return ThreadDraft(
            title=data["title"],
            body=data["body"],
            kind=Kind(data["kind"]),
            visibility=Visibility(data["visibility"]),
            anonymity=Anonymity(data.get("anonymity", Anonymity.NAMED)),
            tags=list(data["tags"]),
            assignment=data["assignment"],
        )


class ThreadEditForm(TitleAndTags):
    """Change title, text and tags of a thread."""


class ReplyForm(FormKeyed):
    """A reply or a comment. Students may hide their name, with the same choices as for a thread."""

    body = body_field("Your reply", rows=5)
    anonymity = forms.ChoiceField(label="Your name", choices=Anonymity.choices, initial=Anonymity.NAMED)

    def __init__(self, *args: Any, member: Member, anonymity: str = Anonymity.NAMED, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["anonymity"].initial = anonymity
        offer_anonymity(self, member)

    def chosen_anonymity(self) -> Anonymity:
        return Anonymity(self.cleaned_data.get("anonymity", Anonymity.NAMED))


class StaffNoteForm(FormKeyed):
    """A note that only staff read."""

    body = body_field("Your note", rows=3)


class SavedViewForm(forms.Form):
    """A name for the view of the list that `query` describes."""

    name = OneLine(
        label="Name", max_length=40,
        error_messages={
            "required": "Give the view a name.",
            "max_length": "The name is too long: use up to %(limit_value)d characters.",
        },
    )  # fmt: skip
    query = OneLine(max_length=500, required=False)


class PreferencesForm(forms.Form):
    """How somebody wants to be told of each kind of thing: a tick for the inbox, and when to mail.

    For a course there is one more choice, `same`: as everywhere, for both.
    """

    SAME = "same"

    def __init__(
        self,
        *args: Any,
        said: Mapping[NotificationKind, Choice | None],
        is_staff: bool,
        for_course: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.kinds = [kind for kind in NotificationKind if is_staff or kind not in STAFF_KINDS]
        deliveries = [*([(self.SAME, "As everywhere")] if for_course else []), *Delivery.choices]
        for kind in self.kinds:
            choice = said[kind]
            in_app, mail = choice or (DEFAULTS[kind][0], self.SAME)
            label = kind.label.replace(" (staff)", "")
            self.fields[f"in_app_{kind}"] = forms.BooleanField(
                label=f"In the inbox: {label}", required=False, initial=in_app
            )
            self.fields[f"mail_{kind}"] = forms.ChoiceField(
                label=f"Mail: {label}",
                choices=deliveries,
                initial=mail,
                error_messages={"required": "Choose when to mail.", "invalid_choice": "Choose from the list."},
            )

    def rows(self) -> list[tuple[NotificationKind, forms.BoundField, forms.BoundField]]:
        """Return what a table shows, line by line."""
        return [(kind, self[f"in_app_{kind}"], self[f"mail_{kind}"]) for kind in self.kinds]

    def choices(self) -> dict[NotificationKind, Choice | None]:
        """Return what was chosen, once valid; None for what is to be as everywhere."""
        data = self.cleaned_data
        return {
            kind: None
            if data[f"mail_{kind}"] == self.SAME
            else (data[f"in_app_{kind}"], Delivery(data[f"mail_{kind}"]))
            for kind in self.kinds
        }


class PostEditForm(forms.Form):
    """Change the text of a reply."""

    body = body_field("Your reply", rows=8)
