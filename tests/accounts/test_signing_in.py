"""Signing in, accounts and sessions: what is refused, what stays hidden, what is told by mail."""

import re
import time
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.usersessions.models import UserSession
from django.core import mail
from django.test import Client, RequestFactory
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts import access, actions, reaching
from accounts.adapters import AccountAdapter
from accounts.devices import device_of
from accounts.models import AuditEvent, Enrollment, InstitutionDomain, Role, User
from accounts.signing_in import SECOND_FACTOR
from quokkaq.lib import sealing
from tests.factories import PASSWORD, World
from tests.tasks import run_tasks

NEW = "three wombats in a canoe"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"


def enter(name: str = "sam", password: str = PASSWORD, client: Client | None = None, **extra: Any) -> Client:
    """A client in which somebody signed in with their password."""
    client = client or Client()
    response = client.post("/sign-in/", {"email": f"{name}@example.edu", "password": password, **extra})
    assert response.status_code == 302, response.status_code
    return client


def plain(page: str) -> str:
    """Return a page without its CSRF tokens and request's own parts."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page)


def link_in(message: Any) -> str:
    found = re.search(r"https?://[^/\s]+(/\S+)", message.body)
    assert found
    return found.group(1)


def code_of(user: User, ahead: int = 0) -> str:
    row = Authenticator.objects.get(user=user, type="totp")
    counter = next(iter(yield_hotp_counters_from_time())) + ahead
    return str(format_hotp_value(hotp_value(sealing.unseal(row.data["secret"]), counter)))


def add_app(user: User) -> None:
    from allauth.mfa.totp.internal.auth import generate_totp_secret

    TOTP.activate(user, generate_totp_secret())


@pytest.fixture(autouse=True)
def fast_hashes(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


# Known and unknown look the same


def test_a_known_and_an_unknown_address_get_the_same_page(world: World) -> None:
    pages = []
    for email in ("sam@example.edu", "who@example.edu"):
        response = Client().post("/sign-in/", {"email": email, "password": "wrong"})
        pages.append((response.status_code, plain(response.content.decode()).replace(email, "")))
    assert pages[0] == pages[1]
    assert pages[0][0] == 422


def test_the_sixth_try_is_refused_whoever_it_is(world: World, settings: Any) -> None:
    settings.SIGN_IN_FAILURES_PER_ADDRESS = 50
    pages = []
    for email in ("sam@example.edu", "who@example.edu"):
        for _ in range(5):
            assert Client().post("/sign-in/", {"email": email, "password": "wrong"}).status_code == 422
        response = Client().post("/sign-in/", {"email": email.upper(), "password": PASSWORD})
        assert 0 < int(response["Retry-After"]) <= 900
        pages.append((response.status_code, plain(response.content.decode()).replace(email.upper(), "")))
    assert pages[0] == pages[1]
    assert pages[0][0] == 429
    assert enter("noor")


def test_one_address_may_not_try_all_accounts(world: World) -> None:
    for number in range(5):
        Client().post("/sign-in/", {"email": f"p{number}@example.edu", "password": "wrong"}, REMOTE_ADDR="192.0.2.7")
    sent = {"email": "sam@example.edu", "password": PASSWORD}
    assert Client().post("/sign-in/", sent, REMOTE_ADDR="192.0.2.7").status_code == 429
    # Nobody chooses where they come from by a header.
    assert Client().post("/sign-in/", sent, REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR="1.2.3.4").status_code == 429
    assert Client().post("/sign-in/", sent, REMOTE_ADDR="192.0.2.8").status_code == 302


def test_ones_own_mistakes_are_forgotten_when_one_gets_in(world: World) -> None:
    for _ in range(4):
        Client().post("/sign-in/", {"email": "sam@example.edu", "password": "wrong"})
    enter()
    assert actions.sign_in_blocked("sam@example.edu", "elsewhere") == 0
    for _ in range(4):
        Client().post("/sign-in/", {"email": "sam@example.edu", "password": "w"}, REMOTE_ADDR="192.0.2.9")
    assert actions.sign_in_blocked("sam@example.edu", "elsewhere") == 0


@pytest.mark.parametrize("path", ["/sign-in/reset/", "/sign-up/"])
def test_asking_for_a_mail_says_nothing_of_who_has_an_account(world: World, path: str) -> None:
    before, seen = ProcrastinateJob.objects.count(), set()
    for email in ("sam@example.edu", "who@example.edu", "who@nowhere.example"):
        response = Client().post(path, {"email": email})
        seen.add((response.status_code, response["Location"]))
    assert len(seen) == 1
    assert ProcrastinateJob.objects.count() == before + 3
    assert Client().post(path, {"email": "nothing"}).status_code == 422
    # Neither addresses nor links stand in what the queue keeps.
    assert "@" not in str(list(ProcrastinateJob.objects.values_list("args", flat=True)))


@pytest.mark.parametrize("path", ["/sign-in/reset/", "/sign-up/"])
def test_mails_to_one_address_are_few(world: World, path: str) -> None:
    for email in ("sam@example.edu", "who@example.edu"):
        said = [Client().post(path, {"email": email}).status_code for _ in range(6)]
        assert said == [302] * 5 + [429]


# Forgotten passwords


def test_a_forgotten_password_is_chosen_anew_once(world: World) -> None:
    old = enter()
    Client().post("/sign-in/reset/", {"email": " Sam@Example.edu "})
    Client().post("/sign-in/reset/", {"email": "who@example.edu"})
    run_tasks()
    assert [message.to for message in mail.outbox] == [["sam@example.edu"]]
    url, client = link_in(mail.outbox[0]), Client()
    form = client.get(url, follow=True)
    assert "Choose a new password" in form.content.decode()
    assert form.request["PATH_INFO"] != url, "the key goes from the address bar"
    refused = client.post(form.request["PATH_INFO"], {"password1": "short", "password2": "short"})
    assert refused.status_code == 422
    assert client.post(form.request["PATH_INFO"], {"password1": NEW, "password2": NEW}).status_code == 302
    assert Client().post("/sign-in/", {"email": "sam@example.edu", "password": PASSWORD}).status_code == 422
    enter(password=NEW)
    assert old.get("/courses/").status_code == 302
    assert "doesn’t work any more" in Client().get(url).content.decode()
    run_tasks()
    assert mail.outbox[-1].subject == "Your password was reset"
    assert AuditEvent.objects.filter(verb="person.password_reset", actor=world.user("sam")).exists()


@pytest.mark.parametrize("key", ["0-x", "zzzz-set-password", "01a21a97995475b18625c97e893ad959-c4-abc"])
def test_a_made_up_link_resets_nothing(world: World, key: str) -> None:
    assert "doesn’t work any more" in Client().get(f"/sign-in/reset/{key}/").content.decode()


def test_nobody_resets_a_disabled_account(world: World) -> None:
    User.objects.filter(email="sam@example.edu").update(is_active=False)
    Client().post("/sign-in/reset/", {"email": "sam@example.edu"})
    run_tasks()
    assert mail.outbox == []


# Making an account


@pytest.fixture
def domain(world: World) -> InstitutionDomain:
    return InstitutionDomain.objects.create(institution=world.institution, domain="uni.example")


def test_an_account_is_made_by_who_reads_the_mailbox(world: World, domain: InstitutionDomain) -> None:
    Client().post("/sign-up/", {"email": "Kim@uni.example"})
    assert not User.objects.filter(email="kim@uni.example").exists()
    run_tasks()
    url, client = link_in(mail.outbox[0]), Client()
    assert "kim@uni.example" in client.get(url).content.decode()
    for wrong in ({"display_name": "", "password": NEW}, {"display_name": "Kim", "password": "kim@uni.example"}):
        response = client.post(url, wrong)
        assert response.status_code == 422
    assert client.post(url, {"display_name": "Kim", "password": NEW})["Location"] == "/courses/"
    kim = User.objects.get(email="kim@uni.example")
    assert kim.institution == world.institution
    assert EmailAddress.objects.get(user=kim).verified
    assert client.get(url)["Location"] == "/courses/"
    assert Client().post(url, {"display_name": "Kim", "password": NEW}).status_code == 404, "once"
    assert (kim.is_staff, kim.is_superuser) == (False, False)


def test_who_has_an_account_or_comes_from_elsewhere_is_told_by_mail(world: World, domain: InstitutionDomain) -> None:
    for email in ("sam@example.edu", "kim@mail.example"):
        Client().post("/sign-up/", {"email": email})
    run_tasks()
    assert [(m.to[0], m.subject) for m in mail.outbox] == [
        ("sam@example.edu", "You have an account already"),
        ("kim@mail.example", "Your address isn’t known to QuokkaQ"),
    ]
    assert "/sign-up/finish/" not in f"{mail.outbox[0].body}{mail.outbox[1].body}"
    assert "or ask your instructor" in str(mail.outbox[1].body).lower()


def test_mails_that_make_no_sense_any_more_are_not_sent(world: World, settings: Any) -> None:
    sam = world.user("sam")
    broken = sealing.seal("sam@example.edu")[:-8] + "AAAAAAA="
    actions.send_sign_up_mail(broken)
    actions.send_reset_mail(broken)
    actions.send_account_mail("email_changed", sam.pk, address_id=None, sealed_to=broken)
    # The address is confirmed already.
    address = EmailAddress.objects.get(user=sam)
    actions.send_account_mail("confirm", sam.pk, address_id=address.pk, sealed_to="")
    settings.MAIL_IS_ON = False
    actions.send_account_mail("password_changed", sam.pk, address_id=None, sealed_to="")
    assert mail.outbox == []
    settings.MAIL_IS_ON = True
    actions.send_account_mail("password_changed", sam.pk, address_id=None, sealed_to="")
    assert [message.to for message in mail.outbox] == [["sam@example.edu"]]


def test_an_old_or_altered_link_makes_no_account(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = sealing.seal(f"{world.institution.pk}/kim@uni.example")
    assert Client().get(f"/sign-up/finish/{token}/").status_code == 200
    assert Client().get(f"/sign-up/finish/{token[:-8]}AAAAAAA=/").status_code == 404
    assert Client().get(f"/sign-up/finish/{sealing.seal('x')}/").status_code == 404
    later = time.time() + 4 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert Client().get(f"/sign-up/finish/{token}/").status_code == 404


def test_an_unproved_address_is_proved_first(world: World) -> None:
    kim = actions.register_person(
        institution=world.institution, email="kim@x.example", display_name="Kim", password=PASSWORD, verified=False
    )
    client = Client()
    response = client.post("/sign-in/", {"email": "kim@x.example", "password": PASSWORD}, follow=True)
    assert "Confirm your address first" in response.content.decode()
    assert client.get("/courses/").status_code == 302
    run_tasks()
    url = link_in(mail.outbox[0])
    assert "kim@x.example" in client.get(url).content.decode()
    assert not EmailAddress.objects.get(user=kim).verified, "opening it isn't enough: programs open links in mails"
    client.post(url)
    assert EmailAddress.objects.get(user=kim).verified
    client.post("/sign-in/", {"email": "kim@x.example", "password": PASSWORD})
    assert client.get("/courses/").status_code == 200
    assert "doesn’t work any more" in client.get(url).content.decode()
    assert "doesn’t work any more" in Client().get("/sign-in/confirm/made-up/").content.decode()


# Changing password and address


def again(client: Client, url: str, password: str = PASSWORD) -> Any:
    """Open a guarded page, proving again who one is."""
    response = client.get(url, follow=True)
    return client.post(
        response.request["PATH_INFO"] + "?" + response.request["QUERY_STRING"],
        {"password": password, "next": url},
        follow=True,
    )


def test_a_new_password_ends_the_other_sessions(world: World) -> None:
    here, there = enter(), enter()
    key = here.session.session_key
    assert (
        here.post("/me/security/password/", {"oldpassword": "no", "password1": NEW, "password2": NEW}).status_code
        == 422
    )
    here.post("/me/security/password/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW})
    assert here.get("/me/").status_code == 200
    assert here.session.session_key != key
    assert there.get("/me/").status_code == 302
    assert UserSession.objects.filter(user=world.user("sam")).count() == 1
    run_tasks()
    assert mail.outbox[-1].subject == "Your password was changed"


def test_a_new_address_is_proved_before_it_counts(world: World) -> None:
    client = enter()
    asked = client.post("/me/security/email/", {"email": "sam@new.example", "action_add": "1"})
    assert "/me/security/again/" in asked["Location"], "who sits down at a screen left open must prove it's them"
    again(client, "/me/security/app/")
    client.post("/me/security/email/", {"email": "sam@new.example", "action_add": "1"})
    run_tasks()
    assert mail.outbox[-1].to == ["sam@new.example"]
    assert User.objects.get(pk=world.user("sam").pk).email == "sam@example.edu"
    client.post(link_in(mail.outbox[-1]))
    assert User.objects.get(pk=world.user("sam").pk).email == "sam@new.example"
    run_tasks()
    assert mail.outbox[-1].to == ["sam@example.edu"], "the old address is told"


def test_the_address_of_somebody_else_is_not_taken_and_not_told(world: World) -> None:
    client = enter()
    again(client, "/me/security/app/")
    for email in ("noor@example.edu", "eve@example.edu"):
        assert client.post("/me/security/email/", {"email": email, "action_add": "1"}).status_code == 302
    run_tasks()
    assert mail.outbox == []
    assert EmailAddress.objects.filter(user=world.user("sam")).count() == 1


def test_a_wrong_password_does_not_open_a_guarded_page(world: World) -> None:
    client = enter()
    assert again(client, "/me/security/app/", "wrong").status_code == 422
    for _ in range(5):
        again(client, "/me/security/app/", "wrong")
    refused = again(client, "/me/security/app/").content.decode()
    assert "too often" in refused


# Sessions


def test_sessions_are_listed_and_ended(world: World) -> None:
    here = enter(client=Client(HTTP_USER_AGENT=CHROME, REMOTE_ADDR="192.0.2.77"))
    there = enter(
        client=Client(HTTP_USER_AGENT="Mozilla/5.0 (iPhone) Version/17 Safari/604", REMOTE_ADDR="2001:db8:1:2::3")
    )
    page = here.get("/me/security/sessions/").content.decode()
    assert "Chrome on Linux" in page
    assert "Safari on an iPhone" in page
    assert "192.0.2.0" in page
    assert "2001:db8:1::" in page
    assert "192.0.2.77" not in page, "roughly where, not exactly"
    other = UserSession.objects.get(session_key=there.session.session_key)
    assert enter("noor").post("/me/security/sessions/", {"session": other.pk}).status_code == 404
    assert here.post("/me/security/sessions/", {"session": "x"}).status_code == 404
    assert there.get("/courses/").status_code == 200
    here.post("/me/security/sessions/", {"session": other.pk})
    assert there.get("/courses/").status_code == 302
    third = enter()
    here.post("/me/security/sessions/", {"all": "1"})
    assert third.get("/courses/").status_code == here.get("/courses/").status_code == 302
    assert not UserSession.objects.filter(user=world.user("sam")).exists()
    assert AuditEvent.objects.filter(verb="person.session_ended", actor=world.user("sam")).count() == 2


def test_a_session_that_is_used_is_seen_and_lasts_seven_days(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = enter()
    row = UserSession.objects.get(user=world.user("sam"))
    client.get("/courses/")
    assert UserSession.objects.get(pk=row.pk).last_seen_at == row.last_seen_at
    session = client.session
    session["seen"] -= 400
    session.save()
    client.get("/courses/")
    assert UserSession.objects.get(pk=row.pk).last_seen_at > row.last_seen_at
    assert session.get_expiry_age() == 7 * 24 * 3600
    client.post("/sign-out/")
    assert not UserSession.objects.filter(user=world.user("sam")).exists()


def test_a_session_knows_its_institution_and_gets_a_new_key_at_sign_in(world: World) -> None:
    client = Client()
    client.get("/sign-in/")
    session = client.session
    session["planted"] = 1
    session.save()
    before = session.session_key
    enter(client=client)
    assert client.session["institution"] == str(world.institution.pk)
    assert client.session.session_key != before


def test_a_session_gets_a_new_key_when_its_owner_becomes_staff(world: World) -> None:
    world.institution.staff_second_factor = False
    world.institution.save()
    client = enter("noor")
    client.get("/courses/")
    key = client.session.session_key
    client.get("/courses/")
    assert client.session.session_key == key
    Enrollment.objects.filter(user=world.user("noor")).update(role=Role.TA)
    client.get("/courses/")
    assert client.session.session_key != key
    assert UserSession.objects.filter(session_key=client.session.session_key).exists()
    key = client.session.session_key
    User.objects.filter(pk=world.user("noor").pk).update(is_staff=True)
    client.get("/courses/")
    assert client.session.session_key != key


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("", "A browser"),
        ("Edg/1 Windows", "Edge on Windows"),
        ("Firefox/1 Mac OS X", "Firefox on a Mac"),
        ("curl", "A browser"),
    ],
)
def test_devices_have_names_people_know(agent: str, said: str) -> None:
    assert device_of(agent) == said


# The second factor


def test_staff_get_nowhere_without_a_second_factor(world: World) -> None:
    client = enter("tim")
    for url in (
        "/courses/",
        "/c/cs-101/",
        "/admin/",
        "/me/",
        "/inbox/",
        "/me/security/password/",
        "/me/security/sessions/",
    ):
        assert client.get(url)["Location"] == "/me/security/", url
    page = client.get("/me/security/").content.decode()
    assert "second factor" in page
    again(client, "/me/security/app/")
    page = client.get("/me/security/app/").content.decode()
    assert "data:image/svg+xml" in page
    secret = re.search(r'class="secret">([A-Z2-7 ]+)<', page)
    assert secret
    counter = next(iter(yield_hotp_counters_from_time()))
    code = format_hotp_value(hotp_value(secret.group(1).replace(" ", ""), counter))
    assert client.post("/me/security/app/", {"code": "000000" if code != "000000" else "111111"}).status_code == 422
    key = client.session.session_key
    client.post("/me/security/app/", {"code": code})
    assert client.session.session_key != key
    assert client.get("/c/cs-101/").status_code == 200
    assert Authenticator.objects.get(user=world.user("tim"), type="totp").data["secret"] != secret.group(1).replace(
        " ", ""
    )
    run_tasks()


def test_students_and_staff_of_lenient_institutions_need_none(world: World) -> None:
    assert enter("sam").get("/courses/").status_code == 200
    world.institution.staff_second_factor = False
    world.institution.save()
    assert enter("tim").get("/courses/").status_code == 200
    User.objects.filter(email="tim@example.edu").update(is_superuser=True, is_staff=True)
    assert enter("tim").get("/admin/")["Location"] == "/me/security/", "superusers always"


def test_who_becomes_staff_needs_it_at_once(world: World) -> None:
    client = enter("noor")
    assert client.get("/courses/").status_code == 200
    Enrollment.objects.filter(user=world.user("noor")).update(role=Role.TA)
    assert client.get("/courses/")["Location"] == "/me/security/"


def test_the_second_step_takes_a_code_once_or_a_recovery_code(world: World, settings: Any) -> None:
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

    tim = world.user("tim")
    add_app(tim)
    codes = RecoveryCodes.activate(tim).get_unused_codes()
    client = Client()
    step = client.post("/sign-in/", {"email": "tim@example.edu", "password": PASSWORD, "next": "/c/cs-101/"})
    assert step["Location"] == "/sign-in/second-step/"
    assert client.get("/c/cs-101/").status_code == 302, "half signed in is not signed in"
    assert client.post(step["Location"], {"code": "1"}).status_code == 422
    assert "Code of your app" in client.get(step["Location"]).content.decode()
    assert client.post(step["Location"], {"code": code_of(tim)})["Location"] == "/c/cs-101/"
    assert client.get("/c/cs-101/").status_code == 200
    assert client.session[SECOND_FACTOR] == str(tim.pk)
    for code, said in ((code_of(tim), 422), (codes[0], 302), (codes[0], 422)):
        other = enter("tim")
        assert other.post("/sign-in/second-step/", {"code": code}).status_code == said
    assert client.get("/sign-in/second-step/").status_code == 302
    assert Client().get("/sign-in/second-step/")["Location"] == "/sign-in/"


def test_codes_cannot_be_guessed(world: World) -> None:
    tim = world.user("tim")
    add_app(tim)
    client = enter("tim")
    for _ in range(5):
        client.post("/sign-in/second-step/", {"code": "000001"})
    assert "too often" in client.post("/sign-in/second-step/", {"code": code_of(tim)}).content.decode()
    assert Client().post("/sign-in/", {"email": "tim@example.edu", "password": PASSWORD}).status_code == 429


def test_staff_keep_a_second_factor_and_others_may_drop_it(world: World) -> None:
    for name, may in (("tim", False), ("sam", True)):
        user = world.user(name)
        add_app(user)
        client = enter(name)
        client.post("/sign-in/second-step/", {"code": code_of(user)})
        again(client, "/me/security/app/remove/")
        page = client.get("/me/security/app/remove/", follow=True).content.decode()
        assert ("Remove it" in page) is may
        client.post("/me/security/app/remove/")
        assert Authenticator.objects.filter(user=user).exists() is not may
    assert SECOND_FACTOR not in client.session


def test_recovery_codes_are_shown_to_who_proves_it_again(world: World) -> None:
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

    sam = world.user("sam")
    add_app(sam)
    codes = RecoveryCodes.activate(sam).get_unused_codes()
    client = enter()
    client.post("/sign-in/second-step/", {"code": code_of(sam)})
    assert "/me/security/again/" in client.get("/me/security/recovery-codes/")["Location"]
    page = again(client, "/me/security/recovery-codes/").content.decode()
    assert all(code in page for code in codes)
    client.post("/me/security/recovery-codes/new/")
    assert not set(codes) & set(Authenticator.objects.get(user=sam, type="recovery_codes").wrap().get_unused_codes())


def test_ones_second_factor_is_ones_own(world: World) -> None:
    tim, client = world.user("tim"), enter()
    passkey = Authenticator.objects.create(user=tim, type="webauthn", data={"name": "Key", "credential": {}})
    again(client, "/me/security/app/")
    for part in ("", "remove/"):
        assert client.get(f"/me/security/passkeys/{passkey.pk}/{part}").status_code == 404
        assert client.post(f"/me/security/passkeys/{passkey.pk}/{part}", {"name": "Mine"}).status_code == 404
    assert Authenticator.objects.filter(pk=passkey.pk).exists()


def test_a_made_up_passkey_signs_nobody_in(world: World) -> None:
    client = Client()
    assert "request_options" in client.get("/sign-in/passkey/", headers={"Accept": "application/json"}).json()
    for sent in ("", "x", "{}", '{"response": {"userHandle": "eHg"}}', '{"response": []}', "[]"):
        assert client.post("/sign-in/passkey/", {"credential": sent}).status_code == 302
        assert client.get("/courses/").status_code == 302


# The one way in


def test_a_launch_counts_as_the_first_proof_only(world: World, rf: RequestFactory) -> None:
    from accounts.signing_in import start_session

    add_app(world.user("tim"))
    client = Client()
    client.get("/sign-in/")
    from allauth.core import context
    from django.contrib.messages.middleware import MessageMiddleware
    from django.contrib.sessions.middleware import SessionMiddleware

    for name, lands in (("sam", "/c/cs-101/"), ("tim", "/sign-in/second-step/")):
        request = rf.get("/")
        SessionMiddleware(lambda _: None).process_request(request)  # type: ignore[arg-type]  # it answers nothing here
        MessageMiddleware(lambda _: None).process_request(request)  # type: ignore[arg-type]  # it answers nothing here
        request.user = User()
        with context.request_context(request):
            response = start_session(request, world.user(name), method="lti", target="/c/cs-101/")
        assert response["Location"] == lands
    events = AuditEvent.objects.filter(verb="person.signed_in")
    assert [event.data["methods"] for event in events] == [["lti"]]


def test_where_things_belong_is_found_before_anybody_is_known(world: World) -> None:
    home = world.institution.pk
    sam = world.user("sam")
    assert reaching.institution_of_email(" SAM@example.edu") == home
    assert reaching.institution_of_email("who@example.edu") is None
    assert reaching.institution_of_person(sam.pk) == reaching.institution_of_person(sam.pk.hex) == home
    assert reaching.institution_of_person("what") is None
    assert reaching.institution_of_address(EmailAddress.objects.get(user=sam).pk) == home
    assert reaching.institution_of_domain("nowhere.example") is None
    assert reaching.institution_of_slug("home") == home
    assert reaching.institution_of_provider("none") is None


def test_who_must_prove_more_is_told_by_their_rights(world: World) -> None:
    assert access.needs_second_factor(world.user("ada"))
    assert not access.needs_second_factor(world.user("dana"))


def test_an_unreadable_address_is_noted_as_nowhere(rf: RequestFactory) -> None:
    assert AccountAdapter().get_client_ip(rf.get("/", REMOTE_ADDR="")) == "0.0.0.0"  # noqa: S104 (what is kept of an unknown address)


def test_what_is_sealed_is_read_here_only(settings: Any) -> None:
    sealed = sealing.seal("secret")
    assert sealing.unseal(sealed) == "secret"
    assert sealed != sealing.seal("secret")
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(sealed[:-5])
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another key " * 6
    assert sealing.unseal(sealed) == "secret"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(sealed)


def test_the_way_in_at_ones_institution_is_found_by_ones_address(world: World, domain: InstitutionDomain) -> None:
    assert Client().post("/sign-in/institution/", {"email": "k@uni.example"})["Location"] == "/sign-in/at/home/"
    assert "No university" in Client().post("/sign-in/institution/", {"email": "k@x.example"}).content.decode()
    assert Client().post("/sign-in/institution/", {"email": ""}).status_code == 422
    assert "Home University" in Client().get("/sign-in/at/home/").content.decode()
    assert Client().get("/sign-in/at/nowhere/").status_code == 404
