"""CSV that a spreadsheet opens as text: nothing in it is run as a formula."""

import csv
from collections.abc import Iterable, Sequence

from django.http import HttpResponse

# What spreadsheets take for the start of a formula (OWASP, "CSV Injection"), also in its full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """Return a table as a download called `name`, in UTF-8, with its header in the first line."""
    response = HttpResponse(
        content_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    writer = csv.writer(response)
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return response


def _cell(value: object) -> object:
    """Return a text with an apostrophe before what would start a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
