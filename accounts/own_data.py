"""What this app keeps about people: see `accounts.privacy`."""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import transaction

from accounts.actions.retaining import purge_audit, purge_sessions
from accounts.actions.uploads import expire
from accounts.models import (
    DELETED_USER,
    EXPORT_UNDER_WAY,
    AuditEvent,
    Consent,
    Course,
    DataExport,
    Enrollment,
    Erasure,
    IdentityProvider,
    Institution,
    InstitutionDomain,
    Invitation,
    JoinCode,
    LtiContext,
    LtiDeployment,
    LtiIdentity,
    LtiKey,
    LtiLaunch,
    LtiPlatform,
    LtiSync,
    PassingRateCount,
    Purpose,
    RateCount,
    RosterImport,
    Upload,
    UploadState,
    User,
)
from accounts.privacy import BATCH, Gone, PersonalData, Reference, Stays, erase_first, not_personal, refer, register
from accounts.retention import Retained, retain

SECRET = "whoever reads it could act as you"  # noqa: S105 (a reason, not a secret)


def register_own_data() -> None:
    """Say all of it, once the apps are there."""
    course = {"of_course": "course__slug"}
    register(
        PersonalData(
            "profile", "Your account", User, (), lambda person: User.objects.filter(pk=person.pk),
            Stays("emptied: name, address, picture, password and settings go; a row without them holds what stays together"),
            without={"password": SECRET, "feed_key": SECRET, "avatar": "the picture is among your files"},
        ),
        PersonalData(
            "enrollments", "Your courses", Enrollment, ("user",),
            lambda person: Enrollment.objects.filter(user=person), Gone(), also=course,
        ),
        PersonalData(
            "uploads", "Files you sent", Upload, ("owner",),
            Upload.objects.sent_by,
            Stays("the files themselves are deleted, their names too; what is left says that there was one"),
            without={"storage_key": "where it lies in our store"}, also=course,
            explains="The files themselves lie in the folder `files`. Course materials you added stay with the course.",
        ),
        PersonalData(
            "data_exports", "Copies of your data", DataExport, ("user",),
            DataExport.objects.visible_to, Gone(),
        ),
        PersonalData(
            "erasures", "Requests to erase you", Erasure, ("user",),
            Erasure.objects.visible_to,
            Stays("it proves that it was asked for and done"),
            without={"requested_by": "it may be an administrator"},
        ),
        PersonalData(
            "consents", "What you agreed to", Consent, ("user",),
            Consent.objects.visible_to, Stays("it proves what was agreed to, under a key"),
        ),
        PersonalData(
            "acts", "What you did, as the audit log has it", AuditEvent, ("actor",),
            lambda person: AuditEvent.objects.filter(actor=person, institution_id=person.institution_id),
            Stays("the log is kept for a year; it names you by a key only"), also=course,
            explains="What you did under a pseudonym isn’t tied to you there, so it isn’t here.",
        ),
        PersonalData(
            "admin_log", "What you did in Django admin", LogEntry, ("user",),
            lambda person: LogEntry.objects.filter(user=person), Gone(),
        ),
        PersonalData(
            "addresses", "Your e-mail addresses", EmailAddress, ("user",),
            lambda person: EmailAddress.objects.filter(user=person), Gone(),
        ),
        PersonalData(
            "second_factors", "Your second factors", Authenticator, ("user",),
            lambda person: Authenticator.objects.filter(user=person), Gone(), without={"data": SECRET},
        ),
        PersonalData(
            "sessions", "Where you are signed in", UserSession, ("user",),
            lambda person: UserSession.objects.filter(user=person), Gone(), without={"session_key": SECRET},
        ),
        PersonalData(
            "providers", "Other ways you sign in", SocialAccount, ("user",),
            lambda person: SocialAccount.objects.filter(user=person), Gone(),
        ),
        PersonalData(
            "platforms", "Who you are on learning platforms", LtiIdentity, ("user",),
            lambda person: LtiIdentity.objects.filter(user=person), Gone(),
        ),
        PersonalData(
            "invitations", "Invitations you accepted", Invitation, ("accepted_by",),
            lambda person: Invitation.objects.filter(accepted_by=person), Gone(), also=course,
            without={"token_hash": SECRET, "nonce": SECRET, "invited_by": "it is somebody else"},
        ),
    )  # fmt: skip
    refer(
        Reference(Invitation, "invited_by", "who of the staff invited somebody"),
        Reference(JoinCode, "created_by", "who of the staff made a course's code"),
        Reference(RosterImport, "created_by", "who of the staff uploaded a roster; it goes after a week"),
        Reference(RosterImport, "applied_by", "who of the staff applied a roster; it goes after a week"),
        Reference(LtiContext, "linked_by", "who of the staff linked a course"),
        Reference(LtiSync, "started_by", "who of the staff fetched a list; it goes soon"),
        Reference(LtiLaunch, "user", "who is on the way in from a platform, for ten minutes"),
        Reference(LtiLaunch, "candidate", "whose address came with a launch, for ten minutes"),
        Reference(Erasure, "requested_by", "who asked: the person themselves, or an administrator"),
        Reference(User.groups.through, "user", "rights, taken away with the account"),
        Reference(User.user_permissions.through, "user", "rights, taken away with the account"),
    )
    not_personal({
        IdentityProvider: "a service of an institution", InstitutionDomain: "a domain of an institution",
        JoinCode: "a course's", LtiContext: "a course's", LtiDeployment: "an institution's",
        LtiKey: "an institution's", LtiPlatform: "an institution's", LtiLaunch: "gone after ten minutes",
        LtiSync: "a platform's list, gone soon", RosterImport: "a list of the institution's, gone after a week",
        RateCount: "counts under keyed hashes", PassingRateCount: "counts under keyed hashes",
        Institution: "an institution", Course: "a course", Group: "rights", Permission: "rights",
        ContentType: "a kind of row", Session: "named by its key only; ended and deleted with the account",
    })  # fmt: skip
    retain(
        Retained(
            "audit", "The audit log.", lambda before: AuditEvent.objects.filter(created_at__lt=before), purge=purge_audit
        ),
        Retained(
            "data_exports", "Notes of copies people asked for; the copies themselves go after a week.",
            lambda before: DataExport.objects.filter(created_at__lt=before).exclude(state__in=EXPORT_UNDER_WAY),
        ),
        Retained("erasures", "Proof of erasures.", lambda before: Erasure.objects.filter(finished_at__lt=before)),
        Retained(
            "sessions", "Sessions that have ended.", lambda before: Session.objects.filter(expire_date__lt=before),
            purge=purge_sessions, is_shared=True,
        ),
        Retained(
            "admin_log", "What was done in Django admin, in Django's own words.",
            lambda before: LogEntry.objects.filter(action_time__lt=before), institution="user__institution_id",
        ),
    )  # fmt: skip
    erase_first(_forget_files)
    erase_first(_forget_admin_titles)


def _forget_files(person: User) -> int:
    """Delete the next files of a person from the store, and what they were called. Course materials belong to their course."""
    left = (
        Upload.objects.filter(owner=person)
        .exclude(purpose=Purpose.MATERIAL)
        .exclude(state=UploadState.EXPIRED, original_name="")
    )
    keys = list(left.order_by("pk").values_list("pk", flat=True)[:BATCH])
    for key in keys:
        with transaction.atomic():
            row = Upload.objects.select_for_update(of=("self",)).get(pk=key)
            expire(row)
            row.original_name = row.sha256 = ""
            row.save(update_fields=["original_name", "sha256"])
    return len(keys)


def _forget_admin_titles(person: User) -> int:
    """Take the person's name out of what others did to their row in Django admin."""
    kind = ContentType.objects.get_for_model(User)
    rows = LogEntry.objects.filter(content_type=kind, object_id=str(person.pk)).exclude(object_repr=DELETED_USER)
    return rows.update(object_repr=DELETED_USER)
