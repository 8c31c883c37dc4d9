"""Charts as inline SVG that says nothing about how it looks: colours and type come from our stylesheet.

pygal lays out axes and marks. What it adds for files that stand alone (styles, scripts, links, ids, comments) is left
out: the tree is copied through two short lists of what may stay. Why pygal: docs/adr/0006.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from itertools import count
from typing import Any, ParamSpec
from xml.etree import ElementTree as ET  # nosec B405

import pygal
from django.utils.safestring import SafeString, mark_safe
from pygal.style import Style

# pygal hooks itself into Python's imports to find map plugins, by an interface Python has dropped. We draw no maps.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

# In the units of the view box, not pixels: the stylesheet sets the same size for the text it lays out.
WIDTH = 480
TEXT = 16
_LAYOUT = Style(label_font_size=TEXT, major_label_font_size=TEXT, value_font_size=TEXT, no_data_font_size=TEXT)
_ELEMENTS = {"svg", "g", "rect", "path", "circle", "text"}
_ATTRIBUTES = {"x", "y", "width", "height", "rx", "ry", "cx", "cy", "r", "d", "transform", "viewBox"}
# Layers for a script that shows values under the pointer.
_LEFT_OUT = {"plot text-overlay", "plot tooltip-overlay"}
_IDLE = {"reactive", "tooltip-trigger"}
_STEPS = 5
# Pictures of 10 to 30 KB that each process keeps.
_PICTURES = 100
P = ParamSpec("P")


@dataclass(frozen=True)
class Series:
    """One row of numbers under a name."""

    name: str
    values: Sequence[int]


def _drawn_once(draw: Callable[P, SafeString]) -> Callable[P, SafeString]:
    """Have a chart drawn once for all that it shows: laying one out takes a hundred times as long as the page around it."""
    kept: Callable[..., SafeString] = lru_cache(maxsize=_PICTURES)(draw)

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> SafeString:
        return kept(*map(_fixed, args), **{name: _fixed(value) for name, value in kwargs.items()})

    return drawn


def _fixed(value: Any) -> Any:
    """Return an argument of a chart as something that stays as it is, and that two of can be compared."""
    if isinstance(value, Series):
        return Series(value.name, tuple(value.values))
    return tuple(map(_fixed, value)) if isinstance(value, list | tuple) else value


@_drawn_once
def bars(key: str, *, title: str, description: str, labels: Sequence[str], series: Sequence[Series]) -> SafeString:
    """Return a bar chart. `key` is unique on the page; `title` and `description` are read out in place of the picture."""
    top = max((value for row in series for value in row.values), default=0)
    ticks = _ticks(top)
    every = max(1, -(-len(labels) // 5))
    chart = pygal.Bar(
        **_options(height=240),
        range=(0, ticks[-1]),
        y_labels=ticks,
        x_labels_major_every=every,
        show_minor_x_labels=False,
        spacing=TEXT,
        value_formatter=str,
    )
    return _drawn(chart, key, title, description, labels, series)


@_drawn_once
def dots(key: str, *, title: str, description: str, labels: Sequence[str], series: Sequence[Series]) -> SafeString:
    """Return a table of dots, a row for each series; the larger the number, the larger the dot."""
    chart = pygal.Dot(**_options(height=240), x_labels_major_every=6, show_minor_x_labels=False)
    return _drawn(chart, key, title, description, labels, series)


@_drawn_once
def curve(key: str, *, title: str, description: str, points: Sequence[tuple[float, float]]) -> SafeString:
    """Return points from 0 to 100 both ways, joined by a line, beside the diagonal they would stand on."""
    ticks = list(range(0, 101, 20))
    chart = pygal.XY(
        **_options(height=320),
        range=(0, 100),
        xrange=(0, 100),
        y_labels=ticks,
        value_formatter=lambda value: f"{value:.0f}",
    )
    chart.add("", [(0, 0), (100, 100)], show_dots=False)
    chart.add("", list(points), dots_size=6)
    chart.x_labels = ticks
    return _finished(chart, key, title, description)


def _options(height: int) -> dict[str, Any]:
    return {
        "width": WIDTH, "height": height, "margin": 8, "style": _LAYOUT, "css": [], "js": [],
        "disable_xml_declaration": True, "no_prefix": True, "show_legend": False, "no_data_text": "", "truncate_label": -1,
    }  # fmt: skip


def _ticks(top: int) -> list[int]:
    """Return round whole numbers from 0 to at least `top`: nobody asks half a question."""
    sizes = (digit * 10**power for power in count() for digit in (1, 2, 5))
    step = next(size for size in sizes if size * _STEPS >= top)
    return list(range(0, max(top, 1) + step, step))


def _drawn(
    chart: Any, key: str, title: str, description: str, labels: Sequence[str], series: Sequence[Series]
) -> SafeString:
    chart.x_labels = list(labels)
    for row in series:
        chart.add(row.name, list(row.values))
    return _finished(chart, key, title, description)


def _finished(chart: Any, key: str, title: str, description: str) -> SafeString:
    drawing = _kept(chart.render_tree())
    drawing.set("class", "chart")
    drawing.set("role", "img")
    drawing.set("aria-labelledby", f"{key}-title {key}-description")
    drawing.set("focusable", "false")
    for place, (name, text) in enumerate((("title", title), ("desc", description))):
        said = ET.Element(name, {"id": f"{key}-{'title' if name == 'title' else 'description'}"})
        said.text = text
        drawing.insert(place, said)
    return mark_safe(ET.tostring(drawing, encoding="unicode", short_empty_elements=False))  # noqa: S308 (ElementTree escapes)  # rule: mark-safe (ElementTree escapes)


def _kept(element: Any) -> ET.Element:
    """Copy what may stay of an element, under class names of our own."""
    copy = ET.Element(_name(element))
    for name, value in element.attrib.items():
        if name in _ATTRIBUTES:
            copy.set(name, value)
    classes = dict.fromkeys(f"chart-{word}" for word in element.attrib.get("class", "").split() if word not in _IDLE)
    if classes:
        copy.set("class", " ".join(classes))
    if copy.tag == "text":
        copy.text = element.text
    for child in element:
        if isinstance(child.tag, str) and _name(child) in _ELEMENTS and child.attrib.get("class") not in _LEFT_OUT:
            inner = _kept(child)
            if len(inner) or inner.text or inner.tag != "g":
                copy.append(inner)
    return copy


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
