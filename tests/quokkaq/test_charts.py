"""Charts that run nothing, say the right numbers, and tables that no spreadsheet runs."""

import csv
import io
import re
from xml.etree import ElementTree as ET

import pytest

from quokkaq.lib.charts import Series, _ticks, bars, dots
from quokkaq.lib.spreadsheet import csv_response

HOSTILE = '"><script>alert(1)</script>&<a href="//evil">'


def drawn(kind: str = "bars", labels: list[str] | None = None) -> str:
    labels = labels or ["1 Nov", "2 Nov", "3 Nov"]
    rows = [Series("Questions", [1, 0, 4]), Series(HOSTILE, [2, 5, 0])]
    draw = bars if kind == "bars" else dots
    return draw("key", title="Questions " + HOSTILE, description="All " + HOSTILE, labels=labels, series=rows)


@pytest.mark.parametrize("kind", ["bars", "dots"])
def test_a_chart_holds_nothing_the_policy_forbids(kind: str) -> None:
    chart = drawn(kind)
    root = ET.fromstring(chart)  # noqa: S314 (our own output)
    tags = {element.tag for element in root.iter()}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert tags <= {"svg", "g", "rect", "path", "circle", "text", "title", "desc"}
    assert not attributes & {"style", "href", "onload", "onclick", "xmlns"}
    assert not re.search(r"<script|<style|<a |<!--|https?:", chart)


def test_hostile_labels_stay_text() -> None:
    chart = drawn(labels=[HOSTILE, "b", "c"])
    root = ET.fromstring(chart)  # noqa: S314 (our own output)
    assert HOSTILE in [text.text for text in root.iter("text")]
    assert root.find("title").text == "Questions " + HOSTILE  # type: ignore[union-attr]


def test_a_chart_is_read_out_by_its_title_and_description() -> None:
    root = ET.fromstring(drawn())  # noqa: S314 (our own output)
    assert root.get("role") == "img"
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert set((root.get("aria-labelledby") or "").split()) == ids == {"key-title", "key-description"}


def test_bars_are_as_tall_as_the_numbers_say() -> None:
    root = ET.fromstring(drawn())  # noqa: S314 (our own output)
    found = []
    for place in (0, 1):
        group = next(g for g in root.iter("g") if f"chart-color-{place}" in (g.get("class") or ""))
        found.append([float(rect.get("height") or 0) for rect in group.iter("rect")])
    unit = found[0][0]
    assert [[round(height / unit, 3) for height in row] for row in found] == [[1, 0, 4], [2, 5, 0]]


@pytest.mark.parametrize(
    ("top", "ticks"),
    [
        (0, [0, 1]), (1, [0, 1]), (3, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4, 5]), (6, [0, 2, 4, 6]), (11, [0, 5, 10, 15]),
        (99, [0, 20, 40, 60, 80, 100]), (1234, [0, 500, 1000, 1500]),
    ],
)  # fmt: skip
def test_the_axis_has_round_whole_numbers(top: int, ticks: list[int]) -> None:
    assert _ticks(top) == ticks


def test_an_empty_chart_is_drawn() -> None:
    assert "<svg" in bars("k", title="t", description="d", labels=["a"], series=[Series("Q", [0])])
    assert "<svg" in dots("k", title="t", description="d", labels=["a"], series=[Series("Q", [0])])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_a_spreadsheet_runs_no_formula_of_ours(start: str) -> None:
    response = csv_response("x.csv", ["A", "B"], [(f'{start}HYPERLINK("http://evil")', -5), ("é, “x”", None)])
    rows = list(csv.reader(io.StringIO(response.content.decode(), newline="")))
    assert rows == [["A", "B"], [f'\'{start}HYPERLINK("http://evil")', "-5"], ["é, “x”", ""]]
    assert response["Content-Disposition"] == 'attachment; filename="x.csv"'
    assert response["Content-Type"].startswith("text/csv; charset=utf-8")


def test_what_is_drawn_is_what_the_numbers_are_now() -> None:
    values, labels = [1, 2, 3], ["a", "b", "c"]

    def now(title: str = "Questions") -> str:
        return bars("key", title=title, description="", labels=labels, series=[Series("Questions", values)])

    first = now()
    assert now() is first
    values[1] = 9
    second = now()
    labels[0] = "z"
    assert len({first, second, now(), now("Answers")}) == 4
    values[1], labels[0] = 2, "a"
    assert now() == first
