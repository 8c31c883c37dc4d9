"""Mail: one for a burst, digests, the headers, sending and failing, unsubscribing."""

import smtplib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from django.core import mail as outbox_module
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import tasks as account_tasks
from accounts.access import Member
from accounts.models import Enrollment, User
from forum import actions, tasks
from forum.actions.mailing import MailNotSentError, one_line, unsubscribe_url
from forum.models import (
    Delivery,
    Follow,
    FollowState,
    InboundMail,
    Mail,
    Notification,
    NotificationKind,
    Preference,
    Thread,
)
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = [pytest.mark.django_db]
MAIL_TASKS = ("forum.tell", "forum.compose_mail", "forum.send_mail")


@pytest.fixture
def thread(world: World, sam: Member) -> Thread:
    return factories.make_thread(sam, "Why does this happen?")


def deliver() -> list[Any]:
    """Tell, let the pause pass, compose and send; return the mails that left."""
    outbox_module.outbox.clear()
    run_tasks("forum.tell")
    Notification.objects.filter(mailed_at=None, mail_due_at__isnull=False).update(mail_due_at=timezone.now())
    tasks.enqueue_mail(0)
    run_tasks(*MAIL_TASKS)
    return list(outbox_module.outbox)


# What is in it


def test_a_burst_of_replies_is_one_mail(thread: Thread, noor: Member, tim: Member, sam: Member) -> None:
    for n in range(5):
        factories.make_post(noor if n % 2 else tim, thread, f"Reply **number {n}**\n\n    code {n}")
    mail = next(mail for mail in deliver() if mail.to == [sam.user.email])
    assert sum(other.to == [sam.user.email] for other in outbox_module.outbox) == 1
    assert mail.subject == "[CS-101] #1 Why does this happen?"
    assert [f"number {n}" in mail.body for n in range(5)] == [True] * 5
    assert mail.body.index("number 0") < mail.body.index("number 4")
    assert "<strong>number 0</strong>" in mail.alternatives[0][0]
    assert deliver() == []


def test_what_comes_within_the_pause_goes_along(thread: Thread, noor: Member, sam: Member) -> None:
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    Notification.objects.update(mail_due_at=timezone.now())
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    tasks.enqueue_mail(0)
    run_tasks("forum.compose_mail")
    assert Mail.objects.count() == 1
    assert not Notification.objects.filter(mailed_at=None).exists()


def test_nothing_leaves_before_its_time(thread: Thread, noor: Member) -> None:
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    tasks.enqueue_mail(0)
    run_tasks("forum.compose_mail")
    row = Notification.objects.get()
    assert actions.compose_mail(row.pk) is None
    assert row.mail_due_at is not None
    assert timedelta(seconds=50) < row.mail_due_at - timezone.now() <= timedelta(seconds=60)
    assert not Mail.objects.exists()


def test_what_was_read_meanwhile_needs_no_mail(thread: Thread, noor: Member, sam: Member) -> None:
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    actions.mark_told_read(by=sam.user, thread=thread)
    assert deliver() == []
    assert Notification.objects.get().mailed_at is not None


def test_several_threads_make_a_digest_by_course(world: World, sam: Member, noor: Member, thread: Thread) -> None:
    factories.enroll(world.user("sam"), world.other_course)
    factories.make_post(noor, thread, "Because " + "very " * 200)
    factories.make_post(noor, factories.make_thread(sam, "Second question"), "Short")
    [digest] = deliver()
    assert digest.subject == "[CS-101] News in 2 threads"
    assert "#1 Why does this happen?" in digest.body
    assert "very …" in digest.body
    factories.make_post(noor, thread)
    factories.make_thread(world.member("pat", world.other_course), "Algebra news", kind="announcement")
    mixed = next(mail for mail in deliver() if mail.to == [sam.user.email])
    assert mixed.subject == "[QuokkaQ] News in 2 threads"
    assert "MATH-221 · #1 Algebra news" in mixed.body
    assert "List-Id" not in mixed.message()
    assert "QuokkaQ <" in mixed.message()["From"]


@pytest.mark.parametrize("change", ["deleted", "hidden", "dropped", "closed", "muted"])
def test_who_may_not_read_it_any_more_gets_no_mail(change: str, thread: Thread, noor: Member, sam: Member) -> None:
    post = factories.make_post(noor, thread, "Secret words")
    run_tasks("forum.tell")
    match change:
        case "deleted":
            actions.delete_post(by=noor, post=post)
        case "hidden":
            Thread.objects.update(moderation="hidden", author=None)
        case "dropped":
            Enrollment.objects.filter(user=sam.user).update(status="dropped")
        case "closed":
            User.objects.filter(pk=sam.user.pk).update(is_active=False)
        case "muted":
            actions.set_follow(by=sam, thread=thread, state=FollowState.MUTED)
    assert deliver() == []
    assert not Mail.objects.exists()


def test_strangers_get_no_mail(world: World, thread: Thread, tim: Member, noor: Member) -> None:
    factories.make_thread(tim, "The news", "Hello", kind="announcement")
    factories.make_post(noor, thread)
    factories.make_post(tim, factories.make_thread(noor, "Private one", visibility="staff"), "Only to you")
    addresses = {mail.to[0] for mail in deliver()}
    assert addresses == {f"{name}@example.edu" for name in ("sam", "noor", "ada")}
    assert not [mail for mail in outbox_module.outbox if "Private one" in mail.body and mail.to != ["noor@example.edu"]]


def test_who_hides_stands_in_no_mail(thread: Thread, sam: Member, noor: Member, tim: Member) -> None:
    for anonymity in ("classmates", "all"):
        question = factories.make_thread(noor, "Hidden question", anonymity=anonymity)
        for who in (sam, tim):
            actions.set_follow(by=who, thread=question, state=FollowState.FOLLOWING)
        factories.make_post(noor, question, "More", anonymity=anonymity)
        for mail in deliver():
            to_staff_who_may_know = anonymity == "classmates" and mail.to == ["tim@example.edu"]
            assert ("Surname-noor" in str(mail.message())) == to_staff_who_may_know
            assert noor.user.email not in str(mail.message())


# Headers


def test_the_headers_thread_list_and_let_go(thread: Thread, noor: Member, sam: Member, tim: Member) -> None:
    factories.make_post(noor, thread, "First")
    [first] = deliver()
    factories.make_post(tim, thread, "Second")
    second = next(mail for mail in deliver() if mail.to == [sam.user.email])
    one, two = first.message(), second.message()
    assert one["In-Reply-To"] == one["References"] == two["In-Reply-To"] == f"<thread.{thread.pk.hex}@quokkaq.example>"
    assert one["Message-ID"] != two["Message-ID"]
    assert one["List-Id"] == "<cs-101.home.quokkaq.example>"
    assert one["List-Unsubscribe"].startswith("<http://localhost:8000/unsubscribe/")
    assert one["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert one["Auto-Submitted"] == "auto-generated"
    assert one["Precedence"] == "bulk"
    assert one["Reply-To"].endswith("@reply.quokkaq.example")
    assert len(one["Reply-To"].partition("@")[0]) <= 64
    raw = one.as_string()
    sender = message_from_bytes(one.as_bytes(), policy=policy.default)["From"]
    assert str(sender) == "CS-101 · QuokkaQ <noreply@quokkaq.example>"
    assert "Surname-noor" not in "".join(f"{name}: {value}" for name, value in one.items())
    for person in User.objects.all():
        assert person.pk.hex not in raw
        assert str(person.pk) not in raw
        assert person.email == sam.user.email or person.email not in raw


def test_a_title_cannot_add_a_header(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam, "Hello there")
    Thread.objects.update(title="Hello\r\nBcc: eve@example.edu\n\u2028there")
    factories.make_post(noor, thread)
    [mail] = deliver()
    assert mail.subject == "[CS-101] #1 Hello Bcc: eve@example.edu there"
    assert mail.message()["Bcc"] is None
    assert one_line("a\u0085b\u2029c\r\n d") == "a b c d"


@pytest.mark.parametrize("kind", [NotificationKind.FLAGGED, NotificationKind.PENDING, NotificationKind.DECISION])
def test_an_answer_to_staffs_business_cannot_land_in_the_thread(
    kind: NotificationKind, thread: Thread, sam: Member, tim: Member
) -> None:
    actions.enqueue_telling(kind, thread=thread, actor=tim.user)
    for mail in deliver():
        assert mail.message()["Reply-To"] is None
        assert "Reply above this line" not in mail.body


# Cut off and done again


def test_every_step_heals_and_nothing_is_sent_twice(thread: Thread, noor: Member) -> None:
    factories.make_post(noor, thread)
    run_tasks("forum.tell")
    Notification.objects.update(mail_due_at=timezone.now())
    assert actions.enqueue_due_mail() == 1
    assert actions.enqueue_due_mail() == 0, "one job per person at a time"
    row = Notification.objects.get()
    assert actions.compose_mail(row.pk) is not None
    assert actions.compose_mail(row.pk) is None
    # The job that was to send it is lost with its worker.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed'")
    assert actions.enqueue_unsent_mail() == 0
    Mail.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    assert actions.enqueue_unsent_mail() == 1
    assert actions.enqueue_unsent_mail() == 0
    run_tasks(*MAIL_TASKS)
    mail = Mail.objects.get()
    actions.send_mail(mail.pk)
    assert len(outbox_module.outbox) == 1
    assert outbox_module.outbox[0].message()["Message-ID"] == mail.message_id
    assert actions.compose_mail(mail.pk) is None


def test_a_hundred_replies_cost_as_many_queries_as_two(thread: Thread, sam: Member, noor: Member) -> None:
    def queries(count: int) -> int:
        for n in range(count):
            other = factories.make_thread(sam, f"Question {n}")
            factories.make_post(noor, other, anonymity="classmates" if n % 2 else "named")
        run_tasks("forum.tell")
        Notification.objects.filter(mailed_at=None).update(mail_due_at=timezone.now())
        row = Notification.objects.filter(mailed_at=None).first()
        assert row is not None
        with CaptureQueriesContext(connection) as captured:
            assert actions.compose_mail(row.pk) is not None
        return len(captured)

    assert queries(2) == queries(50)


# A real mail server


class _Conversation(socketserver.StreamRequestHandler):
    """Speaks just enough SMTP: takes mails, or answers RCPT and DATA as the test says."""

    server: "MailServer"

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            word = line.split(b" ")[0].strip().upper()
            match word:
                case b"EHLO":
                    self.say("250-here", "250 8BITMIME")
                case b"RCPT" if self.server.refusal:
                    self.say(self.server.refusal)
                case b"DATA":
                    self.say("354 go on")
                    lines = []
                    while (line := self.rfile.readline()) != b".\r\n":
                        lines.append(line.removeprefix(b"."))
                    if self.server.after_data:
                        self.say(self.server.after_data)
                        continue
                    self.server.taken.append(b"".join(lines))
                    self.say("250 taken")
                case b"QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 fine")

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.taken: list[bytes] = []
        self.refusal = self.after_data = ""

    @property
    def mails(self) -> list[EmailMessage]:
        found = [message_from_bytes(raw, policy=policy.default) for raw in self.taken]
        return [mail for mail in found if isinstance(mail, EmailMessage)]


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST="127.0.0.1",
            EMAIL_PORT=server.server_address[1],
        ):
            yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def queued(thread: Thread, noor: Member) -> Mail:
    factories.make_post(noor, thread, "Grüße ✓")
    run_tasks("forum.tell")
    Notification.objects.update(mail_due_at=timezone.now())
    mail = actions.compose_mail(Notification.objects.get().pk)
    assert mail is not None
    return mail


def test_a_mail_goes_over_the_wire_to_one_person(queued: Mail, server: MailServer) -> None:
    actions.send_mail(queued.pk)
    [mail] = server.mails
    assert (mail["To"], mail["Message-ID"]) == (queued.user.email, queued.message_id)
    text = mail.get_body(("plain",))
    html = mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "Grüße ✓" in text.get_content()
    assert "<img" not in html.get_content()
    queued.refresh_from_db()
    assert (queued.state, queued.attempts, queued.error_code) == ("sent", 1, "")
    assert queued.sent_at is not None


def test_a_server_that_is_down_and_up_again_gets_the_same_mail(queued: Mail, server: MailServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with override_settings(EMAIL_PORT=closed.getsockname()[1]), pytest.raises(MailNotSentError, match="Refused"):
            actions.send_mail(queued.pk)
    server.after_data = "451 try later"
    with pytest.raises(MailNotSentError, match="SMTPDataError"):
        actions.send_mail(queued.pk)
    queued.refresh_from_db()
    assert (queued.state, queued.attempts, queued.error_code) == ("queued", 2, "SMTPDataError")
    server.after_data = ""
    actions.send_mail(queued.pk)
    actions.send_mail(queued.pk)
    assert [mail["Message-ID"] for mail in server.mails] == [queued.message_id]


@pytest.mark.parametrize(("attribute", "answer", "error"), [
    ("refusal", "550 no such person", "SMTPRecipientsRefused"), ("after_data", "554 spam", "SMTPDataError"),
])  # fmt: skip
def test_what_a_server_will_never_take_is_not_tried_again(
    queued: Mail, server: MailServer, attribute: str, answer: str, error: str
) -> None:
    setattr(server, attribute, answer)
    actions.send_mail(queued.pk)
    queued.refresh_from_db()
    assert (queued.state, queued.error_code) == ("failed", error)


def test_a_full_mailbox_is_tried_again(queued: Mail, server: MailServer) -> None:
    server.refusal = "452 mailbox full"
    with pytest.raises(MailNotSentError, match="SMTPRecipientsRefused"):
        actions.send_mail(queued.pk)


@pytest.mark.parametrize(("attempts", "state"), [(0, "queued"), (tasks.MAIL_ATTEMPTS - 1, "failed")])
def test_after_the_last_attempt_it_counts_as_failed(
    queued: Mail, server: MailServer, attempts: int, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.refusal = f"452 {queued.user.email} is full"
    job = type("Job", (), {"attempts": attempts})()
    context = type("Context", (), {"job": job})()
    with pytest.raises(MailNotSentError) as raised:
        tasks.send_mail.func(context, str(queued.pk))
    queued.refresh_from_db()
    assert (queued.state, queued.error_code) == (state, "SMTPRecipientsRefused")
    assert queued.user.email not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None


def test_other_errors_are_named_by_class(queued: Mail) -> None:
    actions.fail_mail(queued.pk, smtplib.SMTPServerDisconnected("sam@example.edu"))
    queued.refresh_from_db()
    assert (queued.state, queued.error_code) == ("failed", "SMTPServerDisconnected")


# Unsubscribing


def link(mail: Any) -> str:
    url = mail.message()["List-Unsubscribe"].strip("<>")
    return str(url).removeprefix("http://localhost:8000")


ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def test_one_click_from_a_mail_program_mutes_the_thread(thread: Thread, noor: Member, sam: Member) -> None:
    factories.make_post(noor, thread)
    [mail] = deliver()
    url = link(mail)
    stranger = Client(enforce_csrf_checks=True)
    assert "Mute thread #1 of CS-101" in stranger.get(url).content.decode()
    stranger.head(url)
    follow = Follow.objects.get(user=sam.user)
    assert follow.state == "following", "looking at a link must not act"
    assert stranger.post(url, ONE_CLICK).status_code == 200
    follow.refresh_from_db()
    assert follow.state == "muted"
    factories.make_post(noor, thread)
    assert deliver() == []


def test_one_click_on_an_announcement_stops_that_kind_there(tim: Member, sam: Member) -> None:
    factories.make_thread(tim, "Exam moved", kind="announcement")
    mail = next(mail for mail in deliver() if mail.to == [sam.user.email])
    assert Client().post(link(mail), ONE_CLICK).status_code == 200
    saved = Preference.objects.get()
    assert (saved.user, saved.course, saved.kind, saved.mail, saved.in_app) == (
        sam.user, sam.course, "announcement", "off", True,
    )  # fmt: skip
    factories.make_thread(tim, "Exam moved again", kind="announcement")
    assert sam.user.email not in {mail.to[0] for mail in deliver()}


def test_one_click_on_a_digest_of_everything_stops_all_mail(
    world: World, thread: Thread, sam: Member, noor: Member, tim: Member
) -> None:
    factories.make_post(noor, thread)
    factories.make_thread(tim, "Exam moved", kind="announcement")
    mail = next(mail for mail in deliver() if mail.to == [sam.user.email])
    Client().post(link(mail), ONE_CLICK)
    assert set(Preference.objects.values_list("mail", flat=True)) == {"off"}
    assert Preference.objects.filter(user=sam.user, course=None).count() == len(NotificationKind)


def test_the_page_offers_all_three(thread: Thread, noor: Member, sam: Member) -> None:
    actions.set_preferences(by=sam.user, course=sam.course, choices={NotificationKind.REPLY: (False, Delivery.INSTANT)})
    factories.make_post(noor, thread)
    [mail] = deliver()
    url = link(mail)
    client = Client()
    assert client.post(url, {"what": "nonsense"}).status_code == 422
    assert client.post(url).status_code == 422
    assert "No more mail of this kind" in client.post(url, {"what": "kind"}).content.decode()
    saved = Preference.objects.get()
    assert (saved.kind, saved.mail, saved.in_app) == ("reply", "off", False)
    assert client.post(url, {"what": "all"}).status_code == 200
    assert client.post(url, {"what": "thread"}).status_code == 200


def test_a_link_that_was_altered_does_nothing(thread: Thread, noor: Member, sam: Member) -> None:
    factories.make_post(noor, thread)
    [mail] = deliver()
    url = link(mail)
    flipped = url[:-3] + ("A" if url[-3] != "A" else "B") + url[-2:]
    for bad in (flipped, "/unsubscribe/x/", url.replace(":", "")):
        for method in ("get", "post"):
            response = getattr(Client(), method)(bad, ONE_CLICK)
            assert response.status_code == 404
            assert "doesn’t work" in response.content.decode()
    assert Follow.objects.get(user=sam.user).state == "following"


def test_a_link_outlives_what_it_is_about(thread: Thread, sam: Member) -> None:
    def path(kind: NotificationKind | None, what: str) -> str:
        return unsubscribe_url(sam.user, thread, kind, what).removeprefix("http://localhost:8000")

    Enrollment.objects.filter(user=sam.user).update(status="dropped")
    assert Client().post(path(None, "thread"), ONE_CLICK).status_code == 200
    url = path(NotificationKind.REPLY, "kind")
    assert Client().post(url, ONE_CLICK).status_code == 200
    assert Client().post(path(None, "all"), {"what": "kind"}).status_code == 422
    thread.follows.all().delete()
    Thread.objects.all().delete()
    assert Client().get(url).status_code == 404


# Reading them where there is no mail server


def test_mails_are_read_on_a_page_outside_production(
    thread: Thread, noor: Member, sam: Member, world: World, signed_in: Callable[..., Client]
) -> None:
    factories.make_post(noor, thread, "Because **so**")
    deliver()
    mail = Mail.objects.get()
    client = signed_in(sam.user)
    assert mail.subject in client.get("/mail/").content.decode()
    assert client.get("/mail/?cursor=x").status_code == 200
    assert "Because **so**" in client.get(f"/mail/{mail.pk}/").content.decode()
    page = client.get(f"/mail/{mail.pk}/html/")
    assert "<strong>so</strong>" in page.content.decode()
    assert "default-src 'none'" in page["Content-Security-Policy"]
    assert "sandbox" in page["Content-Security-Policy"]
    for who in ("noor", "ada", "eve"):
        assert signed_in(world.user(who)).get(f"/mail/{mail.pk}/").status_code == 404
        assert mail.subject not in signed_in(world.user(who)).get("/mail/").content.decode()
    with override_settings(PRODUCTION=True):
        for url in ("/mail/", f"/mail/{mail.pk}/", f"/mail/{mail.pk}/html/"):
            assert client.get(url).status_code == 404


def test_mails_of_long_ago_are_forgotten_and_what_waits_is_not(thread: Thread, noor: Member, sam: Member) -> None:
    factories.make_post(noor, thread, "Because so")
    deliver()
    InboundMail.objects.create(
        institution_id=thread.institution_id, user=sam.user, thread=thread, digest="0" * 64, outcome="posted"
    )
    account_tasks.keep_to_retention.func(0)
    assert (Mail.objects.count(), InboundMail.objects.count()) == (1, 1)
    long_ago = timezone.now() - timedelta(days=31)
    Mail.objects.update(created_at=long_ago)
    InboundMail.objects.update(created_at=long_ago)
    Mail.objects.update(state="queued")
    account_tasks.keep_to_retention.func(0)
    assert (Mail.objects.count(), InboundMail.objects.count()) == (1, 0)
    Mail.objects.update(state="sent")
    account_tasks.keep_to_retention.func(0)
    assert not Mail.objects.exists()
