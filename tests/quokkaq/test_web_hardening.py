"""What holds for every page: how often, how large, with which headers, from where, and where to next."""

import ast
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from accounts import middleware
from accounts.models import User
from forum.models import Thread
from quokkaq.lib.http import client_address, client_network, safe_target
from quokkaq.lib.spreadsheet import csv_response
from quokkaq.urls import handler403, handler404, handler500, urlpatterns
from tests import factories
from tests.factories import World
from tests.processes import ROOT
from tests.quokkaq.test_route_policies import ROUTES, address

__all__ = ["handler403", "handler404", "handler500"]

SignIn = Callable[[User], Client]
pytestmark = [pytest.mark.django_db]


@pytest.fixture
def limits(settings: Any) -> Any:
    """Switch the limits on: 3 reads, 2 writes, 5 in the background; by address three times as many."""
    settings.RATE_READS_PER_MINUTE = 3
    settings.RATE_WRITES_PER_MINUTE = 2
    settings.RATE_BACKGROUND_PER_MINUTE = 5
    settings.RATE_UPLOADS_PER_MINUTE = 2
    settings.RATE_ADDRESS_FACTOR = 3
    return settings


# How often


def test_one_reads_as_much_as_one_may_and_then_waits(limits: Any, world: World, signed_in: SignIn) -> None:
    sam, noor = signed_in(world.user("sam")), signed_in(world.user("noor"))
    assert [sam.get("/courses/").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = sam.get("/c/cs-101/")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert "A little slower, please" in refused.content.decode()
    assert "Content-Security-Policy" in refused.headers
    assert noor.get("/courses/").status_code == 200
    # Another session of the same person is the same person.
    assert signed_in(world.user("sam")).get("/courses/").status_code == 429


def test_a_refused_form_gives_back_what_was_typed(limits: Any, world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    form = {"kind": "question", "title": "Why is <b> bold?", "body": "An hour of typing.", "visibility": "course"}
    before = Thread.objects.count()
    answers = [sam.post("/c/cs-101/ask/", form | {"title": f"{form['title']} {n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers][2] == 429
    page = answers[2].content.decode()
    assert "An hour of typing." in page
    assert "Why is &lt;b&gt; bold? 2" in page
    assert "send it again" in page
    assert Thread.objects.count() - before <= 2
    assert sam.get("/courses/").status_code == 200  # reading goes on


def test_pages_that_ask_by_themselves_leave_a_person_their_reads(limits: Any, world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    assert [sam.get("/inbox/count/").status_code for _ in range(6)][4:] == [200, 429]
    assert [sam.get("/courses/").status_code for _ in range(3)] == [200] * 3
    assert sam.post("/c/cs-101/preview/", {"body": "x"}).status_code == 429


def test_sending_files_is_counted_by_itself(limits: Any, world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    codes = [sam.post("/uploads/", {}).status_code for _ in range(3)]
    assert 429 not in codes[:2]
    assert codes[2] == 429
    assert sam.post("/me/feeds/", {}).status_code != 429


def test_scripts_get_a_line_and_not_a_page(limits: Any, world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    for _ in range(3):
        sam.get("/courses/")
    answer = sam.get("/courses/", headers={"Accept": "application/json"})
    assert answer.status_code == 429
    assert answer.json()["retry_after"] == int(answer.headers["Retry-After"])
    fragment = sam.get("/courses/", headers={"HX-Request": "true", "Accept": "*/*"})
    assert fragment.status_code == 429
    assert fragment.content.decode().startswith('<p class="note" role="alert">You opened more pages')
    assert len(fragment.content) < 200


def test_strangers_are_counted_by_address_more_generously(limits: Any, world: World) -> None:
    assert [Client().get("/sign-in/").status_code for _ in range(10)] == [200] * 9 + [429]
    assert Client(REMOTE_ADDR="192.0.2.9").get("/sign-in/").status_code == 200
    # A made-up session is nobody's.
    forged = Client()
    forged.cookies[configured.SESSION_COOKIE_NAME] = "x" * 32
    assert forged.get("/sign-in/").status_code == 429


def test_looking_for_hidden_doors_is_counted(limits: Any, world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    assert [sam.get(f"/.env{n}").status_code for n in range(4)] == [404, 404, 404, 429]


def test_probes_and_files_of_the_pages_are_not_counted(limits: Any, world: World) -> None:
    client = Client()
    assert {client.get("/health").status_code for _ in range(12)} == {200}
    assert {client.get("/static/css/tokens.css").status_code for _ in range(12)} == {200}
    assert client.get("/sign-in/").status_code == 200


def test_zero_switches_a_limit_off(limits: Any, world: World, signed_in: SignIn) -> None:
    limits.RATE_READS_PER_MINUTE = 0
    sam = signed_in(world.user("sam"))
    assert {sam.get("/courses/").status_code for _ in range(8)} == {200}


def test_every_route_named_by_the_limits_exists() -> None:
    named = middleware.UNLIMITED | middleware.BACKGROUND | middleware.UPLOADS | set(configured.LARGE_BODIES)
    assert {name for name in named if not name.startswith("admin:")} <= set(ROUTES)


# From where


@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),  # not a proxy of ours: what it says isn't read
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.1", "198.51.100.1"),  # the left was written by the client
        ("10.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
        ("", "198.51.100.1", "198.51.100.1"),  # a Unix socket
        ("", "", ""),
        ("nonsense", "198.51.100.1", ""),
    ],
)
def test_only_proxies_of_ours_are_believed(
    remote: str, forwarded: str, found: str, rf: RequestFactory, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "fd00::/8"]
    extra: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert client_address(rf.get("/", REMOTE_ADDR=remote, **extra)) == found


def test_without_proxies_nobody_is_believed(rf: RequestFactory) -> None:
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="198.51.100.1")
    assert client_address(request) == "10.0.0.1"
    assert client_address(rf.get("/", REMOTE_ADDR="", HTTP_X_FORWARDED_FOR="198.51.100.1")) == ""


def test_a_household_of_ipv6_is_one(rf: RequestFactory) -> None:
    assert client_network(rf.get("/", REMOTE_ADDR="2001:db8:1:2::1")) == "2001:db8:1:2::/64"
    assert client_network(rf.get("/", REMOTE_ADDR="2001:db8:1:2:ffff::9")) == "2001:db8:1:2::/64"
    assert client_network(rf.get("/", REMOTE_ADDR="2001:db8:1:3::1")) == "2001:db8:1:3::/64"
    assert client_network(rf.get("/", REMOTE_ADDR="192.0.2.7")) == "192.0.2.7"


def test_a_made_up_address_is_no_way_round(limits: Any, world: World) -> None:
    spoofed = [Client().get("/sign-in/", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in range(10)]
    assert spoofed[-1] == 429


# How large


def test_a_page_takes_a_megabyte_and_a_file_more(world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    large = str(2 * 1024**2)
    for url in ("/sign-in/", "/me/feeds/", "/c/cs-101/draft/", "/nowhere/"):
        assert sam.post(url, {}, CONTENT_LENGTH=large).status_code == 413, url
    assert sam.post("/c/cs-101/ask/", {"title": "x"}, CONTENT_LENGTH=str(111 * 1024**2)).status_code == 413
    picture = {"avatar": io.BytesIO(b"x" * 2 * 1024**2)}
    assert sam.post("/me/avatar/", picture).status_code != 413
    for nonsense in ("many", "-1", "1e3", "²"):
        assert sam.post("/sign-in/", {}, CONTENT_LENGTH=nonsense).status_code == 400


def test_a_body_of_unknown_size_is_refused(world: World) -> None:
    answer = Client().post("/sign-in/", {"email": "x"}, HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH="")
    assert answer.status_code == 411


# Headers

EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def breaks(request: HttpRequest) -> HttpResponse:
    secret = "a-secret-of-ours"
    raise RuntimeError(f"broken with {secret}")


class WithBroken:
    """The address book with a page that breaks."""

    urlpatterns = [path("broken/", breaks), *urlpatterns]
    handler403, handler404, handler500 = handler403, handler404, handler500


@pytest.mark.parametrize(
    ("url", "status"), [("/sign-in/", 200), ("/", 302), ("/nowhere/", 404), ("/broken/", 500), ("/mail/inbound/", 405)]
)
def test_every_answer_carries_the_headers(url: str, status: int, settings: Any, world: World) -> None:
    settings.ROOT_URLCONF = WithBroken
    answer = Client(raise_request_exception=False).get(url)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in EXPECTED} == EXPECTED
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "camera=()" in answer.headers["Permissions-Policy"]
    if status == 500:
        for told in ("Traceback", "RuntimeError", "a-secret-of-ours", "test_web_hardening"):
            assert told not in answer.content.decode()


def test_files_of_the_pages_carry_theirs() -> None:
    style, picture = Client().get("/static/css/tokens.css"), Client().get("/static/img/quokka.svg")
    for answer in (style, picture):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "sandbox" in picture.headers["Content-Security-Policy"]


def test_files_of_people_carry_theirs(world: World, signed_in: SignIn, sam: Any) -> None:
    upload = factories.checked_file(sam)
    answer = signed_in(world.user("sam")).get(f"/files/{upload.pk}/")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")


# Whose form

CSRF_EXEMPT = {
    "inbox:unsubscribe",  # one click in a mail program, without a session (RFC 8058): the link is the proof
    "inbox:inbound",  # a mail server, with its secret
    "lti:login",  # posted by a learning platform's page: it begins a launch, and changes nothing
    "lti:launch",  # posted by a learning platform's page: state, nonce and signature do the token's work
    "saml_acs",  # posted by an identity provider's page: the request's id and the signature do the token's work
}


def test_every_form_needs_its_token(world: World, places: Any) -> None:
    """Posted without one, each route says 403, signed in as whoever may do most; those exempt are named above."""
    ada = Client(enforce_csrf_checks=True)
    ada.force_login(world.user("ada"))
    exempt = {name for name, route in ROUTES.items() if getattr(route.callback, "csrf_exempt", False)}
    assert exempt == CSRF_EXEMPT
    open_to_all = set()
    for name in sorted(set(ROUTES) - CSRF_EXEMPT):
        answer = ada.post(address(name, places), {"title": "kept text"})
        if answer.status_code != 403 or "Please send it again" not in answer.content.decode():
            open_to_all.add((name, answer.status_code))
    assert open_to_all == set()


def test_admin_forms_need_their_token(world: World) -> None:
    User.objects.filter(email="ada@example.edu").update(is_superuser=True, is_staff=True)
    ada = Client(enforce_csrf_checks=True)
    ada.force_login(User.objects.get(email="ada@example.edu"))
    for url in ("/admin/login/", "/admin/accounts/user/add/", "/admin/accounts/course/", "/admin/logout/"):
        assert ada.post(url, {}).status_code == 403, url


# Where to next

EVIL = [
    "//evil.example", "///evil.example", "////evil.example", "/\\evil.example", "\\\\evil.example", "/\\/evil.example",
    "https:evil.example", "https://evil.example", "http:///evil.example", "https:/\\evil.example", "javascript:alert(1)",
    "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "/\t/evil.example", "/\n/evil.example", "\t//evil.example",
    " //evil.example", "/\r/evil.example", "/\x00/evil.example", "/%2Fevil.example", "/%5Cevil.example",
    "/%5cevil.example", "%2F%2Fevil.example", "/%09/evil.example", "/%0d%0aSet-Cookie:x", "/ok\r\nSet-Cookie: x=y",
    "/ok\\..\\..", "evil.example", "courses", "accounts:profile", "@evil.example", "//testserver@evil.example", "/ /evil",
    "//testserver/courses/", "/" + "a" * 2001, "", "/\x7f/evil.example",
]  # fmt: skip
FINE = [
    "/courses/",
    "/c/cs-101/?tag=a%20b&page=2",
    "/c/cs-101/3/#post-1",
    "/c/cs-101/?q=%22a%2Fb%22",
    "/search?q=http://x",
]


def test_nobody_is_sent_elsewhere(world: World, rf: RequestFactory) -> None:
    sam = Client()
    sam.force_login(world.user("sam"))
    for target in EVIL:
        assert safe_target(rf.get("/"), target) == "", target
        answer = sam.post("/me/ai/consent/", {"given": "no", "next": target})
        assert answer.headers["Location"] == "/me/ai/", target
    form = {"email": "sam@example.edu", "password": factories.PASSWORD}
    for target in ("//evil.example", "/\\evil.example", "/%5Cevil.example", "javascript:alert(1)", "courses"):
        answer = Client().post("/sign-in/", form | {"next": target})
        assert answer.headers["Location"] == "/courses/", target


def test_own_pages_are_gone_back_to(world: World, rf: RequestFactory) -> None:
    assert [safe_target(rf.get("/"), target) for target in FINE] == FINE
    assert safe_target(rf.get("/"), None) == ""


def test_staff_are_not_sent_elsewhere_after_assigning(world: World, places: Any, signed_in: SignIn) -> None:
    ada = signed_in(world.user("ada"))
    url = address("forum:assign-thread", places)
    for target in EVIL:
        location = ada.post(url, {"to": "", "next": target}).headers["Location"]
        assert location.startswith("/c/cs-101/"), target


def python_files() -> list[Path]:
    return [
        file for app in ("accounts", "forum", "ai_answers", "quokkaq") for file in sorted((ROOT / app).rglob("*.py"))
    ]


def test_every_next_goes_through_one_check() -> None:
    """Whoever looks at `url_has_allowed_host_and_scheme`, or reads a `next` by name, stands here."""
    checks = {str(file.relative_to(ROOT)) for file in python_files() if "url_has_allowed_host" in file.read_text()}
    assert checks == {"quokkaq/lib/http.py", "accounts/decorators.py"}
    readers = set()
    for file in python_files():
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [a.value for a in getattr(node, "args", []) if isinstance(a, ast.Constant)]
                if isinstance(node, ast.Call)
                else []
            )
            key = node.slice.value if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) else None
            getter = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
            if (getter and names and names[0] in ("next", "back", "return")) or key in ("next", "back", "return"):
                readers.add(str(file.relative_to(ROOT)))
    for reader in readers - {"forum/views/search.py"}:
        assert "safe_target(" in (ROOT / reader).read_text(), reader


# Tables


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
@pytest.mark.parametrize("before", ["", " ", "\u00a0", "\u200b", "\ufeff", "\u3000 "])
def test_no_cell_is_a_formula(start: str, before: str) -> None:
    table = csv_response("x.csv", ("a",), [(f"{before}{start}HYPERLINK(1)",)])
    (_, (cell,)) = csv.reader(io.StringIO(table.content.decode(), newline=""))
    assert cell == f"'{before}{start}HYPERLINK(1)"


def test_numbers_and_words_stay_what_they_are() -> None:
    table = csv_response("x.csv", ("a", "b", "c", "d"), [(-5, 2.5, "a = b", None)])
    assert table.content.decode().splitlines()[1] == "-5,2.5,a = b,"


def test_tables_are_written_in_one_place() -> None:
    writers = {
        str(file.relative_to(ROOT))
        for file in python_files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("writer", "DictWriter")
    }
    assert writers == {"quokkaq/lib/spreadsheet.py"}


def test_the_roster_runs_no_formula(world: World, signed_in: SignIn) -> None:
    User.objects.filter(email="sam@example.edu").update(display_name="=cmd|' /C calc'!A0")
    table = signed_in(world.user("ada")).get("/c/cs-101/course/roster.csv").content.decode()
    assert "\"'=cmd|" in table or "'=cmd|" in table
    assert "\n=cmd" not in table
