"""What people may type into the forum, and what it says when they typed something else."""

import contextlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils import timezone

from accounts.access import Member
from accounts.forms import HiddenText, LocalTime
from accounts.models import User
from forum import access
from forum.actions import (
    BULK_ACTS,
    DEFAULTS,
    Act,
    Choice,
    Decision,
    ThreadDraft,
    assigning,
    sorting,
    tagging,
)  # fmt: skip
from forum.models import (
    MAX_BODY,
    MAX_TITLE,
    MIN_TITLE,
    STAFF_KINDS,
    Anonymity,
    Assignment,
    Delivery,
    FlagReason,
    Kind,
    NotificationKind,
    ResponseTemplate,
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
    """Leave the ways of hiding one's name that the course allows; no choice at all when there is only one.

    Who asks for another one anyway (the course changed meanwhile) is told: their text must not appear under their name.
    """
    allowed = [choice for choice in Anonymity.choices if access.may_hide_as(member, choice[0])]
    form.fields["anonymity"].error_messages["invalid_choice"] = (
        "This course doesn’t let you hide your name like that. Choose again before you post."
    )
    if len(allowed) == 1 and form.data.get("anonymity", Anonymity.NAMED) in ("", Anonymity.NAMED):
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
    # What the text was made from, when it was prefilled.
    origin = HiddenText(required=False, max_length=80)

    def __init__(self, *args: Any, member: Member, **kwargs: Any) -> None:
        super().__init__(*args, member=member, **kwargs)
        offer_anonymity(self, member)
        if not member.is_staff:
            self.fields["kind"].choices = [c for c in Kind.choices if c[0] != Kind.ANNOUNCEMENT]  # type: ignore[attr-defined]

    def draft(self, uploads: Sequence[uuid.UUID] = ()) -> ThreadDraft:
        """Return what was typed, once valid, with the keys of files sent beside it."""
        data = self.cleaned_data
        return ThreadDraft(
            title=data["title"],
            body=data["body"],
            kind=Kind(data["kind"]),
            visibility=Visibility(data["visibility"]),
            anonymity=Anonymity(data.get("anonymity", Anonymity.NAMED)),
            tags=list(data["tags"]),
            assignment=data["assignment"],
            origin=data["origin"],
            uploads=uploads,
        )


class ThreadEditForm(TitleAndTags):
    """Change title, text and tags of a thread."""


class ReplyForm(FormKeyed):
    """A reply or a comment. Students may hide their name, with the same choices as for a thread."""

    body = body_field("Your reply", rows=5)
    anonymity = forms.ChoiceField(label="Your name", choices=Anonymity.choices, initial=Anonymity.NAMED)
    # Ids of the response templates the text was made from.
    templates = HiddenText(required=False)

    def __init__(self, *args: Any, member: Member, anonymity: str = Anonymity.NAMED, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["anonymity"].initial = anonymity
        offer_anonymity(self, member)

    def chosen_anonymity(self) -> Anonymity:
        return Anonymity(self.cleaned_data.get("anonymity", Anonymity.NAMED))

    def used_templates(self) -> list[uuid.UUID]:
        return template_ids(self.cleaned_data["templates"])


def template_ids(text: str) -> list[uuid.UUID]:
    """Return the ids in a hidden field, the first ten; what isn't one is passed over."""
    found = []
    for word in text.split()[:10]:
        with contextlib.suppress(ValueError):
            found.append(uuid.UUID(word))
    return found


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


def note_field(
    label: str, *, length: int = 300, required: bool = True, help_text: str = "", missing: str = ""
) -> OneLine:
    """Return the field for a sentence or two to somebody."""
    return OneLine(
        label=label,
        max_length=length,
        required=required,
        help_text=help_text,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={
            "required": missing or "Say why: the author reads it.",
            "max_length": "This is too long: %(show_value)d characters. The limit is %(limit_value)d.",
        },
    )


class FlagForm(forms.Form):
    """Why staff should look at a text."""

    reason = forms.ChoiceField(
        label="What is wrong with it?", choices=FlagReason.choices, widget=forms.RadioSelect,
        error_messages={"required": "Choose what is wrong with it."},
    )  # fmt: skip
    details = note_field(
        "Details", length=500, required=False, help_text="What should staff look at? You may leave this out."
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("reason") == FlagReason.OTHER and not data.get("details"):
            self.add_error("details", "Say what is wrong, so that staff can find it.")
        return data


class DecisionForm(forms.Form):
    """What staff do about a flagged text."""

    decision = forms.ChoiceField(
        choices=[
            (Decision.DISMISS, "Dismiss: nothing is wrong with it"),
            (Decision.NOTE, "Uphold, and write to the author"),
            (Decision.HIDE, "Uphold and hide it"),
            (Decision.DELETE, "Uphold and delete it"),
        ],
        error_messages={"required": "Choose what to do."},
    )
    note = note_field("Note to the author", required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("decision") in (Decision.NOTE, Decision.HIDE) and not data.get("note"):
            self.add_error("note", "Say why: the author reads it.")
        return data


class HideForm(forms.Form):
    """Why a text is out of sight."""

    reason = note_field("Reason", help_text="The author and staff read it. Say what the author should do now.")


class BanForm(forms.Form):
    """Why somebody may not post, and until when."""

    reason = note_field("Reason", length=200, help_text="They read it wherever they would post.")
    until = forms.DateTimeField(
        label="Until",
        required=False,
        help_text="Leave it empty to lift the ban by hand.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        error_messages={"invalid": "Give a date and a time, such as 2026-12-24 18:00."},
    )

    def clean_until(self) -> Any:
        until = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise forms.ValidationError("This time is over already. Choose one that is to come.")
        return until


class NumberForm(forms.Form):
    """The number of another thread, as people write it: `12` or `#12`."""

    number = OneLine(
        label="Number of the other thread", max_length=12,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "placeholder": "#12", "autocomplete": "off"}),
        error_messages={"required": "Give the number of the other thread."},
    )  # fmt: skip

    def clean_number(self) -> int:
        typed = re.fullmatch(r"#?\s?(\d{1,9})", self.cleaned_data["number"], re.ASCII)
        if typed is None:
            raise forms.ValidationError("Give a number, such as 12 or #12.")
        return int(typed[1])


class MoveForm(forms.Form):
    """Which other course a thread goes to."""

    course = forms.ChoiceField(label="Course", error_messages={"required": "Choose a course."})

    def __init__(self, *args: Any, courses: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["course"].choices = courses  # type: ignore[attr-defined]
        self.fields["course"].error_messages["invalid_choice"] = "You don’t run such a course. Choose from the list."


class RefileForm(forms.Form):
    """What kind of thread it is, and who reads it."""

    kind = forms.ChoiceField(label="Kind", choices=[c for c in Kind.choices if c[0] != Kind.ANNOUNCEMENT])
    visibility = forms.ChoiceField(label="Who can read it", choices=Visibility.choices)


class AssignForm(forms.Form):
    """Who of the staff sees to a thread; empty for nobody."""

    to = forms.ModelChoiceField(
        User.objects.none(),
        required=False,
        empty_label="Nobody",
        error_messages={"invalid_choice": "Choose somebody who is staff of this course now."},
    )

    def __init__(self, *args: Any, member: Member, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["to"].queryset = access.staff_of(member.course)  # type: ignore[attr-defined]


class ResponseTemplateForm(forms.ModelForm[ResponseTemplate]):
    """A text to answer with again and again."""

    title = OneLine(
        label="Title",
        max_length=80,
        help_text="How you find it in the list. Students don’t see it.",
        error_messages={"required": "Give it a title."},
    )
    category = OneLine(
        label="Category",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"list": "categories", "autocomplete": "off"}),
        help_text="For example “Homework” or “Setting up”. Empty: none.",
    )
    body = body_field("Text", rows=8)

    class Meta:
        model = ResponseTemplate
        fields = ["title", "category", "body"]

    def validate_unique(self) -> None:
        """Leave it to the action, which looks under a lock."""


class AssignmentForm(forms.ModelForm[Assignment]):
    """What a course hands out, until when, and how long its solutions stay secret."""

    title = OneLine(label="Title", max_length=120, error_messages={"required": "Give it a title."})
    due_at = LocalTime(label="Due", required=False)
    embargo_until = LocalTime(
        label="Solutions stay secret until",
        required=False,
        help_text="Until then the AI gives hints and no solutions. Empty: until it is due.",
    )
    no_embargo = forms.BooleanField(label="No embargo: solutions may be given at any time", required=False)

    class Meta:
        model = Assignment
        fields = ["title", "due_at", "embargo_until"]

    def __init__(self, data: Any = None, *, instance: Assignment | None = None) -> None:
        super().__init__(data, instance=instance)
        self.fields["no_embargo"].initial = instance is not None and instance.embargo_until is None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        due, embargo = data.get("due_at"), data.get("embargo_until")
        if data.get("no_embargo"):
            if embargo:
                self.add_error("embargo_until", "Give a time or tick “No embargo”, not both.")
        elif embargo is None and "embargo_until" in data:
            data["embargo_until"] = due
        elif due and embargo and embargo < due:
            self.add_error(
                "embargo_until", "This is before it is due: solutions would be out while people still work on it."
            )
        return data

    def validate_unique(self) -> None:
        """Leave it to the action, which looks under a lock."""

    def values(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("title", "due_at", "embargo_until")}


class TagForm(forms.Form):
    """A word to sort threads by."""

    name = OneLine(
        label="Name", max_length=40,
        error_messages={
            "required": "Give the tag a name.",
            "max_length": "The name is too long: use up to %(limit_value)d characters.",
        },
    )  # fmt: skip


class BulkForm(forms.Form):
    """Threads, and one thing to do to all of them."""

    ACTS = (
        ("resolve", "Mark as resolved"),
        ("reopen", "Open again"),
        ("assign", "Assign to…"),
        ("tag", "Add tag…"),
        ("untag", "Remove tag…"),
        ("assignment", "Set assignment…"),
        ("pin", "Pin"),
        ("unpin", "Unpin"),
        ("lock", "Lock for replies of students"),
        ("unlock", "Unlock"),
        ("delete", "Delete (can be restored)"),
        ("restore", "Restore"),
    )
    threads = forms.TypedMultipleChoiceField(
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Tick the threads you mean first."},
    )
    act = forms.ChoiceField(
        label="Do",
        choices=[("", "Choose…"), *ACTS],
        error_messages={"required": "Choose what to do with them."},
    )
    to = forms.ModelChoiceField(User.objects.none(), label="Assign to", required=False, empty_label="Nobody")
    tag = forms.ModelChoiceField(
        Tag.objects.none(), label="Tag", to_field_name="slug", required=False, empty_label="Choose…"
    )
    assignment = forms.ModelChoiceField(
        Assignment.objects.none(), label="Assignment", to_field_name="slug", required=False, empty_label="None"
    )

    def __init__(self, *args: Any, member: Member, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["to"].queryset = access.staff_of(member.course)  # type: ignore[attr-defined]
        self.fields["tag"].queryset = Tag.objects.visible_to(member)  # type: ignore[attr-defined]
        self.fields["assignment"].queryset = Assignment.objects.visible_to(member)  # type: ignore[attr-defined]
        # Whether they are there is asked by the action, under its lock; here only that they are numbers.
        self.fields["threads"].valid_value = _is_number  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("act") in ("tag", "untag") and not data.get("tag") and "tag" not in self.errors:
            self.add_error("tag", "Choose a tag.")
        return data

    def chosen_act(self) -> tuple[str, Act]:
        """Return what to do, once valid."""
        data = self.cleaned_data
        match data["act"]:
            case "assign":
                return assigning(data["to"])
            case "tag" | "untag":
                return tagging(data["tag"], on=data["act"] == "tag")
            case "assignment":
                return sorting(data["assignment"])
        return BULK_ACTS[data["act"]]


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 10


class AuditSearchForm(forms.Form):
    """What to look for in a course's audit log. Days are the reader's."""

    who = forms.CharField(label="Who", required=False, max_length=254)
    verb = forms.ChoiceField(label="Act", required=False)
    kind = forms.ChoiceField(label="Done to", required=False)
    since = forms.DateField(
        label="From", required=False, widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})
    )
    until = forms.DateField(
        label="To", required=False, widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})
    )
    request = forms.CharField(label="Request", required=False, max_length=64)

    def __init__(
        self, *args: Any, verbs: Sequence[tuple[str, str]], kinds: Sequence[tuple[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in (("verb", verbs), ("kind", kinds)):
            field = self.fields[name]
            if isinstance(field, forms.ChoiceField):
                field.choices = [("", "All"), *choices]
                field.error_messages["invalid_choice"] = (
                    "There is nothing of this kind in the log. Choose from the list."
                )
        for name in ("since", "until"):
            self.fields[name].error_messages["invalid"] = "Give a day, for example 2026-03-31."

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        since, until = data.get("since"), data.get("until")
        if since and until and since > until:
            self.add_error("until", "This day is before the first one. Swap them.")
        return data
