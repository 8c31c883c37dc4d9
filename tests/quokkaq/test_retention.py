"""What is old goes, what is young stays, and an institution's clock runs for itself."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import models
from django.utils import timezone

from accounts import actions, retention, tasks
from accounts.actions import audit
from accounts.models import AuditEvent, DataExport, User
from forum.models import Draft
from quokkaq.env import Environment
from tests import append_only, factories
from tests.factories import World

pytestmark = pytest.mark.django_db


def test_every_rule_has_an_age_and_every_age_a_rule() -> None:
    assert {rule.name for rule in retention.rules()} == set(settings.RETENTION_DAYS)


@pytest.mark.parametrize("name", sorted(settings.RETENTION_DAYS))
def test_each_rule_looks_at_a_time(name: str, world: World) -> None:
    """The rows of a rule are those before a moment, so a rule that forgets the moment would show here."""
    (rule,) = (rule for rule in retention.rules() if rule.name == name)
    assert "< " in str(rule.old(timezone.now()).query)
    assert rule.rows(world.institution.pk).count() == 0


def drafts(world: World, count: int, age: timedelta) -> None:
    for number in range(count):
        thread = factories.make_thread(world.member("noor"), f"Noors question {number} {age.days}")
        Draft.objects.create(
            institution_id=world.institution.pk, user=world.user("sam"), course=world.course, thread=thread,
            updated_at=timezone.now() - age,
        )  # fmt: skip


def test_old_rows_go_in_batches_and_young_ones_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    drafts(world, 5, timedelta(days=366))
    drafts(world, 1, timedelta(days=364))
    foreign = Draft.objects.create(
        institution_id=world.other_institution.pk, user=world.user("eve"), course=world.foreign_course,
        updated_at=timezone.now() - timedelta(days=366),
    )  # fmt: skip
    assert actions.count_old(world.institution.pk)["drafts"] == 5
    assert actions.forget_old(world.institution.pk)["drafts"] == 5
    assert Draft.objects.count() == 2
    assert Draft.objects.filter(pk=foreign.pk).exists()
    tasks.keep_to_retention.func(0)
    assert Draft.objects.count() == 1


def test_the_audit_log_goes_after_a_year(world: World) -> None:
    sam = world.user("sam")
    with append_only.changeable():
        for days in (368, 364):
            audit("profile.updated", sam, by=sam)
            AuditEvent.objects.filter(pk=AuditEvent.objects.latest("pk").pk).update(
                created_at=timezone.now() - timedelta(days=days)
            )
    assert actions.count_old(world.institution.pk)["audit"] == 1
    assert actions.forget_old(world.institution.pk)["audit"] == 1
    assert AuditEvent.objects.count() == 1


def test_the_audit_log_cant_be_set_to_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_AUDIT_DAYS", "30")
    env = Environment(settings.BASE_DIR)
    env.number("RETENTION_AUDIT_DAYS", 366, least=366)
    assert any("RETENTION_AUDIT_DAYS" in problem for problem in env.problems)


def test_sessions_that_ended_go_and_others_stay(world: World) -> None:
    for name, hours in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=name, session_data="", expire_date=timezone.now() + timedelta(hours=hours))
    tasks.keep_to_retention.func(0)
    assert list(Session.objects.values_list("session_key", flat=True)) == ["new"]


def test_copies_under_way_stay(world: World) -> None:
    for state in ("failed", "running"):
        DataExport.objects.create(
            institution_id=world.institution.pk, user=world.user("sam"), state=state,
            created_at=timezone.now() - timedelta(days=100),
        )  # fmt: skip
    actions.forget_old(world.institution.pk)
    assert DataExport.objects.get().state == "running"


def test_one_rule_that_fails_keeps_no_other_from_its_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(before: Any) -> "models.QuerySet[User]":
        raise ZeroDivisionError

    drafts(world, 1, timedelta(days=366))
    rules = [retention.Retained("notifications", "", broken), *retention.rules()]
    monkeypatch.setattr("accounts.actions.retaining.rules", lambda: rules)
    with pytest.raises(ZeroDivisionError):
        actions.forget_old(world.institution.pk)
    assert not Draft.objects.exists()


def test_the_command_says_what_would_go(world: World) -> None:
    drafts(world, 2, timedelta(days=366))
    out = io.StringIO()
    call_command("retention", "--dry-run", stdout=out)
    assert "drafts (older than 365 days): 2 would go" in out.getvalue()
    assert "Home University" in out.getvalue()
    assert Draft.objects.count() == 2
    out = io.StringIO()
    call_command("retention", stdout=out)
    assert "2 gone" in out.getvalue()
    assert not Draft.objects.exists()
