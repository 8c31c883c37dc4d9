"""CSV that a spreadsheet opens as text: nothing in it is run as a formula."""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from django.http import HttpResponse

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# What spreadsheets take for the start of a formula (OWASP, "CSV Injection"), also in its full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_UNSEEN = " \u00a0\u200b\u200e\u200f\u2060\u3000\ufeff"


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """Return a table as a download called `name`, in UTF-8, with its header in the first line."""
    response = HttpResponse(
        content_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    write_csv(response, header, rows)
    return response


def write_csv(file: "SupportsWrite[str]", header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with its header in the first line."""
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    """Return a text with an apostrophe before what would start a formula; numbers stay numbers.

    Spaces before it and marks that can't be seen don't keep a spreadsheet from running it.
    """
    if not isinstance(value, str):
        return value if isinstance(value, int | float | Decimal | None) else _cell(str(value))
    return f"'{value}" if value.startswith(_FORMULA) or value.lstrip(_UNSEEN).startswith(_FORMULA) else value
