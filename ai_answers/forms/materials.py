"""Adding course materials."""

from pathlib import PurePosixPath
from typing import Any

from django import forms

from accounts.access import Member
from accounts.models import Upload
from accounts.uploading import Files
from ai_answers.models import MAX_MATERIAL, ImportState, Material, MaterialFormat, MaterialImport, MaterialKind
from ai_answers.parsing.endings import EXTENSIONS

TITLE_TAKEN = "This course already has a material with this title. Add a version to it instead."


class MaterialForm(forms.Form):
    """A text, pasted, or files: several at once are a material each, called after their files."""

    title = forms.CharField(
        label="Title", max_length=200, required=False, help_text="Several files are called after their names."
    )
    kind = forms.ChoiceField(
        label="Kind",
        choices=[choice for choice in MaterialKind.choices if choice[0] != MaterialKind.THREAD],
        initial=MaterialKind.LECTURE,
    )
    format = forms.ChoiceField(
        label="Format of the text",
        choices=[(f.value, f.label) for f in (MaterialFormat.MARKDOWN, MaterialFormat.TEXT)],
        initial=MaterialFormat.MARKDOWN,
        widget=forms.RadioSelect,
        required=False,
    )
    text = forms.CharField(
        label="… or paste a text",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 10}),
        help_text="Markdown may contain LaTeX between dollar signs.",
    )

    def __init__(
        self, *args: Any, member: Member, files: Files, material: Material | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.member = member
        self.sent = files
        self.material = material
        if material is not None:
            self.fields["title"].help_text = ""
            self.fields["title"].required = True

    def uploads(self) -> list[tuple[Upload, MaterialFormat]]:
        """Return each file that was sent, with its format by its name: the check sees to it that it is one."""
        return [
            (upload, MaterialFormat(EXTENSIONS[PurePosixPath(upload.original_name).suffix.lower()]))
            for upload in self.sent.uploads
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["format"] = data.get("format") or MaterialFormat.MARKDOWN
        if self.material is not None and len(self.sent.uploads) > 1:
            self.add_error(None, f"These are {len(self.sent.uploads)} files. A version is one: remove the others.")
        if uploads := self.sent.uploads:
            self._check_titles([self.title_of(upload, len(uploads)) for upload in uploads])
            return data
        if self.sent.problems:
            return data
        text = data.get("text") or ""
        if not data.get("title") and "title" not in self.errors:
            self.add_error("title", "This field is required.")
        elif "title" not in self.errors:
            self._check_titles([data["title"]])
        if not text.strip():
            self.add_error("text", "Paste the text, or choose a file.")
        elif len(text) > MAX_MATERIAL:
            self.add_error("text", f"This is too long: {len(text)} characters. The limit is {MAX_MATERIAL}.")
        elif "\ufffd" in text:
            self.add_error("text", "Some characters arrived damaged (shown as \ufffd). Paste them again.")
        data["text"] = text
        return data

    def title_of(self, upload: Upload, count: int) -> str:
        """Return what a file's material is called: as typed, or after the file when that is empty or there are several."""
        typed = str(self.cleaned_data.get("title") or "")
        stem = " ".join(PurePosixPath(upload.original_name).stem.replace("_", " ").split())
        return typed if typed and count == 1 else (stem or "Untitled")[:200]

    def _check_titles(self, titles: list[str]) -> None:
        """Refuse titles that are taken, also by a file still being read, or twice the same."""
        same = Material.objects.visible_to(self.member).taught().filter(title__in=titles)
        reading = MaterialImport.objects.visible_to(self.member).filter(
            title__in=titles, material=None, state__in=(ImportState.CHECKING, ImportState.QUEUED, ImportState.READING)
        )
        if self.material is not None:
            same = same.exclude(pk=self.material.pk)
        taken = {*same.values_list("title", flat=True), *reading.values_list("title", flat=True)}
        if len(titles) == 1 and taken:
            self.add_error("title", TITLE_TAKEN)
        elif taken:
            self.add_error(None, f"The course has these already: {', '.join(sorted(taken))}. Add versions to them.")
        if len(set(titles)) < len(titles):
            self.add_error(None, "Two of these files have the same name. Rename one of them.")
