"""Replies by mail: what is posted, what is refused, and what robots and strangers achieve (nothing)."""

import hashlib
import hmac
import io
import json
import os
import time
from datetime import timedelta
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core import mail as outbox_module
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client, override_settings
from django.utils import timezone

from accounts.access import Member
from accounts.models import Course, Enrollment, User
from forum import actions
from forum.actions.incoming import MAX_MAIL_BYTES, NotAMailError, text_of, without_quotes
from forum.actions.mailing import find_reply_address, reply_address
from forum.models import InboundMail, Post, ReplyAddress, Thread
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def thread(world: World, sam: Member) -> Thread:
    return factories.make_thread(sam, "Why does this happen?")


def letter(thread: Thread, who: User, text: str = "Because it must.", **headers: str) -> EmailMessage:
    message = EmailMessage()
    defaults = {
        "From": f"Somebody <{who.email}>", "To": reply_address(who, thread), "Subject": "Re: hello",
        "Message-ID": f"<{time.monotonic_ns()}@mail.example.edu>",
    }  # fmt: skip
    for name, value in (defaults | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        if value:
            message[name] = value
    message.set_content(text)
    return message


def receive(message: EmailMessage) -> str:
    return str(actions.receive_mail(message.as_bytes()))


def answers() -> list[Any]:
    outbox_module.outbox.clear()
    run_tasks("forum.send_mail")
    return list(outbox_module.outbox)


# Posting


def test_a_reply_by_mail_is_a_reply(thread: Thread, noor: Member) -> None:
    message = letter(
        thread,
        noor.user,
        "Because **so**:\n\n    if x:\n        y()\n\nOn Tue, Nov 24, 2026 at 10:00 QuokkaQ wrote:\n> quoted\n",
    )
    assert receive(message) == "posted"
    post = Post.objects.get()
    assert (post.author, post.thread, post.anonymity) == (noor.user, thread, "named")
    assert post.body == "Because **so**:\n\n    if x:\n        y()"
    assert receive(message) == "posted"
    assert Post.objects.count() == 1
    assert InboundMail.objects.get().post == post
    assert answers() == []


def test_a_mail_without_an_id_is_known_by_its_text(thread: Thread, noor: Member) -> None:
    message = letter(thread, noor.user, Message_ID="")
    assert (receive(message), receive(message)) == ("posted", "posted")
    assert Post.objects.count() == 1


def test_cut_off_before_it_was_noted_it_is_posted_once(thread: Thread, noor: Member) -> None:
    message = letter(thread, noor.user)
    receive(message)
    InboundMail.objects.all().delete()
    receive(message)
    assert Post.objects.count() == 1


@pytest.mark.parametrize("anonymity", ["classmates", "all"])
def test_who_hides_in_the_thread_goes_on_hiding(anonymity: str, world: World, sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam, "My hidden question", anonymity=anonymity)
    factories.make_post(noor, thread, anonymity=anonymity)
    for who in (sam, noor):
        assert receive(letter(thread, who.user, f"More by {who.role}")) == "posted"
    mine = Post.objects.get(author=sam.user)
    assert (mine.anonymity, mine.pseudonym) == (anonymity, thread.pseudonym)
    assert set(Post.objects.values_list("anonymity", flat=True)) == {anonymity}
    Course.objects.update(anonymity_policy="named")
    assert receive(letter(thread, sam.user, "And more")) == "refused"
    [answer] = answers()
    assert "You hide your name in this thread" in answer.body
    assert "And more" in answer.body


def test_from_may_be_written_in_any_case_and_the_address_in_any_header(thread: Thread, noor: Member) -> None:
    message = letter(
        thread,
        noor.user,
        From="NOOR@Example.EDU",
        To="list@example.edu, x",
        Delivered_To=reply_address(noor.user, thread).upper(),
    )
    assert receive(message) == "posted"


def test_the_course_approves_replies_by_mail_too(thread: Thread, noor: Member) -> None:
    Course.objects.update(posting_policy="approve")
    assert receive(letter(thread, noor.user)) == "posted"
    assert Post.objects.get().moderation == "pending"


def test_attachments_are_left_out_and_said_so(thread: Thread, noor: Member) -> None:
    message = letter(thread, noor.user)
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    assert receive(message) == "posted"
    assert Post.objects.get().body == "Because it must."
    [answer] = answers()
    assert "without its attachments" in answer.body
    assert answer.message()["Auto-Submitted"] == "auto-replied"


def test_strange_charsets_lose_nothing(thread: Thread, noor: Member) -> None:
    for number, (charset, raw) in enumerate([
        ("iso-8859-1", "Grüße".encode("latin-1")), ("utf-8", "Grüße".encode("latin-1")), ("x-unknown", "Grüße".encode()),
        ("utf-8", b"Gr\x00\x07\xc3\xbc\xc3\x9fe"),
    ]):  # fmt: skip
        head = letter(thread, noor.user)
        del head["Content-Type"], head["Content-Transfer-Encoding"], head["MIME-Version"]
        start = head.as_bytes().split(b"\n\n")[0]
        body = (
            start + f"\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n".encode() + raw
        )
        assert str(actions.receive_mail(body)) == "posted", number
    assert {post.body for post in Post.objects.all()} == {"Grüße"}


def test_html_only_becomes_text(thread: Thread, noor: Member) -> None:
    message = letter(thread, noor.user)
    message.set_content(
        "<html><head><style>p {}</style></head><body><p>Because <b>so</b> &amp; so<br>twice</p><script>x()</script>"
        '<div class="gmail_quote">On Tuesday<blockquote>old</blockquote></div></body></html>',
        subtype="html",
    )
    assert receive(message) == "posted"
    assert Post.objects.get().body == "Because so & so\ntwice"


@pytest.mark.parametrize(
    "text",
    [
        "Yes\n\nOn Tue, 24 Nov 2026 at 10:00, CS 101 · QuokkaQ <\nnoreply@quokkaq.example> wrote:\n\n> ----- Reply above this line -----\n> old",
        "Yes\n\nAm Di., 24. Nov. 2026 um 10:00 Uhr schrieb CS 101 · QuokkaQ <noreply@quokkaq.example>:\n\n> old",
        "Yes\n\nLe mar. 24 nov. 2026 à 10:00, QuokkaQ <noreply@quokkaq.example> a écrit :\n\n> old",
        "Yes\n\nSent from my iPhone\n\n> On 24 Nov 2026, at 10:00, QuokkaQ <noreply@quokkaq.example> wrote:\n> \n> old",
        "Yes\n\n________________________________\nFrom: QuokkaQ <noreply@quokkaq.example>\nSent: Tuesday, November 24, 2026 10:00 AM\nTo: Noor <noor@example.edu>\nSubject: [CS 101] #1 Why\n\n----- Reply above this line -----\nold",
        "Yes\r\n\r\n-----Original Message-----\r\nFrom: QuokkaQ <noreply@quokkaq.example>\r\nSent: Tuesday\r\nTo: Noor\r\nSubject: x\r\n\r\nold",
        "Yes\n\n-- \nNoor Rahimi\nTel. 123",
        "\n\nYes\n> old\n> older",
        "  \n\t\nYes\n\nBest regards\nNoor",
        "Yes",
    ],
)  # fmt: skip
def test_quotes_and_signatures_stay_behind(text: str) -> None:
    assert without_quotes(text) == "Yes"


def test_long_lines_stay_whole() -> None:
    line = "word " * 200
    text = f"    {line}\n\nOn Tue, Nov 24, 2026 at 10:00 QuokkaQ wrote:\n> old"
    assert without_quotes(text) == f"    {line}".rstrip()
    assert without_quotes(f"Above\n{'_' * 40}\nBelow") in ("Above", f"Above\n{'_' * 40}\nBelow")


def test_a_warning_of_ones_own_is_no_disclaimer() -> None:
    text = "Yes\n\nWarning: don't mail me\n\nMore"
    assert without_quotes(f"{text}\n\nBest regards\nNoor") == text
    assert without_quotes(f"Yes\n\n{'_' * 40}\n\nMore").split() == ["Yes", "More"]


def test_lists_and_code_are_no_signatures() -> None:
    text = "Two reasons:\n- one\n- two\n\ndef f(x):\n    return x\n\n> quoted inside\n\nThen this."
    assert without_quotes(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "_" * 40_000,
        "On " * 13_000,
        "On On\n" * 6_000,
        "On\n\n" * 5_000,
        ("On " * 60 + "\n") * 200,
        "> " * 20_000,
        "From: a\n" * 5_000,
        "a\n" * 20_000,
        "<a" * 100_000,
    ],
)
@pytest.mark.clocked
def test_hostile_texts_cost_little_time(text: str) -> None:
    started = time.monotonic()
    without_quotes(text)
    text_of(text)
    assert time.monotonic() - started < 5


# Refusing


def refuse(message: EmailMessage) -> Any:
    """Receive what must be refused; return the one answer to it."""
    before = Post.objects.count()
    assert receive(message) == "refused"
    assert Post.objects.count() == before
    [answer] = answers()
    return answer


def test_a_reply_to_a_merged_thread_is_posted_where_its_replies_are(thread: Thread, noor: Member, tim: Member) -> None:
    target = factories.make_thread(noor, "The same, asked elsewhere")
    actions.merge_threads(by=tim, source=thread, target=target)
    assert receive(letter(thread, noor.user, "My long answer")) == "posted"
    assert Post.objects.get().thread == target


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("locked", "Staff have locked this thread"),
        ("deleted", "The thread isn't there any more"),
        ("private", "The thread isn't there any more"),
        ("archived", "This course is read-only for you."),
        ("completed", "This course is read-only for you."),
        ("dropped", "The thread isn't there any more"),
        ("banned", "Staff have taken away your right to post"),
        ("closed for an exam", "Posting is closed until"),
        ("read-only", "Only staff post in this course now."),
        ("account closed", "Your account is closed."),
    ],
)
def test_what_cannot_be_posted_comes_back_with_its_reason(
    state: str, sentence: str, thread: Thread, sam: Member, noor: Member, tim: Member, world: World
) -> None:
    mine = Enrollment.objects.filter(user=noor.user, course=world.course)
    match state:
        case "locked":
            actions.set_locked(by=tim, thread=thread, locked=True)
        case "deleted":
            actions.delete_thread(by=sam, thread=thread)
        case "private":
            Thread.objects.update(visibility="staff")
        case "archived":
            factories.archive(world.course)
        case "completed" | "dropped":
            mine.update(status=state)
        case "banned":
            mine.update(is_banned=True, ban_reason="Rude.")
        case "closed for an exam":
            Course.objects.update(posting_closed_until=timezone.now() + timedelta(hours=1))
        case "read-only":
            Course.objects.update(posting_policy="read_only")
        case "account closed":
            User.objects.filter(pk=noor.user.pk).update(is_active=False)
    answer = refuse(letter(thread, noor.user, "My long answer"))
    assert answer.to == ["noor@example.edu"]
    assert sentence in answer.body
    assert "My long answer" in answer.body
    assert "still below" not in answer.body
    assert thread.title not in answer.body + answer.subject
    assert answer.message()["Auto-Submitted"] == "auto-replied"
    assert "Reply-To" not in answer.message()


def test_empty_and_endless_texts_are_refused(thread: Thread, noor: Member) -> None:
    assert "no text" in refuse(letter(thread, noor.user, "> only\n> quoted\n")).body
    assert "too long" in refuse(letter(thread, noor.user, "very long\n" * 1_500)).body
    message = letter(thread, noor.user)
    message.clear_content()
    message.add_attachment(b"x", maintype="image", subtype="png", filename="a.png")
    assert "no text" in refuse(message).body


@pytest.mark.parametrize("sender", ["eve@example.edu", "noor@example.edu, eve@example.edu", "nobody"])
def test_only_the_person_may_use_their_address(sender: str, thread: Thread, noor: Member) -> None:
    answer = refuse(letter(thread, noor.user, From=sender))
    assert answer.to == ["noor@example.edu"]
    assert "another address" in answer.body


def test_refusals_end_after_a_few(thread: Thread, noor: Member, tim: Member) -> None:
    actions.set_locked(by=tim, thread=thread, locked=True)
    outcomes = [receive(letter(thread, noor.user, f"Text {n}")) for n in range(7)]
    assert outcomes == ["refused"] * 5 + ["ignored"] * 2
    assert len(answers()) == 5


@pytest.mark.parametrize(
    "header",
    [
        {"Auto_Submitted": "auto-replied"}, {"Auto_Submitted": "auto-generated; x=y"}, {"Precedence": "bulk"},
        {"Precedence": "auto_reply"}, {"X_Autoreply": "yes"}, {"Return_Path": "<>"}, {"List_Id": "<a.b>"},
    ],
)  # fmt: skip
def test_robots_are_neither_posted_nor_answered(header: dict[str, str], thread: Thread, noor: Member) -> None:
    assert receive(letter(thread, noor.user, "I am on holiday.", **header)) == "ignored"
    assert not Post.objects.exists()
    assert answers() == []


def test_people_whose_program_says_it_is_no_robot_are_posted(thread: Thread, noor: Member) -> None:
    assert receive(letter(thread, noor.user, Auto_Submitted="no", Return_Path="<noor@example.edu>")) == "posted"


# Addresses


def test_a_forged_address_is_nobodys(thread: Thread, sam: Member, noor: Member) -> None:
    mine = reply_address(noor.user, thread)
    local, _, domain = mine.partition("@")
    other = reply_address(sam.user, thread).partition("@")[0]
    assert len(local) <= 64
    assert local == local.lower()
    key, signature = local[6:26], local[26:]
    forged = [
        f"reply+{other[6:26]}{signature}", f"reply+{key}{other[26:]}", f"reply+{key}{'a' * 16}", f"reply+{key}", "reply+",
        f"reply+{'0' * 20}{signature}", f"reply+{key}{signature}x", key,
    ]  # fmt: skip
    for address in forged:
        assert find_reply_address(address) is None
        assert receive(letter(thread, noor.user, To=f"{address}@{domain}")) == "ignored"
    assert receive(letter(thread, noor.user, To=f"{local}@elsewhere.example")) == "ignored"
    assert not Post.objects.exists()
    assert answers() == []
    assert not InboundMail.objects.exists()


def test_each_thread_has_an_address_of_its_own(thread: Thread, sam: Member, noor: Member) -> None:
    other = factories.make_thread(sam, "Another question")
    assert reply_address(noor.user, thread) != reply_address(noor.user, other)
    assert reply_address(noor.user, thread) == reply_address(noor.user, thread)
    assert receive(letter(other, noor.user)) == "posted"
    assert Post.objects.get().thread == other
    for person in (sam, noor):
        assert person.user.pk.hex[:20] not in reply_address(person.user, thread)


def test_addresses_outlive_a_new_secret_key(thread: Thread, noor: Member) -> None:
    local = reply_address(noor.user, thread).partition("@")[0]
    old = settings.SECRET_KEY
    with override_settings(SECRET_KEY="another-key-" * 6):
        assert find_reply_address(local) is None
    with override_settings(SECRET_KEY="another-key-" * 6, SECRET_KEY_FALLBACKS=[old]):
        assert find_reply_address(local) is not None
    ReplyAddress.objects.all().delete()
    assert find_reply_address(local) is None


def test_without_a_reply_domain_nothing_comes_in(thread: Thread, noor: Member) -> None:
    message = letter(thread, noor.user)
    with override_settings(REPLY_DOMAIN=""):
        assert receive(message) == "ignored"


def test_headers_that_make_no_sense_are_nobodys_mail(thread: Thread) -> None:
    for raw in (b"To: <\xff\xfe@\n\nx", b"From: =?utf-8?q?=ff?= <>\nTo: a@[::1\n\nx", b"To: ,,;\nSubject: x\n\n"):
        assert str(actions.receive_mail(raw)) == "ignored"
    for raw in (b"", b"no header here", b"x" * (MAX_MAIL_BYTES + 1)):
        with pytest.raises(NotAMailError):
            actions.receive_mail(raw)


# Ways in

SECRET = "inbound-secret-of-this-test"


def post(raw: bytes, *, stamp: float | str | None = None, secret: str = SECRET, kind: str = "message/rfc822") -> Any:
    moment = str(int(time.time())) if stamp is None else str(stamp)
    signature = hmac.new(secret.encode(), moment.encode() + b"." + raw, hashlib.sha256).hexdigest()
    headers = {"X-QuokkaQ-Timestamp": moment, "X-QuokkaQ-Signature": signature}
    with override_settings(INBOUND_MAIL_SECRET=SECRET):
        return Client(enforce_csrf_checks=True).post("/mail/inbound/", raw, content_type=kind, headers=headers)


def test_a_mail_service_posts_what_it_signed(thread: Thread, noor: Member) -> None:
    raw = letter(thread, noor.user).as_bytes()
    for _ in range(2):
        response = post(raw)
        assert (response.status_code, json.loads(response.content)) == (200, {"outcome": "posted"})
    assert Post.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"secret": "wrong"}, 401),
        ({"stamp": "soon"}, 401),
        ({"stamp": "9" * 30}, 401),
        ({"stamp": "1000000000"}, 403),
        ({"kind": "text/plain"}, 415),
        ({"raw": b"x" * (MAX_MAIL_BYTES + 1)}, 413),
        ({"raw": b"x" * (5 * MAX_MAIL_BYTES + 1)}, 413),
        ({"raw": b"no header here"}, 400),
    ],
)
def test_anything_else_is_refused_with_its_reason(
    change: dict[str, Any], status: int, thread: Thread, noor: Member
) -> None:
    raw = letter(thread, noor.user).as_bytes()
    response = post(**{"raw": raw, **change})
    assert response.status_code == status
    assert json.loads(response.content)["error"]
    assert not Post.objects.exists()


def test_without_a_secret_or_with_a_get_there_is_nothing(thread: Thread) -> None:
    assert Client().get("/mail/inbound/").status_code == 405
    assert Client().post("/mail/inbound/", b"x", content_type="message/rfc822").status_code == 404


def pipe(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    try:
        call_command("receive_mail", stdout=io.StringIO(), stderr=io.StringIO())
    except SystemExit as end:
        return int(end.code or 0)
    return os.EX_OK


def test_postfix_learns_what_to_do_with_a_mail(thread: Thread, noor: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = letter(thread, noor.user).as_bytes()
    assert pipe(raw, monkeypatch) == os.EX_OK
    assert Post.objects.count() == 1
    assert pipe(b"", monkeypatch) == os.EX_DATAERR
    assert pipe(b"x" * (MAX_MAIL_BYTES + 1), monkeypatch) == os.EX_DATAERR

    def down(raw: bytes) -> None:
        raise OperationalError("connection to noor@example.edu refused")

    monkeypatch.setattr(actions, "receive_mail", down)
    assert pipe(raw, monkeypatch) == os.EX_TEMPFAIL


def test_logs_say_which_thread_and_not_who(thread: Thread, noor: Member, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        receive(letter(thread, noor.user, "Very private words"))
    said = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert str(thread.pk) in said
    for secret in ("noor@", "Surname-noor", "private words", str(noor.user.pk)):
        assert secret not in said
