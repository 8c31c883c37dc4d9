"""Invitations: who holds the mailed link gets in, once; nobody else learns anything."""

import hashlib
import io
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.header import decode_header, make_header
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from django.core import mail as outbox_module
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, connections, transaction
from django.http import Http404
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts import actions, tasks
from accounts.access import Member, Refused, find_invitation, get_invitation
from accounts.actions.invitations import make_token
from accounts.models import AuditEvent, Enrollment, Invitation, User
from quokkaq.lib.logs import PIIFilter
from quokkaq.lib.pii import scrub
from tests import factories
from tests.factories import PASSWORD, World
from tests.services.mail_servers import MailServer
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
LIST = "/c/cs-101/course/roster/invitations/"
NEW = {"display_name": "Lena L", "password": "a good long secret"}


@pytest.fixture
def invitation(ada: Member) -> Invitation:
    return factories.make_invitation(ada, section="Mon", sis_id="S7")


def path_of(invitation: Invitation) -> str:
    return actions.link_of(Invitation.objects.get(pk=invitation.pk)).removeprefix("http://localhost:8000")


def without_tokens(response: Any) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())


# The mail


def test_the_mail_goes_to_the_address_and_its_link_opens(world: World, invitation: Invitation) -> None:
    assert "accounts.send_invitation" in run_tasks("accounts.send_invitation")
    (mail,) = outbox_module.outbox
    assert mail.to == ["lena@example.edu"]
    assert mail.subject == "Your invitation to CS-101 Course cs-101"
    assert "CS-101 · QuokkaQ" in str(make_header(decode_header(mail.extra_headers["From"])))
    (link,) = re.findall(r"http://\S+/invitations/\S+", str(mail.body))
    html = str(mail.alternatives[0][0])  # type: ignore[attr-defined]  # only mails with alternatives have them
    assert link in html
    assert "Ada Surname-ada invites you" in html
    assert Client().get(link.removeprefix("http://localhost:8000")).status_code == 200
    invitation.refresh_from_db()
    assert invitation.last_sent_at is not None
    # The job is tried again: the mail isn't.
    actions.send_invitation(invitation.pk)
    assert len(outbox_module.outbox) == 1


def test_the_secret_is_in_the_mail_and_nowhere_else(world: World, invitation: Invitation, caplog: Any) -> None:
    token = path_of(invitation).split("/")[2]
    assert len(token) == 43  # 256 bits
    assert invitation.token_hash == hashlib.sha256(token.encode()).hexdigest()
    jobs = ProcrastinateJob.objects.filter(task_name="accounts.send_invitation")
    assert {name for job in jobs for name in job.args} == {"invitation_id", "institution_id", "request_id"}
    with caplog.at_level(logging.INFO):
        run_tasks("accounts.send_invitation")
        Client().get(path_of(invitation))
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT count(*) FROM \"{table}\" t WHERE t::text LIKE '%{token}%'")
            assert cursor.fetchone() == (0,), table
    assert "lena@example.edu" not in str(AuditEvent.objects.values_list("data", flat=True))


def test_the_secret_stays_out_of_the_log(invitation: Invitation) -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.addFilter(PIIFilter())
    logger = logging.getLogger("quokkaq.access")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        Client().get(path_of(invitation))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert said.getvalue() == "GET accounts:invitation 200\n"
    # Whatever letters chance puts into it.
    for _ in range(2000):
        secret = make_token(Invitation(nonce=secrets.token_hex(16)))
        assert secret not in scrub(f"GET /invitations/{secret}/ 200")


def test_a_new_link_ends_the_old_one(world: World, invitation: Invitation, ada: Member) -> None:
    old = path_of(invitation)
    with pytest.raises(Refused, match="on its way"):
        actions.resend_invitation(by=ada, invitation=invitation)
    run_tasks("accounts.send_invitation")
    with pytest.raises(Refused, match="ten minutes"):
        actions.resend_invitation(by=ada, invitation=invitation)
    Invitation.objects.update(last_sent_at=timezone.now() - timedelta(minutes=11), expires_at=timezone.now())
    actions.resend_invitation(by=ada, invitation=invitation)
    assert Client().get(old).status_code == 404
    assert Client().get(path_of(invitation)).status_code == 200
    assert run_tasks("accounts.send_invitation")
    assert len(outbox_module.outbox) == 2
    assert len({mail.extra_headers["Message-ID"] for mail in outbox_module.outbox}) == 2
    assert AuditEvent.objects.filter(verb="invitation.renewed").count() == 1


def test_what_is_over_is_not_mailed(world: World, invitation: Invitation, ada: Member) -> None:
    actions.revoke_invitation(by=ada, invitation=invitation)
    expired = factories.make_invitation(ada, "omar@example.edu")
    Invitation.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    gone = factories.make_invitation(ada, "gone@example.edu")
    Invitation.objects.filter(pk=gone.pk).delete()
    run_tasks("accounts.send_invitation")
    assert outbox_module.outbox == []
    factories.make_invitation(ada, "nora@example.edu")
    with override_settings(MAIL_IS_ON=False):
        run_tasks("accounts.send_invitation")
    assert outbox_module.outbox == []


def test_the_site_s_key_may_change(invitation: Invitation) -> None:
    from django.conf import settings

    old = settings.SECRET_KEY
    link = path_of(invitation)
    with override_settings(SECRET_KEY="n" * 60, SECRET_KEY_FALLBACKS=[old]):
        assert path_of(invitation) == link
        assert Client().get(link).status_code == 200
    with override_settings(SECRET_KEY="n" * 60, SECRET_KEY_FALLBACKS=[]):
        with pytest.raises(actions.InvitationNotSentError, match="KeyChanged"):
            actions.send_invitation(invitation.pk)
        assert Client().get(link).status_code == 200


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def smtp(server: MailServer) -> Any:
    return override_settings(
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1", EMAIL_PORT=server.port
    )


def test_a_mail_server_that_is_away_is_asked_again_and_one_that_refuses_is_not(
    world: World, invitation: Invitation, mail_server: MailServer, signed_in: SignIn
) -> None:
    client = signed_in(world.user("ada"))
    with smtp(mail_server):
        mail_server.answers = {"RCPT": b"451 4.3.0 Try later"}
        with pytest.raises(actions.InvitationNotSentError, match="SMTPRecipientsRefused"):
            actions.send_invitation(invitation.pk)
        assert "On its way" in client.get(LIST).content.decode()
        for answers in ({"RCPT": b"550 5.1.1 No such user"}, {"DATA": b"554 5.7.1 Not wanted"}):
            Invitation.objects.update(mail_problem="", last_sent_at=None)
            mail_server.answers = answers
            actions.send_invitation(invitation.pk)
            assert "Mail can’t be delivered" in client.get(LIST).content.decode()
        # Sent again by hand, and this time it is taken.
        mail_server.answers = {}
        actions.resend_invitation(by=world.member("ada"), invitation=invitation)
        run_tasks("accounts.send_invitation")
        assert len(mail_server.taken) == 1
        assert b"/invitations/" in mail_server.taken[0]
    assert "Sent " in client.get(LIST).content.decode()


def test_after_the_last_attempt_staff_are_shown_it(invitation: Invitation, mail_server: MailServer) -> None:
    mail_server.answers = {"RCPT": b"451 4.3.0 Try later"}
    job = ProcrastinateJob.objects.get(task_name="accounts.send_invitation", args__invitation_id=str(invitation.pk))

    def attempt(number: int) -> None:
        context: Any = SimpleNamespace(job=SimpleNamespace(attempts=number))
        with smtp(mail_server), pytest.raises(actions.InvitationNotSentError):
            tasks.send_invitation.func(context, **job.args)
        invitation.refresh_from_db()

    attempt(0)
    assert invitation.mail_problem == ""
    attempt(tasks.INVITATION_ATTEMPTS - 1)
    assert invitation.mail_problem == "SMTPRecipientsRefused"


# Accepting


def test_somebody_without_an_account_makes_one_and_is_in(world: World, invitation: Invitation) -> None:
    client = Client()
    page = client.get(path_of(invitation))
    assert "Make your account" in page.content.decode()
    assert "lena@example.edu" in page.content.decode()
    page = client.post(path_of(invitation), NEW, follow=True)
    assert page.redirect_chain == [("/c/cs-101/", 302)]
    assert "Welcome to CS-101." in page.content.decode()
    lena = User.objects.get(email="lena@example.edu")
    assert (lena.display_name, lena.institution, lena.check_password(NEW["password"])) == (
        "Lena L",
        world.institution,
        True,
    )
    row = Enrollment.objects.get(user=lena)
    assert (row.role, row.status, row.section, row.sis_id, row.course) == (
        "student",
        "active",
        "Mon",
        "S7",
        world.course,
    )
    invitation.refresh_from_db()
    assert (invitation.accepted_by, invitation.is_open) == (lena, False)
    assert AuditEvent.objects.get(verb="invitation.accepted").actor == lena
    # The link leads who used it to the course, and is over for everybody else.
    assert client.get(path_of(invitation))["Location"] == "/c/cs-101/"
    assert Client().get(path_of(invitation)).status_code == 404


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"display_name": "", "password": NEW["password"]}, "This field is required"),
        ({"display_name": "Lena", "password": "short"}, "at least 10 characters"),
        ({"display_name": "Lena", "password": "password123"}, "too common"),
        ({"display_name": "Lena", "password": "lena@example.edu"}, "too similar"),
        ({"display_name": "x" * 81, "password": NEW["password"]}, "at most 80"),
        ({"display_name": "a\x00b", "password": NEW["password"]}, "Null characters"),
    ],
)
def test_a_refused_form_keeps_the_name_and_makes_nobody(
    invitation: Invitation, sent: dict[str, str], said: str
) -> None:
    page = Client().post(path_of(invitation), sent)
    assert page.status_code == 422
    assert said in page.content.decode()
    assert f'value="{sent["password"]}"' not in re.sub(r'name="email" value="[^"]*"', "", page.content.decode())
    if sent["display_name"] == "Lena":
        assert 'value="Lena"' in page.content.decode()
    assert not User.objects.filter(email="lena@example.edu").exists()


def test_the_posted_address_counts_for_nothing(invitation: Invitation) -> None:
    Client().post(path_of(invitation), NEW | {"email": "boss@example.edu", "role": "instructor", "institution": "x"})
    assert Enrollment.objects.get(user__email="lena@example.edu").role == "student"
    assert not User.objects.filter(email="boss@example.edu").exists()


def test_somebody_with_an_account_signs_in_and_joins(world: World, invitation: Invitation) -> None:
    lena = factories.make_user(world.institution, "lena")
    client, path = Client(), path_of(invitation)
    page = client.get(path)
    assert "Make your account" not in page.content.decode()
    assert unquote(page.context["sign_in"]) == f"/sign-in/?next={path}"
    # Posting the other form makes no second account and signs nobody in.
    assert client.post(path, NEW).status_code == 200
    assert "_auth_user_id" not in client.session
    page = client.post("/sign-in/", {"email": lena.email, "password": PASSWORD, "next": path}, follow=True)
    assert page.redirect_chain == [(path, 302)]
    assert not Enrollment.objects.filter(user=lena).exists()
    assert "Welcome to CS-101." in client.post(path, follow=True).content.decode()
    assert Enrollment.objects.get(user=lena).section == "Mon"


def test_somebody_else_who_is_signed_in_is_told_and_can_go_on(
    world: World, signed_in: SignIn, invitation: Invitation
) -> None:
    client, path = signed_in(world.user("sam")), path_of(invitation)
    page = client.get(path).content.decode()
    assert "You are signed in as sam@example.edu, and this invitation is for lena@example.edu." in page
    assert "You are signed in as" in client.post(path, NEW).content.decode()
    assert Invitation.objects.get().is_open
    page = client.post(path, {"switch": "1"}, follow=True).content.decode()
    assert "Make your account" in page
    assert "_auth_user_id" not in client.session


def test_an_account_at_another_institution_does_not_cross(world: World, signed_in: SignIn, ada: Member) -> None:
    invitation = factories.make_invitation(ada, "eve@example.edu")
    for client in (Client(), signed_in(world.user("eve"))):
        page = client.get(path_of(invitation))
        assert "has an account at another institution" in page.content.decode()
        assert "Sign in to join" not in page.content.decode()
        client.post(path_of(invitation), NEW)
    with pytest.raises(Refused):
        actions.accept_invitation(by=world.user("eve"), invitation=invitation)
    assert not Enrollment.objects.filter(user=world.user("eve"), course=world.course).exists()
    assert User.objects.filter(email="eve@example.edu").count() == 1


def test_every_link_that_is_over_gives_the_same_page(world: World, invitation: Invitation, ada: Member) -> None:
    paths = [path_of(factories.make_invitation(ada, f"p{n}@example.edu")) for n in range(3)]
    rows = list(Invitation.objects.filter(email__startswith="p").order_by("email"))
    Invitation.objects.filter(pk=rows[0].pk).update(expires_at=timezone.now())
    actions.revoke_invitation(by=ada, invitation=rows[1])
    Client().post(paths[2], NEW)
    never = [f"/invitations/{word}/" for word in ("x", "A" * 43, "%00", "ä", "x" * 3000)]
    answers = {(page.status_code, without_tokens(page)) for page in (Client().get(path) for path in [*paths, *never])}
    answers |= {
        (page.status_code, without_tokens(page)) for page in (Client().post(path, NEW) for path in [*paths, *never])
    }
    assert len(answers) == 1
    ((status, text),) = answers
    assert status == 404
    assert "doesn’t work any more" in text
    assert "@" not in text
    assert Client().get(path_of(invitation)).status_code == 200


def test_what_changed_since_the_invitation_counts(world: World, ada: Member, invitation: Invitation) -> None:
    # Added by hand, then dropped: the old link brings nobody back.
    lena = factories.make_user(world.institution, "lena")
    actions.enroll_people(by=ada, emails=["lena@example.edu"])
    invitation.refresh_from_db()
    assert invitation.revoked_at is not None
    row = Enrollment.objects.get(user=lena)
    actions.change_enrollments(by=ada, enrollments=[row.pk], status="dropped")  # type: ignore[arg-type]  # the value of the enum
    with pytest.raises(Refused, match="doesn’t work"):
        actions.accept_invitation(by=lena, invitation=invitation)
    # An invitation that is newer than that does.
    newer = factories.make_invitation(ada, role="ta")
    assert actions.accept_invitation(by=lena, invitation=newer).role == "ta"
    row.refresh_from_db()
    assert (row.status, row.role) == ("active", "ta")


def test_dropping_somebody_takes_back_what_waits_for_them(world: World, ada: Member) -> None:
    waiting = factories.make_invitation(ada, "sam@example.edu")
    row = Enrollment.objects.get(user=world.user("sam"))
    actions.change_enrollments(by=ada, enrollments=[row.pk], status="dropped")  # type: ignore[arg-type]  # the value of the enum
    waiting.refresh_from_db()
    assert waiting.revoked_at is not None


def test_who_is_in_the_course_stays_what_they_are(world: World, ada: Member) -> None:
    invitation = factories.make_invitation(ada, "sam@example.edu", role="instructor")
    assert actions.accept_invitation(by=world.user("sam"), invitation=invitation).role == "student"
    assert actions.accept_invitation(by=world.user("sam"), invitation=invitation).role == "student"
    assert AuditEvent.objects.filter(verb="invitation.accepted").count() == 1
    Enrollment.objects.filter(user=world.user("sam")).update(status="dropped")
    with pytest.raises(Refused):
        actions.accept_invitation(by=world.user("sam"), invitation=invitation)


def test_a_sis_id_that_somebody_has_by_now_is_left_out(world: World, invitation: Invitation) -> None:
    Enrollment.objects.filter(user=world.user("sam")).update(sis_id="S7")
    lena = factories.make_user(world.institution, "lena")
    assert actions.accept_invitation(by=lena, invitation=invitation).sis_id == ""


def test_an_archived_course_takes_nobody(world: World, signed_in: SignIn, invitation: Invitation, ada: Member) -> None:
    factories.archive(world.course)
    page = Client().post(path_of(invitation), NEW)
    assert page.status_code == 409
    assert "archived" in page.content.decode()
    assert not User.objects.filter(email="lena@example.edu").exists()  # no account for nothing
    lena = factories.make_user(world.institution, "lena")
    assert signed_in(lena).post(path_of(invitation)).status_code == 409
    with pytest.raises(PermissionDenied):
        factories.make_invitation(world.member("ada"), "omar@example.edu")


def test_two_who_make_the_account_one_after_the_other_find_one(invitation: Invitation) -> None:
    actions.accept_as_new_person(invitation=invitation, display_name="Lena", password=NEW["password"])
    with pytest.raises(Refused):
        actions.accept_as_new_person(invitation=invitation, display_name="Lena", password=NEW["password"])


@pytest.mark.django_db(transaction=True)
def test_a_link_that_is_used_twice_at_once_makes_one_person_and_one_place() -> None:
    world = factories.make_world()
    invitation = factories.make_invitation(world.member("ada"))
    path = path_of(invitation)
    start = threading.Barrier(3)
    answers: list[int] = []

    def work() -> None:
        try:
            client = Client()
            start.wait(timeout=10)
            answers.append(client.post(path, NEW).status_code)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert sorted(answers)[0] == 302
    assert answers.count(302) == 1
    assert set(answers) <= {302, 200, 404, 409}
    assert Enrollment.objects.filter(user__email="lena@example.edu").count() == 1


# The course's page


def test_staff_see_who_waits_and_instructors_send_again_and_take_back(
    world: World, signed_in: SignIn, invitation: Invitation
) -> None:
    client, ta = signed_in(world.user("ada")), signed_in(world.user("tim"))
    page = client.get(LIST).content.decode()
    assert "lena@example.edu" in page
    assert "On its way" in page
    assert "/invitations/" not in page.replace("/roster/invitations/", "")  # the link is the mailbox's own
    assert "Take back" not in ta.get(LIST).content.decode()
    assert "lena@example.edu" in ta.get(LIST).content.decode()
    assert ta.post(LIST, {"invitation": invitation.pk, "revoke": "1"}).status_code == 403
    assert client.post(LIST, {"invitation": invitation.pk, "resend": "1"}).status_code == 409
    run_tasks("accounts.send_invitation")
    Invitation.objects.update(last_sent_at=timezone.now() - timedelta(hours=1), expires_at=timezone.now())
    assert "Expired" in client.get(LIST).content.decode()
    said = client.post(LIST, {"invitation": invitation.pk, "resend": "1"}, follow=True).content.decode()
    assert "lena@example.edu gets a new link" in said
    said = client.post(LIST, {"invitation": invitation.pk, "revoke": "1"}, follow=True).content.decode()
    assert "is taken back" in said
    assert "Nobody is waiting" in said
    assert client.post(LIST, {"invitation": invitation.pk, "revoke": "1"}).status_code == 409
    for odd in ("", "x", "\x00"):
        assert client.post(LIST, {"invitation": odd, "revoke": "1"}).status_code == 404
    assert client.get(LIST + "?cursor=x").status_code == 400


def test_the_list_costs_the_same_for_one_and_for_many_and_loses_nobody(
    world: World, signed_in: SignIn, ada: Member
) -> None:
    factories.make_invitation(ada)
    client = signed_in(world.user("ada"))
    client.get(LIST)
    with CaptureQueriesContext(connection) as few:
        client.get(LIST)
    actions.invite_people(by=ada, wishes=[actions.Wish(f"p{n}@example.edu") for n in range(70)])
    with CaptureQueriesContext(connection) as many:
        page = client.get(LIST)
    assert len(few) == len(many)
    rest = client.get(LIST, {"cursor": page.context["next"]})
    emails = [row.email for row, _ in page.context["rows"] + rest.context["rows"]]
    assert len(emails) == len(set(emails)) == 71
    with override_settings(DEMO=True):
        (_, link) = client.get(LIST).context["rows"][0]
        assert "/invitations/" in link


def test_only_instructors_invite(world: World, signed_in: SignIn, invitation: Invitation) -> None:
    for who in ("tim", "sam"):
        member = world.member(who)
        for act in (
            lambda by: factories.make_invitation(by, "x@example.edu"),
            lambda by: actions.resend_invitation(by=by, invitation=invitation),
            lambda by: actions.revoke_invitation(by=by, invitation=invitation),
        ):
            with pytest.raises(PermissionDenied):
                act(member)
    with pytest.raises(Http404):
        get_invitation(world.member("sam"), invitation.pk)
    pat = world.member("pat", world.other_course)
    with pytest.raises(Http404):
        get_invitation(pat, invitation.pk)
    with pytest.raises(Refused):
        actions.revoke_invitation(by=pat, invitation=invitation)
    for who, status in (("sam", 403), ("pat", 404), ("dana", 404)):
        assert signed_in(world.user(who)).get(LIST).status_code == status
    assert "lena@example.edu" not in signed_in(world.user("eve")).get(LIST).content.decode()
    assert Client().get(LIST).status_code == 302
    assert Invitation.objects.get().is_open


def test_an_address_is_invited_to_a_course_once(world: World, ada: Member, invitation: Invitation) -> None:
    again = factories.make_invitation(ada, role="ta")
    assert again.pk == invitation.pk
    assert again.token_hash != invitation.token_hash
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            institution=world.institution, course=world.course, email="lena@example.edu", token_hash="x",
            expires_at=timezone.now(),
        )  # fmt: skip
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.update(accepted_at=timezone.now(), revoked_at=timezone.now())
    assert find_invitation("x") is None
    assert str(invitation) == f"Student of {world.course.pk}"
