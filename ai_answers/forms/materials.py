"""Adding course materials."""

from pathlib import PurePosixPath
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from accounts.access import Member
from ai_answers.models import MAX_MATERIAL, ImportState, Material, MaterialFormat, MaterialImport, MaterialKind
from ai_answers.parsing import MAX_FILE, Mismatch, sniff
from ai_answers.parsing.sniffing import EXTENSIONS

MAX_FILES = 20
TITLE_TAKEN = "This course already has a material with this title. Add a version to it instead."


class ManyFilesInput(forms.FileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Any number of files; cleans to a list."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile[bytes]]:
        files = data if isinstance(data, (list, tuple)) else [data]
        return [super(ManyFilesField, self).clean(file) for file in files if file]


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
    file = ManyFilesField(
        label="Files",
        required=False,
        help_text=f"PDF, PowerPoint, Word, Jupyter notebook, HTML, Markdown or text, up to {MAX_FILE // 1024**2} MB each.",
        widget=ManyFilesInput(attrs={"accept": ",".join(EXTENSIONS)}),
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

    def __init__(self, *args: Any, member: Member, material: Material | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.member = member
        self.material = material
        if material is not None:
            self.fields["title"].help_text = ""
            self.fields["title"].required = True
            self.fields["file"].label = "File"
            self.fields["file"].widget.attrs["multiple"] = False

    def clean_file(self) -> list[tuple[UploadedFile[bytes], MaterialFormat]]:
        """Return each file with its format; refuse what is too large or not what its name says."""
        files: list[UploadedFile[bytes]] = self.cleaned_data["file"]
        most = 1 if self.material is not None else MAX_FILES
        if len(files) > most:
            raise forms.ValidationError(f"These are {len(files)} files. Choose up to {most} at once.")
        found, problems = [], []
        for file in files:
            name = str(file.name)
            said = f"{name}: " if len(files) > 1 else ""
            if (file.size or 0) > MAX_FILE:
                problems.append(f"{said}This file is larger than {MAX_FILE // 1024**2} MB. Split it into parts.")
                continue
            try:
                found.append((file, MaterialFormat(sniff(file.read(), name))))
            except Mismatch as error:
                problems.append(f"{said}{error}")
            file.seek(0)
        if problems:
            raise forms.ValidationError(problems)
        return found

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["format"] = data.get("format") or MaterialFormat.MARKDOWN
        if "file" in self.errors:
            return data
        if files := data.get("file"):
            self._check_titles([self.title_of(file, len(files)) for file, _ in files])
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

    def title_of(self, file: UploadedFile[bytes], count: int) -> str:
        """Return what a file's material is called: as typed, or after the file when that is empty or there are several."""
        typed = str(self.cleaned_data.get("title") or "")
        stem = " ".join(PurePosixPath(str(file.name)).stem.replace("_", " ").split())
        return typed if typed and count == 1 else (stem or "Untitled")[:200]

    def _check_titles(self, titles: list[str]) -> None:
        """Refuse titles that are taken, also by a file still being read, or twice the same."""
        same = Material.objects.visible_to(self.member).taught().filter(title__in=titles)
        reading = MaterialImport.objects.visible_to(self.member).filter(
            title__in=titles, material=None, state__in=(ImportState.QUEUED, ImportState.READING)
        )
        if self.material is not None:
            same = same.exclude(pk=self.material.pk)
        taken = {*same.values_list("title", flat=True), *reading.values_list("title", flat=True)}
        if len(titles) == 1 and taken:
            self.add_error("title", TITLE_TAKEN)
        elif taken:
            self.add_error("file", f"The course has these already: {', '.join(sorted(taken))}. Add versions to them.")
        if len(set(titles)) < len(titles):
            self.add_error("file", "Two of these files have the same name. Rename one of them.")
