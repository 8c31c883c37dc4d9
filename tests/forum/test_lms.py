"""Keeping a course like a platform's: a dry run over real HTTP, then exactly that."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone

from accounts import actions
from accounts.access import Member, Refused, get_member
from accounts.lti import differences
from accounts.lti.differences import Kind, Person, diff
from accounts.models import AuditEvent, Course, Enrollment, LtiContext, LtiIdentity, LtiPlatform, LtiSync, User
from forum.models import Mail, Notification
from tests import factories
from tests.factories import World
from tests.services.lti_platform import (
    ASSISTANT,
    CLIENT_ID,
    CONTEXT,
    DEPLOYMENT,
    INSTRUCTOR,
    LEARNER,
    Platform,
    running_platform,
)
from tests.tasks import run_tasks

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback")]
URL = "/c/cs-101/course/lms/"


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    with running_platform() as platform:
        yield platform


@pytest.fixture
def platform(server: Platform, world: World) -> Platform:
    fresh = Platform(url=server.url, keys=server.keys)
    server.__dict__.update(fresh.__dict__)
    published = Client().get("/lti/jwks/home/").json()
    server.tool_keys = lambda: published
    return server


@pytest.fixture
def linked(world: World, platform: Platform) -> LtiContext:
    """The platform's course is cs-101; sam has come from it before."""
    ada = world.user("ada")
    User.objects.filter(pk=ada.pk).update(is_staff=True, institution_role="admin")
    ada.refresh_from_db()
    fields = {
        "name": "Canvas", "issuer": platform.url, "client_id": CLIENT_ID, "authorization_url": f"{platform.url}/auth",
        "token_url": f"{platform.url}/token", "jwks_url": f"{platform.url}/jwks",
    }  # fmt: skip
    row = actions.save_lti_platform(by=ada, platform=None, fields=fields, deployments=[DEPLOYMENT])
    connect(world, row, "sam")
    return LtiContext.objects.create(
        institution=world.institution, deployment=row.deployments.get(), context_id=CONTEXT, course=world.course,
        title="Programming I", memberships_url=f"{platform.url}/members", linked_by=ada,
    )  # fmt: skip


def connect(world: World, platform: LtiPlatform, *names: str) -> None:
    for name in names:
        LtiIdentity.objects.create(
            institution=platform.institution, platform=platform, sub=f"sub-{name}", user=world.user(name)
        )


def person(who: str, /, *roles: str, **fields: Any) -> dict[str, Any]:
    whole = {
        "user_id": f"sub-{who}", "name": who.title(), "email": f"{who}@example.edu", "status": "Active",
        "roles": list(roles or [LEARNER]),
    }  # fmt: skip
    return whole | fields


def fetched(world: World, context: LtiContext) -> LtiSync:
    actions.start_lti_sync(by=world.member("ada"), context=context)
    run_tasks(actions.FETCH_TASK)
    return LtiSync.objects.latest("created_at")


def told(world: World, sync: LtiSync) -> list[tuple[str, str, str]]:
    changes = actions.lti_changes(world.member("ada"), sync)
    return [(change.kind.value, change.person.email, change.role) for change in changes]


def apply(world: World, sync: LtiSync, **options: Any) -> actions.Applied:
    ada = world.member("ada")
    seen = differences.fingerprint(actions.lti_changes(ada, sync))
    return actions.apply_lti_sync(by=ada, sync=sync, **({"fingerprint": seen, "leave": []} | options))


def everybody(course: Course) -> dict[str, tuple[str, str]]:
    rows = Enrollment.objects.filter(course=course).select_related("user")
    return {row.user.email: (row.role, row.status) for row in rows}


def test_the_list_is_fetched_in_pages_with_a_signed_request(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    platform.members = [person(f"nr{number}") for number in range(7)]
    sync = fetched(world, linked)
    assert (sync.state, sync.fetched, len(sync.people)) == ("ready", 7, 7)
    assert platform.asked.count("/members") == 4
    (assertion,) = platform.assertions
    assert assertion["grant_type"] == "client_credentials"
    assert assertion["scope"] == "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"


def test_a_dry_run_changes_nothing_and_applying_does_exactly_that(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    connect(world, linked.deployment.platform, "tim", "dana", "carl", "ada")
    platform.members = [
        person("ada", LEARNER),  # who is looking: left as they are
        person("tim", INSTRUCTOR),
        person("dana"),
        person("carl", ASSISTANT),  # has completed the course
        person("pat", ASSISTANT),  # has an account, and isn't in this course
        person("zoe", LEARNER),
        person("gone", status="Inactive"),
    ]
    before = everybody(world.course)
    sync = fetched(world, linked)
    expected = [
        ("add", "pat@example.edu", "ta"), ("add", "zoe@example.edu", "student"),
        ("return", "dana@example.edu", "student"), ("role", "tim@example.edu", "instructor"),
        ("drop", "sam@example.edu", "student"),
    ]  # fmt: skip
    assert told(world, sync) == expected
    assert everybody(world.course) == before
    assert not User.objects.filter(email="zoe@example.edu").exists()
    done = apply(world, sync)
    assert (done.added, done.changed, done.dropped) == (3, 1, 1)
    after = everybody(world.course)
    assert after == before | {
        "pat@example.edu": ("ta", "active"), "zoe@example.edu": ("student", "active"),
        "dana@example.edu": ("student", "active"), "tim@example.edu": ("instructor", "active"),
        "sam@example.edu": ("student", "dropped"),
    }  # fmt: skip
    # noor was never of the platform, and stays.
    assert after["noor@example.edu"] == ("student", "active")
    # An account that was there isn't connected by this: its owner does that.
    assert not LtiIdentity.objects.filter(user=world.user("pat")).exists()
    zoe = User.objects.get(email="zoe@example.edu")
    assert LtiIdentity.objects.get(user=zoe).sub == "sub-zoe"
    assert not zoe.has_usable_password()
    event = AuditEvent.objects.get(verb="lti.synced")
    assert (event.actor, event.data) == (world.user("ada"), {"added": 3, "changed": 1, "dropped": 1})
    # The list isn't kept, and the same list changes nothing more.
    sync.refresh_from_db()
    assert (sync.state, sync.people) == ("applied", [])
    again = fetched(world, linked)
    assert told(world, again) == []
    assert apply(world, again) == actions.Applied()


def test_what_is_left_out_stays(world: World, platform: Platform, linked: LtiContext) -> None:
    platform.members = [person("zoe")]
    sync = fetched(world, linked)
    drop = next(change for change in actions.lti_changes(world.member("ada"), sync) if change.kind == Kind.DROP)
    assert apply(world, sync, leave=[drop.key]) == actions.Applied(added=1)
    assert everybody(world.course)["sam@example.edu"] == ("student", "active")


def test_unknown_roles_get_the_least_and_take_nothing(world: World, platform: Platform, linked: LtiContext) -> None:
    connect(world, linked.deployment.platform, "tim")
    platform.members = [
        person("sam"), person("tim", "http://purl.imsglobal.org/vocab/lis/v2/membership#Mentor"),
        person("zoe", "http://purl.imsglobal.org/vocab/lis/v2/system/person#SysAdmin"),
    ]  # fmt: skip
    assert told(world, fetched(world, linked)) == [("add", "zoe@example.edu", "student")]


def test_somebody_whose_address_is_another_institutions_gets_an_account_here(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    eve = world.user("eve")
    platform.members = [person("sam"), person("eve", INSTRUCTOR)]
    apply(world, fetched(world, linked))
    assert not Enrollment.objects.filter(course=world.course, user=eve).exists()
    assert not LtiIdentity.objects.filter(user=eve).exists()
    made = LtiIdentity.objects.get(sub="sub-eve").user
    assert made.institution == world.institution
    assert made.email.endswith(".invalid")


def test_the_platforms_id_counts_and_not_the_address(world: World, platform: Platform, linked: LtiContext) -> None:
    # Somebody else on the platform has got the address of sam, who is connected.
    platform.members = [
        person("sam", email="new-address@example.edu"),
        person("other", ASSISTANT, email="sam@example.edu"),
    ]
    sync = fetched(world, linked)
    assert told(world, sync) == [("add", "sam@example.edu", "ta")]
    apply(world, sync)
    assert everybody(world.course)["sam@example.edu"] == ("student", "active")
    assert LtiIdentity.objects.get(user=world.user("sam")).sub == "sub-sam"


def test_what_cannot_be_read_is_said_with_a_reason(world: World, platform: Platform, linked: LtiContext) -> None:
    platform.members = [
        person("sam"), "text", person("a", user_id=""), person("a", user_id=7), person("sam"), person("b", roles="x"),
        person("c", email="not an address"), person("d", email="x" * 250 + "@example.edu"), person("e", email=None),
        person("f", name=None, given_name="Fay", family_name="F"), person("g", name=None, email=""),
    ]  # fmt: skip
    sync = fetched(world, linked)
    assert [row["number"] for row in sync.unreadable] == [2, 3, 4, 5, 6, 7, 8]
    assert all(row["reason"].endswith(".") for row in sync.unreadable)
    assert [row["name"] for row in sync.people] == ["Sam", "E", "Fay F", "Somebody"]
    apply(world, sync)
    assert User.objects.filter(display_name="Somebody", email__endswith=".invalid").exists()


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("token_500", "token"), ("members_500", "status_500"), ("members_html", "not_json"),
        ("next_elsewhere", "next_page"), ("next_loop", "endless"), ("redirect", "status_302"),
    ],
)  # fmt: skip
def test_half_a_list_is_no_list(
    world: World, platform: Platform, linked: LtiContext, trouble: str, code: str, ada: Member,
    signed_in: Callable[[User], Client],
) -> None:  # fmt: skip
    platform.members = [person(f"nr{number}") for number in range(5)]
    platform.trouble = trouble
    sync = fetched(world, linked)
    assert (sync.state, sync.problem, sync.people) == ("failed", code, [])
    assert "couldn’t be fetched" in signed_in(ada.user).get(URL).content.decode()
    with pytest.raises(Refused):
        apply(world, sync)


def test_a_platform_that_does_not_know_our_key_gives_nothing(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    platform.tool_keys = lambda: {"keys": []}
    assert fetched(world, linked).problem == "token"


def test_a_list_that_is_too_long_is_refused(
    world: World, platform: Platform, linked: LtiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.lti.memberships.MAX_PEOPLE", 3)
    platform.members = [person(f"nr{number}") for number in range(5)]
    assert fetched(world, linked).problem == "too_many"


def test_one_list_at_a_time(world: World, linked: LtiContext) -> None:
    actions.start_lti_sync(by=world.member("ada"), context=linked)
    with pytest.raises(Refused, match="already"):
        actions.start_lti_sync(by=world.member("ada"), context=linked)
    LtiSync.objects.all().delete()
    run_tasks(actions.FETCH_TASK)  # its list is gone: nothing happens
    linked.memberships_url = ""
    with pytest.raises(Refused, match="no list"):
        actions.start_lti_sync(by=world.member("ada"), context=linked)


def test_a_dry_run_that_is_out_of_date_is_shown_anew(
    world: World, platform: Platform, linked: LtiContext, signed_in: Callable[[User], Client]
) -> None:
    platform.members = [person("zoe")]
    client = signed_in(world.user("ada"))
    assert client.post(URL, {"fetch": str(linked.pk)}).status_code == 302
    assert "0 people so far" in client.get(URL).content.decode()
    run_tasks(actions.FETCH_TASK)
    page = client.get(URL)
    assert "New in the course (1)" in page.content.decode()
    sent = {"seen": page.context["seen"], "apply": str(page.context["sync"].pk)}
    Enrollment.objects.filter(user=world.user("sam")).update(status="dropped")
    stale = client.post(URL, sent)
    assert stale.status_code == 409
    assert "changed since you looked" in stale.content.decode()
    assert "zoe@example.edu" not in everybody(world.course)
    done = client.post(URL, sent | {"seen": stale.context["seen"]})
    assert done.status_code == 302
    assert "1 added, 0 changed, 0 dropped" in client.get(URL).content.decode()
    assert client.post(URL, sent).status_code == 409
    assert client.post(URL, {"apply": str(linked.pk), "seen": ""}).status_code == 409
    assert client.post(URL, {"fetch": "x"}).status_code == 409
    assert client.post(URL, {}).status_code == 409


def test_staff_look_and_instructors_act(
    world: World, platform: Platform, linked: LtiContext, signed_in: Callable[[User], Client]
) -> None:
    platform.members = [person("zoe")]
    sync = fetched(world, linked)
    tim = signed_in(world.user("tim"))
    page = tim.get(URL).content.decode()
    assert "zoe@example.edu" in page
    assert 'name="apply"' not in page
    assert 'name="fetch"' not in page
    sent = {"apply": str(sync.pk), "seen": tim.get(URL).context["seen"]}
    assert tim.post(URL, sent).status_code == 403
    for who, status in (("sam", 403), ("pat", 404)):
        client = signed_in(world.user(who))
        assert client.get(URL).status_code == status
        assert client.post(URL, sent).status_code == status
    eve = signed_in(world.user("eve"))
    assert "zoe" not in eve.get(URL).content.decode()
    assert eve.post(URL, sent).status_code == 409
    assert Client().get(URL).status_code == 302
    tim_member = world.member("tim")
    with pytest.raises(PermissionDenied):
        actions.start_lti_sync(by=tim_member, context=linked)
    with pytest.raises(PermissionDenied):
        actions.apply_lti_sync(by=tim_member, sync=sync, fingerprint="", leave=[])
    pat = world.member("pat", world.other_course)
    with pytest.raises(PermissionDenied):
        actions.start_lti_sync(by=pat, context=linked)
    with pytest.raises(LtiSync.DoesNotExist):
        actions.apply_lti_sync(by=pat, sync=sync, fingerprint="", leave=[])
    sam = world.member("sam")
    assert not LtiSync.objects.of_course(sam).exists()
    assert not LtiContext.objects.of_course(sam).exists()


def test_an_instructor_demoted_meanwhile_does_nothing(world: World, platform: Platform, linked: LtiContext) -> None:
    platform.members = [person("zoe")]
    sync = fetched(world, linked)
    ada = world.member("ada")
    seen = differences.fingerprint(actions.lti_changes(ada, sync))
    Enrollment.objects.filter(user=ada.user, course=world.course).update(role="ta")
    # What they see now isn't what they saw then either: their own row is another one.
    with pytest.raises(PermissionDenied):
        actions.apply_lti_sync(by=ada, sync=sync, fingerprint=seen, leave=[])
    assert "zoe@example.edu" not in everybody(world.course)


def test_an_archived_course_is_not_changed(world: World, platform: Platform, linked: LtiContext) -> None:
    sync = fetched(world, linked)
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        apply(world, sync)


def test_many_people_cost_the_page_no_more_queries(
    world: World, platform: Platform, linked: LtiContext, signed_in: Callable[[User], Client],
    django_assert_max_num_queries: Any,
) -> None:  # fmt: skip
    platform.page_size = 500
    platform.members = [person(f"nr{number}") for number in range(60)]
    sync = fetched(world, linked)
    client = signed_in(world.user("ada"))
    with django_assert_max_num_queries(14):
        page = client.get(URL)
    assert "New in the course (60)" in page.content.decode()
    assert apply(world, sync).added == 60


def test_a_list_that_stopped_says_so(world: World, linked: LtiContext, signed_in: Callable[[User], Client]) -> None:
    actions.start_lti_sync(by=world.member("ada"), context=linked)
    LtiSync.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    actions.sweep_lti()
    assert "cut off" in signed_in(world.user("ada")).get(URL).content.decode()


def test_who_has_no_address_is_told_in_the_inbox_and_not_by_mail(
    world: World, platform: Platform, linked: LtiContext
) -> None:
    platform.members = [person("sam"), person("zoe", email="")]
    apply(world, fetched(world, linked))
    zoe = User.objects.get(email__endswith=".invalid")
    thread = factories.make_thread(get_member(zoe, "cs-101"))
    factories.make_post(world.member("tim"), thread)
    run_tasks(even_later=True)
    assert Notification.objects.filter(user=zoe).exists()
    assert not Mail.objects.filter(user=zoe).exists()


# The comparison itself


def somebody(email: str, **fields: Any) -> Person:
    values: dict[str, Any] = {"name": email, "role": "student", "status": "active"}
    return Person(email=email, **(values | fields))


def test_the_same_person_twice_in_a_list_counts_once() -> None:
    here = [somebody("a", sub="1")]
    listed = [somebody("a", sub="1", role="ta"), somebody("a", role="instructor")]
    assert [(change.kind, change.role) for change in diff(here, listed)] == [(Kind.ROLE, "ta")]


def test_who_is_listed_as_gone_is_dropped_also_by_address() -> None:
    here = [somebody("a"), somebody("b", status="dropped")]
    listed = [
        somebody("a", sub="1", status="dropped"),
        somebody("b", status="dropped"),
        somebody("c", status="dropped"),
    ]
    assert [(change.kind, change.person.email) for change in diff(here, listed)] == [(Kind.DROP, "a")]


def test_what_is_fixed_or_completed_is_left() -> None:
    here = [somebody("a", sub="1", fixed=True), somebody("b", sub="2", status="completed")]
    assert diff(here, []) == []
    assert diff(here, [somebody("a", sub="1", role="ta"), somebody("b", sub="2", role="ta")]) == []


def test_keys_tell_changes_apart() -> None:
    one, two = (diff([somebody("a", sub="1")], [somebody("a", sub="1", role=role)])[0] for role in ("ta", "instructor"))
    assert one.key != two.key
    assert differences.fingerprint([one]) != differences.fingerprint([two])
