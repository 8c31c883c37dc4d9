"""The numbers of the AI for staff, and the ledger in the admin: sums, never whose."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from ai_answers import actions, spending
from ai_answers.models import (
    AIConsent,
    CallOutcome,
    CourseAI,
    Disclosure,
    InstitutionAI,
    ModelCall,
    ModelPrice,
    Spending,
)
from tests.factories import World

SignIn = Callable[[User], Client]
URL = "/c/cs-101/ai-spending/"


def call(world: World, outcome: str = "answered", **fields: object) -> ModelCall:
    values: dict[str, object] = {
        "institution": world.institution, "course": world.course, "user": world.user("sam"), "outcome": outcome,
        "engine": "openai", "model": "m-1", "cost_micros": 1500, "duration_ms": 100,
    }  # fmt: skip
    return ModelCall.objects.create(**(values | fields))


def test_the_sums_are_right(world: World) -> None:
    for outcome, duration in (
        ("answered", 100),
        ("answered", 200),
        ("abstained", 300),
        ("error", 400),
        ("refused", 500),
    ):
        call(world, outcome, duration_ms=duration, input_tokens=10, output_tokens=2)
    call(world, "reserved")
    call(world, engine="extractive", model="", cost_micros=0)
    call(world, created_at=timezone.now() - timedelta(days=8))
    call(world, course=world.other_course)
    found = spending.report(world.member("tim"), 7)
    local, model = found.engines
    assert (model.calls, model.answered, model.abstained, model.failed) == (5, 2, 1, 2)
    assert (model.input_tokens, model.output_tokens, model.cost_micros) == (50, 10, 7500)
    assert (model.p50_ms, model.p95_ms) == (300, 480)
    assert model.shares == ("40 %", "20 %", "40 %")
    assert (local.name, local.calls, found.calls, found.cost) == ("extractive", 1, 6, "$0.0075")
    assert [bucket.calls for bucket in found.buckets] == [0, 0, 0, 0, 0, 0, 6]
    assert spending.report(world.member("tim"), 30).calls == 7
    today = spending.report(world.member("tim"), 1)
    assert (len(today.buckets), sum(bucket.calls for bucket in today.buckets)) == (24, 6)
    assert not spending.report(world.member("sam"), 7).engines


@pytest.mark.parametrize(
    ("micros", "said"),
    [(0, "$0.00"), (7, "$0.0000"), (99_999, "$0.1000"), (100_000, "$0.10"), (1_234_567_000, "$1,234.57")],
)
def test_amounts_are_readable(micros: int, said: str) -> None:
    assert spending.dollars(micros) == said


def test_staff_see_what_is_left_and_when_it_begins_anew(world: World, signed_in: SignIn) -> None:
    InstitutionAI.objects.create(institution=world.institution, daily_cap_micros=20_000_000)
    CourseAI.objects.create(institution=world.institution, course=world.course, daily_cap_micros=2_000_000)
    call(world)
    today = datetime.now(UTC).date()
    account = {"institution": world.institution, "day": today}
    Spending.objects.create(
        scope="course", scope_id=world.course.pk, spent_micros=400_000, reserved_micros=100_000, **account
    )
    page = signed_in(world.user("tim")).get(URL).content.decode()
    assert "$1.50" in page
    assert "of $2.00" in page
    assert "begins anew at 00:00" in page
    assert "Surname-sam" not in page
    Spending.objects.update(spent_micros=2_000_000)
    assert "Nothing is left for today" in signed_in(world.user("tim")).get(URL).content.decode()


def test_a_chosen_model_that_isnt_there_is_said(world: World, signed_in: SignIn) -> None:
    InstitutionAI.objects.create(institution=world.institution, engine="openai")
    assert "isn’t set up on this server" in signed_in(world.user("tim")).get(URL).content.decode()


def test_the_file_holds_the_same_sums(world: World, signed_in: SignIn) -> None:
    call(world)
    response = signed_in(world.user("tim")).get(f"{URL}csv/?days=30")
    rows = list(csv.DictReader(StringIO(response.content.decode())))
    assert [(row["engine"], row["calls"], row["cost_micros"]) for row in rows] == [("openai", "1", "1500")]
    assert signed_in(world.user("tim")).get(f"{URL}csv/?days=31").status_code == 404
    assert signed_in(world.user("tim")).get(f"{URL}?days=31").status_code == 400


def test_it_is_for_the_staff_of_the_course(world: World, signed_in: SignIn) -> None:
    call(world)
    for url in (URL, f"{URL}csv/"):
        assert Client().get(url).status_code == 302
        for name, status in (("sam", 403), ("pat", 404), ("dana", 404), ("tim", 200)):
            assert signed_in(world.user(name)).get(url).status_code == status
        eve = signed_in(world.user("eve")).get(url)  # her own course of the same name
        assert b"m-1" not in eve.content


def test_the_page_costs_the_same_at_any_number_of_calls(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("tim"))
    call(world)
    client.get(URL)
    with CaptureQueriesContext(connection) as few:
        client.get(URL)
    for _ in range(30):
        call(world)
    with CaptureQueriesContext(connection) as many:
        client.get(URL)
    assert len(many) == len(few)


def fill_admin(world: World, number: int) -> None:
    user = User.objects.create(
        institution=world.institution, email=f"n{number}@example.edu", display_name=f"N {number}"
    )
    row = call(world)
    Disclosure.objects.create(
        institution=world.institution, call=row, user=world.user("sam"), course=world.course, provider="openai",
        model="m-1", text="private words of somebody",
    )  # fmt: skip
    actions.set_consent(by=user, is_given=True)
    ModelPrice.objects.create(
        institution=world.institution, engine="openai", model=f"m-{number}", input_micros=1, output_micros=1,
        valid_from="2026-01-01",
    )  # fmt: skip
    for scope, key in (("course", world.course.pk), ("user", world.user("sam").pk)):
        day = datetime(2026, 1, 1, tzinfo=UTC).date() + timedelta(days=number)
        Spending.objects.create(institution=world.institution, scope=scope, scope_id=key, day=day)


@pytest.mark.parametrize("model", [InstitutionAI, ModelPrice, Spending, Disclosure, AIConsent])
def test_operators_see_metadata_and_nobody_else_anything(world: World, signed_in: SignIn, model: type) -> None:
    root = User.objects.create_superuser("root@example.edu", display_name="Root Operator")
    InstitutionAI.objects.create(institution=world.institution)
    fill_admin(world, 0)
    client = signed_in(root)
    name = model._meta.label_lower.replace(".", "_")  # type: ignore[attr-defined]  # every model has it
    url = reverse(f"admin:{name}_changelist")
    with CaptureQueriesContext(connection) as few:
        page = client.get(url).content.decode()
    rows = client.get(url).context["cl"].queryset
    assert rows.exists()
    opened = client.get(reverse(f"admin:{name}_change", args=[rows[0].pk]))
    assert opened.status_code == 200
    for text in (page, opened.content.decode(), client.get(f"{url}?q=a").content.decode()):
        assert "private words" not in text
        assert "Surname-sam" not in text
        assert str(world.user("sam").pk) not in text
    for number in range(1, 25):
        fill_admin(world, number)
    with CaptureQueriesContext(connection) as many:
        client.get(url)
    assert len(many) == len(few)
    staff = world.user("ada")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    staff.user_permissions.set(Permission.objects.all())
    assert not signed_in(staff).get(url).context["cl"].queryset.exists()


def test_a_call_that_goes_on_isnt_counted_as_failed(world: World) -> None:
    assert call(world, CallOutcome.RESERVED).outcome == "reserved"
    assert spending.report(world.member("tim"), 7).calls == 0
