"""Make a world, run people and faults against each other in batches, and check everything after each."""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

os.environ["QUOKKAQ_MODE"] = "test"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402 (Django first)
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402 (Django first)
from django.contrib.sessions.models import Session  # noqa: E402 (Django first)
from django.db import connection  # noqa: E402 (Django first)

from accounts import actions as account_actions  # noqa: E402 (Django first)
from accounts.models import Institution, Role, User  # noqa: E402 (Django first)
from accounts.signing_in import SECOND_FACTOR  # noqa: E402 (Django first)
from ai_answers import actions as ai_actions  # noqa: E402 (Django first)
from ai_answers.models import InstitutionAI, ModelPrice  # noqa: E402 (Django first)
from forum.actions import mailing  # noqa: E402 (Django first)
from quokkaq.lib import tenancy  # noqa: E402 (Django first)
from tests import factories  # noqa: E402 (Django first)
from tests.crashes import damage, faults, invariants  # noqa: E402 (Django first)
from tests.crashes.invariants import Violation  # noqa: E402 (Django first)
from tests.crashes.system import MODEL, System, kept_running, lines_of, system  # noqa: E402 (Django first)
from tests.crashes.workload import CS, MATH, NOOR, PEOPLE, Workload  # noqa: E402 (Django first)
from tests.recovery import measured  # noqa: E402 (Django first)

# Work that nobody would wait for, brought forward: what a task's pause before its next try, or a lease, makes wait.
LATER = timedelta(minutes=6)
SECONDS_TO_SETTLE = 120
# People write first: there is nothing to lose otherwise.
SECONDS_TO_WARM_UP, SECONDS_BEFORE = 8, 2


@contextmanager
def own_database(made: System) -> Iterator[None]:
    """Let the models of this process stand for the system's database."""
    before = connection.settings_dict
    connection.close()
    place = {
        "NAME": "quokkaq",
        "USER": "postgres",
        "PASSWORD": "",
        "HOST": made.cluster.host,
        "PORT": made.cluster.port,
    }
    connection.settings_dict = {**before, **place}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = before


def make_world(made: System, load: Workload) -> None:
    """Two institutions, three courses, everybody in them; a lecture to answer from, and a model with a price."""
    with own_database(made), tenancy.scope(tenancy.EVERY):
        home = Institution.objects.create(name="Home University", slug="home")
        away = Institution.objects.create(name="Away College", slug="away")
        courses = {
            (True, CS): factories.make_course(home, CS),
            (True, MATH): factories.make_course(home, MATH),
            (False, CS): factories.make_course(away, CS),
        }
        for person in (*PEOPLE, NOOR):
            user = factories.make_user(
                home if person.home else away, person.name, feed_key=f"feed{person.name}{'0' * 20}"
            )
            for slug in person.courses:
                role = (
                    (Role.TA if person.name == "tim" else Role.INSTRUCTOR) if person.role == "staff" else Role.STUDENT
                )
                factories.enroll(user, courses[person.home, slug], role)
        everything = 10**10
        for institution in (home, away):
            InstitutionAI.objects.create(
                institution=institution, engine="openai", daily_cap_micros=everything, asks_per_hour=10_000,
                course_daily_cap_micros=everything, user_daily_cap_micros=everything,
            )  # fmt: skip
            ModelPrice.objects.create(
                institution=institution, engine="openai", model=MODEL, input_micros=invariants.PRICE_READ,
                output_micros=invariants.PRICE_WRITTEN, valid_from="2020-01-01",
            )  # fmt: skip
        load.course_keys = {slug: str(course.pk) for (at_home, slug), course in courses.items() if at_home}
    with own_database(made):
        for (at_home, slug), course in courses.items():
            with tenancy.scope(course.institution_id):
                name = "ada" if at_home else "eve"
                member = factories.World(home, away, course, course, course, {name: User.objects.get(email=f"{name}@example.edu")}).member(name)  # fmt: skip
                factories.make_material(member)
                # Half of them let what they write go to a model of somebody else.
                for user in User.objects.filter(email__in=[f"{p.name}@example.edu" for p in PEOPLE[::2]]):
                    if slug == CS:
                        ai_actions.set_consent(by=user, is_given=True)


def prove_second_factor(made: System, load: Workload) -> None:
    """Note in the sessions of staff that they showed a code, without which they may do nothing."""
    with own_database(made), tenancy.scope(tenancy.EVERY):
        for person in PEOPLE:
            if person.role == "staff":
                row = Session.objects.get(pk=load.browsers[person.name].cookies[settings.SESSION_COOKIE_NAME])
                key = str(User.objects.get(email=person.email).pk)
                row.session_data = SessionStore().encode({**row.get_decoded(), SECOND_FACTOR: key})
                row.save()
    made.redis.kill()  # it remembers the sessions as they were


def pass_time(made: System) -> None:
    """Do now what would be done within minutes: tries that wait, and the sweeps for what was cut off."""
    made.ask("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo' AND scheduled_at > now()")
    with own_database(made), made.s3.settings():
        institutions = tenancy.institutions()
        for institution in institutions:
            with tenancy.scope(institution), patch("django.utils.timezone.now", lambda: datetime.now(UTC) + LATER):
                mailing.enqueue_due_mail()
                mailing.enqueue_unsent_mail()
                account_actions.sweep_uploads()


def settle_lost(made: System) -> None:
    """Let the lease of calls run out whose process died. No job is at work any more."""
    with own_database(made):
        for institution in tenancy.institutions():
            with tenancy.scope(institution), patch("django.utils.timezone.now", lambda: datetime.now(UTC) + LATER):
                ai_actions.settle_lost_calls()


WAITING = (
    "SELECT (SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
    " OR (status = 'todo' AND args->>'timestamp' IS NULL)),"
    " (SELECT count(*) FROM forum_notification WHERE mailed_at IS NULL AND mail_due_at < now() + interval '5 minutes'),"
    " (SELECT count(*) FROM forum_mail WHERE state = 'queued'),"
    " (SELECT count(*) FROM accounts_upload WHERE state IN ('uploaded', 'scanning'))"
)


def settle(made: System) -> str:
    """Wait until nothing is left to do; return what still waits when that takes too long."""
    for service in made.services:
        if service.clock.exists():
            service.jump(0)
    deadline = time.monotonic() + SECONDS_TO_SETTLE
    rounds, quiet = 0, 0
    waiting: tuple[int, ...] = ()
    while time.monotonic() < deadline:
        with suppress(OSError, django.db.Error, Exception):
            if rounds % 4 == 0:
                pass_time(made)
            waiting = tuple(made.ask(WAITING)[0])
            quiet = quiet + 1 if not any(waiting) else 0
            if quiet >= 2 and made.is_up():
                settle_lost(made)
                return ""
        rounds += 1
        time.sleep(0.5)
    return "jobs, told, mails, files that wait: {}".format(", ".join(map(str, waiting)))


def report(seed: int, load: Workload, done: list[faults.Fault], violations: list[Violation], made: System) -> None:
    """Say what was wrong, after which faults, and what the people concerned were told."""
    print(f"\nFAILED. Again: python -m tests.crashes --seed {seed} --faults {len(done)}\nFaults until then:")
    print("\n".join(f"  {fault}" for fault in done[-60:]))
    for violation in violations[:60]:
        print(f"\n{violation}")
        for token in violation.tokens:
            for act in load.ledger:
                if token in (act.target, *act.what.split()):
                    print(f"  {act}")
    for service in made.services:
        errors = [line for line in lines_of(service.log, last=2000) if '"level": "ERROR"' in line]
        print(f"\n{service.name}: started {service.starts} times; {len(errors)} errors in its log")
        for line in errors[-4:]:
            print(f"  {line[:700]}")


def run(
    seed: int, count: int, *, batch: int, seconds: float = float("inf"), kinds: frozenset[str] = frozenset(),
    proves: bool = False, template: Path | None = None, logs: Path | None = None,
) -> int:  # fmt: skip
    """Return how many promises were broken, and how much damage wasn't found.

    Args:
        seconds: no further batch begins after so long.
        kinds: do faults of these only; empty: of all.
        proves: do damage on purpose at the end, to see that it is found.
        template: where the migrated cluster is kept for the next run, which then begins at once.
        logs: where the logs of all that ran are put.
    """
    began = time.monotonic()
    plan = [fault for fault in faults.schedule(seed, count) if not kinds or fault.kind in kinds]
    with system(template) as made:
        load = Workload(made.port, seed)
        make_world(made, load)
        with kept_running(made):
            saboteur = faults.Saboteur(made)
            for kind, why in saboteur.left_out.items():
                print(f"left out: {kind} ({why})")
            load.sign_in()
            prove_second_factor(made, load)
            load.start()
            violations: list[Violation] = []
            for first in range(0, len(plan), batch):
                if first and time.monotonic() - began > seconds:
                    print(f"{len(plan) - first} faults are left undone: {seconds:.0f} s are over")
                    break
                load.going.set()
                time.sleep(SECONDS_BEFORE if first else SECONDS_TO_WARM_UP)
                saboteur.run(plan[first : first + batch])
                time.sleep(2)
                load.pause()
                stuck = settle(made)
                if stuck:
                    violations.append(Violation("settles", stuck))
                violations += invariants.check(made, load)
                outcomes = Counter(act.outcome for act in load.ledger)
                print(
                    f"{time.monotonic() - began:.0f} s: {len(saboteur.done)} faults, {len(load.ledger)} acts {dict(outcomes)}, "
                    f"{len(violations)} violations, {len(made.mail.taken)} mails ({invariants.repeated_mails(made)} again), "
                    f"{len(made.model.seen)} model calls, {invariants.failed_answers(made)} answers given up",
                    flush=True,
                )  # fmt: skip
                if violations:
                    report(seed, load, saboteur.done, violations, made)
                    break
            load.end()
            print("faults by kind:", dict(Counter(fault.kind for fault in saboteur.done)))
            measured(
                "crash_faults", faults=len(saboteur.done), acts=len(load.ledger), violations=len(violations), seed=seed,
                acknowledged=outcomes["acknowledged"], unknown=outcomes["unknown"], refused=outcomes["refused"],
                mails=len(made.mail.taken), mails_repeated=invariants.repeated_mails(made),
                answers_given_up=sum(invariants.failed_answers(made).values()),
                run_seconds=time.monotonic() - began,
            )  # fmt: skip
            missed = damage.prove(made, load) if proves and not violations else []
            if logs is not None:
                for log in made.home.glob("*.log"):
                    shutil.copy(log, logs)
    return len(violations) + len(missed)


def main() -> int:
    """Run from the command line; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="Break things under load, then check every promise.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--batch", type=int, default=50, help="faults between two checks")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no batch after so long")
    parser.add_argument("--kinds", default="", help="only these, separated by commas")
    parser.add_argument("--prove", action="store_true", help="do damage on purpose at the end: each must be found")
    parser.add_argument("--template", type=Path, help="a folder to be: the migrated cluster, for the next run")
    parser.add_argument("--logs", type=Path, help="a folder for the logs of all that ran")
    given = parser.parse_args()
    kinds = frozenset(given.kinds.split(",")) - {""}
    if unknown := kinds - faults.WEIGHTS.keys():
        parser.error(f"unknown kinds: {', '.join(sorted(unknown))}. There are: {', '.join(faults.WEIGHTS)}")
    broken = run(
        given.seed, given.faults, batch=given.batch, seconds=given.seconds, kinds=kinds, proves=given.prove,
        template=given.template, logs=given.logs,
    )  # fmt: skip
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
