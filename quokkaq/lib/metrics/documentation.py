"""The table of metrics in docs/operating.md, made from the definitions."""

from quokkaq.lib.metrics.definitions import ALL, Definition

BEGIN = "<!-- metrics: begin (python manage.py list_metrics --write) -->"
END = "<!-- metrics: end -->"


def table() -> str:
    rows = [
        f"| `{definition.name}` | {definition.kind} | {_labels(definition)} | {definition.help} |" for definition in ALL
    ]
    return "\n".join(["| name | kind | labels | says |", "|---|---|---|---|", *rows])


def _labels(definition: Definition) -> str:
    return "; ".join(
        f"`{name}`: {words if isinstance(words, str) else ', '.join(words)}"
        for name, words in definition.labels.items()
    )


def written_into(text: str) -> str:
    """Return a document with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("the document has no place for the table")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"
