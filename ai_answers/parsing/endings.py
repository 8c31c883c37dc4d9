"""Which files can be read, by the endings of their names. That they are what they claim is checked before (accounts)."""

EXTENSIONS = {
    ".md": "markdown", ".markdown": "markdown", ".txt": "text", ".text": "text", ".html": "html", ".htm": "html",
    ".pdf": "pdf", ".pptx": "pptx", ".docx": "docx", ".ipynb": "ipynb",
}  # fmt: skip
