"""What a page may weigh, and how its stylesheets and scripts are served in production."""

import gzip
import re
import shutil
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import rcssmin
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.test import RequestFactory, override_settings
from whitenoise.middleware import WhiteNoiseMiddleware

from quokkaq.lib.static_files import joined, small

ROOT = Path(settings.BASE_DIR)
TEMPLATES = ROOT / "templates"
CSS = ROOT / "static" / "css"
# Bytes of what one page links. Stylesheets before compression; scripts compressed, as a browser gets them: htmx alone is more
# than 40,000 before.
CSS_BUDGET = 30_000
JS_BUDGET = 40_000
# What there is now, and some room: whoever adds ten thousand bytes anywhere says why here.
ALL_CSS = 70_000
JS_NOW = 28_000
# What other apps put into a page, and what it fetches later.
PANELS = {
    "forum/thread.html": ["ai_answers/_panel.html", "ai_answers/_summary.html"],
    "forum/ask.html": ["ai_answers/_preview.html", "forum/_preview.html", "forum/_similar.html"],
    "forum/edit.html": ["forum/_preview.html"],
    "forum/thread_list.html": ["forum/_suggestions.html"],
}
HTMX = "django_htmx/htmx-2.min.js"
PASSKEYS = "mfa/js/webauthn.js"
INCLUDE = re.compile(r'{% include "([^"]+)"')
EXTENDS = re.compile(r'^{% extends "([^"]+)"')
STYLES = re.compile(r"{% block styles %}(.*?){% endblock %}")
SCRIPT = re.compile(r"<script src=\"{% static '([^']+)' %}\"")


def text(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def pages() -> list[str]:
    """Return the templates that are a page of the site; admin has its own stylesheets."""
    names = (path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html"))
    return sorted(name for name in names if not name.startswith("admin/") and EXTENDS.match(text(name)))


def parents(page: str) -> list[str]:
    """Return a page and what it extends, the nearest first."""
    found = [page]
    while match := EXTENDS.match(text(found[-1])):
        found.append(match[1])
    return found


def within(name: str) -> set[str]:
    """Return a template and all that it includes."""
    found = {name}
    for included in chain(INCLUDE.findall(text(name)), PANELS.get(name, [])):
        found |= within(included)
    return found


def stylesheets(page: str) -> list[str]:
    """Return the names of those a page links."""
    named: list[str] = []
    for template in parents(page):
        block = STYLES.search(text(template))
        if block and block[1]:
            named += re.findall(r'"([\w-]+)"', block[1])
            if "{{ block.super }}" not in block[1]:
                break
    return ["site", *named]


def scripts(page: str) -> set[str]:
    """Return the paths of those a page links, htmx with them."""
    everything = {name for template in parents(page) for name in within(template)}
    return {HTMX, *chain.from_iterable(SCRIPT.findall(text(name)) for name in everything)}


@cache
def style_bytes(name: str) -> int:
    return len(small(CSS / f"{name}.css"))


@cache
def script_bytes(name: str) -> int:
    path = Path(str(finders.find(name)))
    ours = path.is_relative_to(ROOT / "static")
    return len(gzip.compress(small(path) if ours else path.read_bytes()))


def test_no_page_links_more_than_its_budget() -> None:
    too_much = {}
    for page in pages():
        styles = sum(style_bytes(name) for name in stylesheets(page))
        code = sum(script_bytes(name) for name in scripts(page))
        if styles >= CSS_BUDGET or code >= min(JS_BUDGET, JS_NOW):
            too_much[page] = (styles, stylesheets(page), code, sorted(scripts(page)))
    assert too_much == {}


def test_all_stylesheets_together_stay_small() -> None:
    own = [re.sub(r"@import .*", "", path.read_text("utf-8")) for path in CSS.glob("*.css")]
    assert 0 < len(rcssmin.cssmin("\n".join(own))) < ALL_CSS


def test_the_page_of_errors_links_what_all_pages_have() -> None:
    assert re.findall(r'href="/static/css/(.*?)"', text("error.html")) == ["site.css"]


# What is written with code between, or by Python: charts, states.
CLASSES = re.compile(r'class="((?:[^"{]|{%.*?%}|{{.*?}})*)"|{% block page_class %}(.*?){% endblock', re.DOTALL)
CODE = re.compile(r"{{.*?}}|{%.*?%}")


def classes(names: set[str]) -> set[str]:
    """Return the classes that templates write in full."""
    found: set[str] = set()
    for name in names:
        for match in CLASSES.finditer(text(name)):
            found |= set(CODE.sub(" ", match[1] or match[2] or "").split())
    return found


def homes() -> dict[str, set[str]]:
    """Return the classes that not every page knows, each with the stylesheets that say something about it alone."""
    found: dict[str, set[str]] = {}
    for path in CSS.glob("*.css"):
        own = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
        for selectors in re.findall(r"([^{};]+)\{", own):
            for selector in selectors.split(","):
                for name in re.findall(r"^\s*\.([\w-]+)(?:::?[\w-]+|\[[^\]]*\])*\s*$", selector):
                    found.setdefault(name, set()).add(path.stem)
    site = {
        path.stem
        for path in (CSS / f"{name}.css" for name in ("site", "tokens", "base", "components", "pages", "operations"))
    }
    return {name: where for name, where in found.items() if not where & site}


def reached(names: list[str]) -> set[str]:
    """Return stylesheets with those that they import."""
    found = set(names)
    for name in names:
        found |= reached(re.findall(r'@import url\("([\w-]+)\.css"\)', (CSS / f"{name}.css").read_text("utf-8")))
    return found


def test_a_page_links_what_its_classes_need() -> None:
    known, missing = homes(), {}
    for page in pages():
        there = reached(stylesheets(page))
        written = classes({name for template in parents(page) for name in within(template)})
        if lost := {name: known[name] for name in written & known.keys() if not known[name] & there}:
            missing[page] = lost
    assert missing == {}


def test_every_stylesheet_is_linked_or_imported() -> None:
    linked = reached(sorted({name for page in pages() for name in stylesheets(page)}))
    assert {path.stem for path in CSS.glob("*.css")} - linked == {"operations"}


def test_each_file_is_joined_once() -> None:
    whole = joined(CSS / "figures.css")
    assert "@import" not in whole
    assert whole.count("Where one is in a list") == 1


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of other apps."""
    root = tmp_path_factory.mktemp("others")
    for name in (HTMX, PASSKEYS):
        (root / name).parent.mkdir(parents=True)
        shutil.copy(str(finders.find(name)), root / name)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("staticfiles")


@pytest.fixture
def collected(root: Path, others: Path) -> Iterator[None]:
    """Production, where `collectstatic` has run: for our own files and two of others."""
    storages = {**settings.STORAGES, "staticfiles": {"BACKEND": "quokkaq.lib.static_files.SmallStaticFilesStorage"}}
    with override_settings(
        STORAGES=storages,
        STATIC_ROOT=str(root),
        STATICFILES_DIRS=[ROOT / "static", others],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
        WHITENOISE_USE_FINDERS=False,
        WHITENOISE_AUTOREFRESH=False,
        WHITENOISE_MAX_AGE=3600,
    ):
        if not (root / "staticfiles.json").exists():
            call_command("collectstatic", interactive=False, verbosity=0)
        yield


def fetched(name: str, encoding: str = "") -> HttpResponse:
    """Return what production answers for a file of a page."""

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=404)

    headers: dict[str, Any] = {"HTTP_ACCEPT_ENCODING": encoding}
    answer: HttpResponse = WhiteNoiseMiddleware(page)(RequestFactory().get(name, **headers))
    return answer


def test_files_are_kept_for_a_year_and_never_asked_for_again(collected: None) -> None:
    for name in ("css/site.css", "css/thread.css", "js/app.js", HTMX, "img/quokka.svg"):
        address = static(name)
        assert re.search(r"\.[0-9a-f]{12}\.\w+$", address), address
        answer = fetched(address)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "max-age=315360000, public, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    # A name that doesn't say what is in the file: the page for errors, which must not ask for more, has it.
    assert fetched("/static/css/site.css").headers["Cache-Control"] == "max-age=3600, public"


def test_files_come_compressed(collected: None) -> None:
    plain = b"".join(fetched(static("css/site.css")))
    assert plain == small(CSS / "site.css")
    for encoding in ("gzip", "br"):
        answer = fetched(static("css/site.css"), f"{encoding}, identity")
        assert answer.headers["Content-Encoding"] == encoding
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert int(answer.headers["Content-Length"]) < len(plain) / 3


def test_scripts_of_others_are_left_as_they_are(collected: None) -> None:
    found = finders.find(PASSKEYS)
    assert isinstance(found, str)
    assert b"".join(fetched(static(PASSKEYS))) == Path(found).read_bytes()
