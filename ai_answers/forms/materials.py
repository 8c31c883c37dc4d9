"""Adding course materials."""

from typing import Any

from django import forms

from accounts.access import Member
from ai_answers.models import MAX_MATERIAL, Material, MaterialFormat, MaterialKind


class MaterialForm(forms.Form):
    """A text, pasted or as a file."""

    title = forms.CharField(label="Title", max_length=200)
    kind = forms.ChoiceField(label="Kind", choices=MaterialKind.choices, initial=MaterialKind.LECTURE)
    format = forms.ChoiceField(
        label="Format", choices=MaterialFormat.choices, initial=MaterialFormat.MARKDOWN, widget=forms.RadioSelect
    )
    text = forms.CharField(
        label="Text",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 14}),
        help_text="Markdown may contain LaTeX between dollar signs.",
    )
    file = forms.FileField(
        label="… or a text file",
        required=False,
        help_text="UTF-8 text or Markdown, up to 1 MB.",
        widget=forms.FileInput(attrs={"accept": ".md,.txt,text/plain,text/markdown"}),
    )

    def __init__(self, *args: Any, member: Member, material: Material | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.member = member
        self.material = material

    def clean_title(self) -> str:
        title = str(self.cleaned_data["title"])
        same = Material.objects.visible_to(self.member).filter(title=title)
        if self.material is not None:
            same = same.exclude(pk=self.material.pk)
        if same.exists():
            raise forms.ValidationError(
                "This course already has a material with this title. Add a version to it instead."
            )
        return title

    def clean_file(self) -> str:
        """Return the file's text; what isn't UTF-8 text is refused."""
        upload = self.cleaned_data["file"]
        if not upload:
            return ""
        if upload.size > MAX_MATERIAL:
            raise forms.ValidationError("This file is larger than 1 MB. Split it into parts.")
        try:
            text = upload.read().decode("utf-8")
        except UnicodeDecodeError:
            raise forms.ValidationError("This file isn't UTF-8 text. Save it as UTF-8 and choose it again.") from None
        if "\x00" in text:
            raise forms.ValidationError("This file isn't text. Choose a .md or .txt file.")
        return str(text)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "file" in self.errors:
            return data
        text = data.get("file") or data.get("text") or ""
        if not text.strip():
            self.add_error("text", "Paste the text, or choose a file.")
        elif len(text) > MAX_MATERIAL:
            self.add_error("text", f"This is too long: {len(text)} characters. The limit is {MAX_MATERIAL}.")
        elif "\ufffd" in text:
            self.add_error("text", "Some characters arrived damaged (shown as \ufffd). Paste them again.")
        data["text"] = text
        return data
