"""Learning platforms: registering them, coming in from them, and keeping a course like theirs."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from accounts.access import Member, Refused, get_lti_context, get_member, lti_cookie, require_lti_admin, require_set_up
from accounts.actions.account_mail import queue_account_mail
from accounts.actions.auditing import audit
from accounts.actions.courses import lock_course
from accounts.actions.people import register_person
from accounts.lti import differences, keys
from accounts.lti.differences import Change, Kind, Person
from accounts.lti.memberships import Members
from accounts.lti.protocol import Claims, LaunchRefused, hashed
from accounts.lti.roles import role_of
from accounts.models import (
    LAUNCH_LIFE,
    OLD_KEY_LIFE,
    SYNC_LIFE,
    Course,
    Enrollment,
    EnrollmentStatus,
    Institution,
    LtiContext,
    LtiDeployment,
    LtiIdentity,
    LtiKey,
    LtiLaunch,
    LtiPlatform,
    LtiSync,
    Role,
    SyncState,
    User,
)
from quokkaq.lib.jobs import enqueue

FETCH_TASK = "accounts.fetch_lti_members"
PLATFORM_FIELDS = ("name", "issuer", "client_id", "authorization_url", "token_url", "jwks_url", "is_active")
# Nobody reads mail there (RFC 2606): for people whose platform tells no address.
NO_ADDRESS = "lti.invalid"


# Registering platforms


@transaction.atomic
def save_lti_platform(
    *, by: User, platform: LtiPlatform | None, fields: dict[str, Any], deployments: Collection[str]
) -> LtiPlatform:
    """Add a platform or change one. Raises `Refused` when issuer and client ID are registered already.

    A deployment that is left out is gone, with what it was linked to.
    """
    require_lti_admin(by)
    if platform is not None:
        platform = LtiPlatform.objects.visible_to(by).select_for_update().get(pk=platform.pk)
    row = platform or LtiPlatform(institution_id=by.institution_id)
    moved = any(name in fields and fields[name] != getattr(row, name) for name in ("issuer", "client_id"))
    if platform is not None and moved and row.identities.exists():
        raise Refused("People came from this platform already. Deactivate it and register the other one beside it.")
    for name in PLATFORM_FIELDS:
        if name in fields:
            setattr(row, name, fields[name])
    if row.refused_deployment in deployments:
        row.refused_deployment = ""
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Refused("This issuer and client ID are registered already.") from None
    row.deployments.exclude(deployment_id__in=deployments).delete()
    have = set(row.deployments.values_list("deployment_id", flat=True))
    LtiDeployment.objects.bulk_create(
        LtiDeployment(institution_id=row.institution_id, platform=row, deployment_id=name)
        for name in dict.fromkeys(deployments)
        if name not in have
    )
    audit("lti.platform_changed" if platform else "lti.platform_added", row, by=by)
    return row


@transaction.atomic
def current_lti_key(institution_id: uuid.UUID) -> LtiKey:
    """Return the key QuokkaQ signs with for an institution; the first time, a new one."""
    signing = LtiKey.objects.filter(institution_id=institution_id, retired_at=None)
    key = signing.first()
    if key is None or not keys.opens(key.sealed):
        # One after the other makes a key, and looks again first.
        Institution.objects.select_for_update(no_key=True).get(pk=institution_id)
        key = signing.first()
        if key is not None and not keys.opens(key.sealed):
            # SECRET_KEY was replaced and the one before isn't among the fallbacks.
            signing.update(retired_at=timezone.now())
            key = None
    return key or _new_key(institution_id)


@transaction.atomic
def rotate_lti_key(*, by: User) -> LtiKey:
    """Sign with a new key from now on. The old one stays published while platforms may have its like in their caches."""
    require_lti_admin(by)
    Institution.objects.select_for_update(no_key=True).get(pk=by.institution_id)
    LtiKey.objects.filter(institution_id=by.institution_id, retired_at=None).update(retired_at=timezone.now())
    key = _new_key(by.institution_id)
    audit("lti.key_rotated", key, by=by)
    return key


def _new_key(institution_id: uuid.UUID) -> LtiKey:
    pair = keys.make_pair()
    return LtiKey.objects.create(institution_id=institution_id, sealed=pair.sealed, public_key=pair.public_key)


# Coming in


@transaction.atomic
def start_lti_launch(*, platform: LtiPlatform, state: str, nonce: str) -> tuple[LtiLaunch, str]:
    """Remember a launch that began; return it and what the browser's cookie must hold."""
    secret = get_random_string(43)
    launch = LtiLaunch.objects.create(
        institution_id=platform.institution_id, platform=platform, state_hash=hashed(state), nonce_hash=hashed(nonce),
        browser_hash=hashed(secret),
    )  # fmt: skip
    return launch, secret


def use_lti_launch(*, state: str, cookies: Mapping[str, str]) -> LtiLaunch:
    """Use a state up and return its launch. Raises `LaunchRefused`; another browser's try doesn't use it up."""
    launch = LtiLaunch.objects.select_related("platform").filter(state_hash=hashed(state)).first()
    if launch is None or launch.browser_hash != hashed(cookies.get(lti_cookie(launch.pk), "")):
        raise LaunchRefused("state")
    if launch.is_over:
        raise LaunchRefused("late")
    if not launch.platform.is_active:
        raise LaunchRefused("inactive")
    if not LtiLaunch.objects.filter(pk=launch.pk, used_at=None).update(used_at=timezone.now()):
        raise LaunchRefused("replay")
    return launch


def note_refused_deployment(*, platform: LtiPlatform, deployment: str) -> None:
    """Show a deployment that isn't registered to who may add it."""
    LtiPlatform.objects.filter(pk=platform.pk).update(refused_deployment=deployment)


class Arrival(Enum):
    """What a checked launch leads to."""

    SIGNED_IN = "signed in"
    CONNECT = "connect"
    SHUT_OUT = "shut out"


@transaction.atomic
def take_lti_launch(*, launch: LtiLaunch, claims: Claims) -> Arrival:
    """Find out who came, make an account for somebody new, and keep what was said for the pages that follow.

    An account that has the launch's address is not taken over: who it belongs to signs in and connects it themselves.
    """
    launch.claims = claims.as_json()
    institution = Institution.objects.get(pk=launch.institution_id)
    known = _known(launch.platform, claims.sub)
    if known is None:
        # Somebody new may be opening it twice at once: one account, and one after the other.
        LtiPlatform.objects.select_for_update(no_key=True).get(pk=launch.platform_id)
        known = _known(launch.platform, claims.sub)
    if known is not None:
        user = known.user
    else:
        email = _usable_address(claims.email)
        there = User.objects.filter(institution=institution, email=email).first() if email else None
        if there is not None:
            launch.candidate = there
            launch.save(update_fields=["claims", "candidate"])
            return Arrival.CONNECT
        user = _register(launch.platform, institution, sub=claims.sub, email=email, name=claims.name)
    if not user.is_active or user.is_superuser or user.institution_id != institution.pk:
        return Arrival.SHUT_OUT
    launch.user = user
    launch.save(update_fields=["claims", "user"])
    return Arrival.SIGNED_IN


def _known(platform: LtiPlatform, sub: str) -> LtiIdentity | None:
    return (
        LtiIdentity.objects.select_related("user")
        .filter(platform=platform, sub=sub, institution_id=platform.institution_id)
        .first()
    )


def _usable_address(email: str) -> str:
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email


def _register(platform: LtiPlatform, institution: Institution, *, sub: str, email: str, name: str) -> User:
    """Make an account for somebody new. An address that is taken elsewhere is not theirs to have here."""
    name = name or "Somebody"
    nowhere = f"{uuid.uuid4().hex}@{NO_ADDRESS}"
    try:
        user = register_person(institution=institution, email=email or nowhere, display_name=name)
    except Refused:
        user = register_person(institution=institution, email=nowhere, display_name=name)
    LtiIdentity.objects.create(institution=institution, platform=platform, sub=sub, user=user)
    audit("lti.identity_made", user, by=user)
    return user


@transaction.atomic
def connect_lti_identity(*, by: User, launch: LtiLaunch) -> None:
    """Connect who came from the platform with the account that has their address, whose owner has just signed in."""
    launch = _lock_launch(launch)
    if launch.candidate_id != by.pk or launch.is_over:
        raise PermissionDenied
    if not signed_in_since(by, launch):
        raise Refused("Sign in once more first, so that we know it’s you.")
    try:
        with transaction.atomic():
            LtiIdentity.objects.create(
                institution_id=launch.institution_id, platform=launch.platform, sub=launch.claims["sub"], user=by
            )
    except IntegrityError:
        raise Refused("Your account is connected with somebody of this platform already.") from None
    launch.user, launch.candidate = by, None
    launch.save(update_fields=["user", "candidate"])
    audit("lti.identity_linked", by, by=by)


@transaction.atomic
def disconnect_lti_identity(*, by: User, identity: LtiIdentity) -> None:
    """Let a platform's person be nobody here any more. Raises `Refused` when its owner could sign in in no other way."""
    found = LtiIdentity.objects.select_for_update(of=("self",)).select_related("platform").get(pk=identity.pk, user=by)
    if not _signs_in_without(by, found):
        raise Refused("This is the only way you sign in. Set a password, or add a passkey, first.")
    name = found.platform.name
    found.delete()
    audit("lti.identity_disconnected", by, by=by, platform=name)
    queue_account_mail("platform_disconnected", by)


def _signs_in_without(user: User, identity: LtiIdentity) -> bool:
    """Tell whether the person has another way in. A password helps who can be mailed a new one only."""
    return (
        (user.has_usable_password() and user.is_reachable)
        or user.lti_identities.exclude(pk=identity.pk).filter(platform__is_active=True).exists()
        or SocialAccount.objects.filter(user=user).exists()
        or any(row.wrap().is_passwordless for row in Authenticator.objects.filter(user=user, type="webauthn"))
    )


def signed_in_since(user: User, launch: LtiLaunch) -> bool:
    """Tell whether the person proved who they are after the launch was checked."""
    return user.last_login is not None and launch.used_at is not None and user.last_login >= launch.used_at


def _lock_launch(launch: LtiLaunch) -> LtiLaunch:
    return LtiLaunch.objects.select_for_update(of=("self",)).select_related("platform").get(pk=launch.pk)


@dataclass(frozen=True)
class Place:
    """Where a launch leads to: a course, or no course yet, and then whether the person may say which one it is."""

    course: Course | None
    may_link: bool = False
    dropped: bool = False


@transaction.atomic
def enter_lti_course(*, by: User, launch: LtiLaunch) -> Place:
    """Let the person into the course they came from. Who is in it already stays what they are, dropped ones too."""
    require_launched(by, launch)
    role, _ = role_of(launch.claims["roles"])
    context = get_lti_context(launch)
    if context is None:
        return Place(None, may_link=role == Role.INSTRUCTOR and bool(launch.claims["context_id"]))
    service = launch.claims["memberships_url"]
    if service and service != context.memberships_url:
        context.memberships_url = service
        context.save(update_fields=["memberships_url"])
    row, made = Enrollment.objects.get_or_create(
        user=by, course=context.course, defaults={"institution_id": launch.institution_id, "role": role}
    )
    if made:
        audit("enrollment.added", row, by=by, course=context.course, role=str(role))
    return Place(context.course, dropped=row.status == EnrollmentStatus.DROPPED)


def require_launched(by: User, launch: LtiLaunch) -> None:
    """Raise 403 unless this person came in by this launch, minutes ago."""
    if launch.user_id != by.pk or launch.is_over:
        raise PermissionDenied


@transaction.atomic
def link_lti_context(*, by: User, launch: LtiLaunch, slug: str) -> Course:
    """Say that the platform's course is one here. By who is instructor of both."""
    require_may_link(by, launch)
    member = get_member(by, slug)
    require_set_up(member, "people")
    return _link(by, launch, lock_course(member))


@transaction.atomic
def make_lti_course(*, by: User, launch: LtiLaunch, code: str, name: str, term: str) -> Course:
    """Make a new course out of the platform's one; the person becomes its instructor."""
    require_may_link(by, launch)
    base = slugify(f"{code}-{term}")[:50].strip("-") or "course"
    slug = base
    while Course.objects.filter(institution_id=launch.institution_id, slug=slug).exists():
        slug = f"{base}-{get_random_string(4, 'abcdefghjkmnpqrstuvwxyz23456789')}"
    course = Course.objects.create(institution_id=launch.institution_id, slug=slug, code=code, name=name, term=term)
    audit("course.added", course, by=by, course=course)
    row = Enrollment.objects.create(institution_id=launch.institution_id, course=course, user=by, role=Role.INSTRUCTOR)
    audit("enrollment.added", row, by=by, course=course, role=str(Role.INSTRUCTOR))
    return _link(by, launch, course)


def require_may_link(by: User, launch: LtiLaunch) -> None:
    """Raise 403 unless the platform said, minutes ago, that the person is instructor of its course."""
    require_launched(by, launch)
    if role_of(launch.claims["roles"])[0] != Role.INSTRUCTOR or not launch.claims["context_id"]:
        raise PermissionDenied


def _link(by: User, launch: LtiLaunch, course: Course) -> Course:
    claims = launch.claims
    deployment = LtiDeployment.objects.get(platform=launch.platform, deployment_id=claims["deployment_id"])
    context, made = LtiContext.objects.get_or_create(
        deployment=deployment, context_id=claims["context_id"],
        defaults={
            "institution_id": launch.institution_id, "course": course, "title": claims["context_title"],
            "memberships_url": claims["memberships_url"], "linked_by": by,
        },
    )  # fmt: skip
    if not made:
        raise Refused("Somebody else has linked this course meanwhile. Open it on your platform again.")
    audit("lti.context_linked", context, by=by, course=course)
    return course


@transaction.atomic
def finish_deep_link(*, by: User, launch: LtiLaunch, member: Member, number: int) -> LtiLaunch:
    """Use a deep-linking launch up: one link for each time the platform asked."""
    launch = _lock_launch(launch)
    require_launched(by, launch)
    if launch.done_at is not None:
        raise Refused("This link was made already. Start again on your platform.")
    launch.done_at = timezone.now()
    launch.save(update_fields=["done_at"])
    audit("lti.deep_linked", member.course, by=by, course=member.course, number=number)
    return launch


@transaction.atomic
def unlink_lti_context(*, by: Member, context: LtiContext) -> None:
    """Let the course be no course of the platform any more. Who came from there stays in it, and launches lead nowhere."""
    require_set_up(by, "people")
    course = lock_course(by)
    found = LtiContext.objects.of_course(by).select_for_update(of=("self",)).filter(pk=context.pk).first()
    if found is None:
        raise Refused("This course isn’t linked with that one any more.")
    audit("lti.context_unlinked", found, by=by.user, course=course, title=found.title)
    found.delete()


# Names and roles


@transaction.atomic
def start_lti_sync(*, by: Member, context: LtiContext) -> LtiSync:
    """Have the platform's list of members fetched, in the background."""
    require_set_up(by, "people")
    if context.course_id != by.course.pk:
        raise PermissionDenied
    if not context.memberships_url:
        raise Refused("The platform offers no list of members for this course.")
    try:
        with transaction.atomic():
            sync = LtiSync.objects.create(
                institution_id=context.institution_id, context=context, course=by.course, started_by=by.user
            )
    except IntegrityError:
        raise Refused("The list is being fetched already.") from None
    audit("lti.members_fetched", context, by=by.user, course=by.course)
    enqueue(FETCH_TASK, of=sync.institution_id, queue="lti", lock=f"lti:{context.pk}", sync_id=str(sync.pk))
    return sync


def note_lti_progress(sync_id: uuid.UUID, count: int) -> None:
    """Say how many people came so far."""
    LtiSync.objects.filter(pk=sync_id, state=SyncState.FETCHING).update(fetched=count)


def finish_lti_fetch(sync_id: uuid.UUID, members: Members | None, *, problem: str = "") -> None:
    """Keep a list that was fetched, or why it wasn't."""
    LtiSync.objects.filter(pk=sync_id, state=SyncState.FETCHING).update(
        state=SyncState.READY if members is not None else SyncState.FAILED,
        people=members.people if members is not None else [],
        unreadable=members.unreadable if members is not None else [],
        fetched=len(members.people) + len(members.unreadable) if members is not None else 0,
        problem=problem,
    )


def lti_changes(by: Member, sync: LtiSync) -> list[Change]:
    """Return what applying a fetched list would do now."""
    platform = sync.context.deployment.platform
    subs = dict(LtiIdentity.objects.filter(platform=platform).values_list("user_id", "sub"))
    known = {sub: user_id for user_id, sub in subs.items()}
    rows = Enrollment.objects.of_course(by).select_related("user").order_by("pk")
    current = [
        Person(
            email=row.user.email, name=row.user.display_name, role=row.role, status=row.status,
            sub=subs.get(row.user_id, ""), section=row.section, fixed=row.user_id == by.user.pk,
        )
        for row in rows
    ]  # fmt: skip
    # Whom the platform's ID is connected with counts, not the address it tells today.
    connected = [known[person["sub"]] for person in sync.people if person["sub"] in known]
    addresses = dict(User.objects.filter(pk__in=connected).values_list("pk", "email"))
    wanted = [
        Person(
            email=addresses[known[person["sub"]]] if person["sub"] in known else person["email"],
            name=person["name"], role=person["role"], status="active" if person["active"] else "dropped",
            sub=person["sub"], role_known=person["role_known"],
        )
        for person in sync.people
    ]  # fmt: skip
    return differences.diff(current, wanted)


@dataclass(frozen=True)
class Applied:
    """How many people were added (or are back), changed, dropped."""

    added: int = 0
    changed: int = 0
    dropped: int = 0


@transaction.atomic
def apply_lti_sync(*, by: Member, sync: LtiSync, fingerprint: str, leave: Collection[str]) -> Applied:
    """Do what a dry run said but what is left out, all or none. Raises `Refused` when the dry run would say something else now.

    Applying a list twice changes nothing the second time.
    """
    require_set_up(by, "people")
    course = lock_course(by)
    sync = LtiSync.objects.of_course(by).select_for_update(of=("self",)).select_related(
        "context__deployment__platform"
    ).get(pk=sync.pk)  # fmt: skip
    if sync.state != SyncState.READY or sync.created_at + SYNC_LIFE < timezone.now():
        raise Refused("This list was applied already, or is too old. Fetch it again.")
    changes = lti_changes(by, sync)
    if differences.fingerprint(changes) != fingerprint:
        raise Refused("Something has changed since you looked. This is what would happen now.")
    picked = [change for change in changes if change.key not in leave]
    platform = sync.context.deployment.platform
    for change in picked:
        _apply(by, course, platform, change)
    # Nobody is demoted by an instructor who isn't one any more.
    if not Enrollment.objects.staff().filter(course=course, user=by.user, role=by.role).exists():
        raise PermissionDenied
    sync.state, sync.applied_at, sync.people, sync.unreadable = SyncState.APPLIED, timezone.now(), [], []
    sync.save(update_fields=["state", "applied_at", "people", "unreadable"])
    counts = {kind: sum(change.kind == kind for change in picked) for kind in Kind}
    done = Applied(counts[Kind.ADD] + counts[Kind.RETURN], counts[Kind.ROLE], counts[Kind.DROP])
    audit(
        "lti.synced", sync.context, by=by.user, course=course, added=done.added, changed=done.changed,
        dropped=done.dropped,
    )  # fmt: skip
    return done


def _apply(by: Member, course: Course, platform: LtiPlatform, change: Change) -> None:
    person = change.person
    known = _known(platform, person.sub) if person.sub else None
    if known is not None:
        user: User = known.user
    else:
        # An account that is somebody else of this platform already isn't meant, whatever the address says.
        unconnected = User.objects.filter(institution_id=course.institution_id).exclude(
            lti_identities__platform=platform
        )
        there = unconnected.filter(email=person.email).first() if person.email else None
        institution = Institution.objects.get(pk=course.institution_id)
        user = there or _register(platform, institution, sub=person.sub, email=person.email, name=person.name)
    row, made = Enrollment.objects.get_or_create(
        user=user, course=course, defaults={"institution_id": course.institution_id, "role": change.role}
    )
    if made:
        audit("enrollment.added", row, by=by.user, course=course, role=change.role)
        return
    dropped = change.kind == Kind.DROP
    new = {"status": EnrollmentStatus.DROPPED} if dropped else {"status": EnrollmentStatus.ACTIVE, "role": change.role}
    for name, value in new.items():
        setattr(row, name, value)
    row.save(update_fields=list(new))
    verb = "enrollment.returned" if change.kind == Kind.RETURN else "enrollment.changed"
    audit(verb, row, by=by.user, course=course, fields=sorted(new), **{name: str(value) for name, value in new.items()})


# Upkeep


def sweep_lti() -> int:
    """Forget launches and lists whose time is over, and keys no platform can still have cached; return how many."""
    now = timezone.now()
    old = [
        LtiLaunch.objects.filter(created_at__lt=now - LAUNCH_LIFE),
        LtiSync.objects.filter(created_at__lt=now - SYNC_LIFE),
        LtiKey.objects.filter(retired_at__lt=now - OLD_KEY_LIFE),
    ]
    stuck = LtiSync.objects.filter(state=SyncState.FETCHING, created_at__lt=now - LAUNCH_LIFE)
    stuck.update(state=SyncState.FAILED, problem="stopped")
    return sum(rows.delete()[0] for rows in old)
