"""How long a roster file of 10,000 people takes: to read and keep, to show, and to apply.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.roster [--people 10000] [--rounds 3]

A third of the people are in the course and change section, a third have an account, a third are invited. Prints the
medians of the rounds, in seconds of wall clock and of this process's CPU, without the database's.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.scratch import scratch_database


@contextmanager
def timed(times: dict[str, list[tuple[float, float]]], name: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))


def measure(people: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU times of every step. Applying is taken back after each round."""
    from django.db import transaction
    from django.test import Client, override_settings
    from django.urls import reverse

    from accounts import actions
    from accounts.access import Member
    from accounts.models import Enrollment, Role, User
    from tests import factories

    world = factories.make_world()
    ada: Member = world.member("ada")
    there = [_person(world.institution, f"there{n}") for n in range(people // 3)]
    User.objects.bulk_create([*there, *(_person(world.institution, f"known{n}") for n in range(people // 3))])
    Enrollment.objects.bulk_create(
        Enrollment(institution=world.institution, course=world.course, user=user, role=Role.STUDENT) for user in there
    )
    names = [f"there{n}" for n in range(people // 3)] + [f"known{n}" for n in range(people // 3)]
    names += [f"new{n}" for n in range(people - len(names))]
    data = ("user_id,email,name,role,section,status\n" + "".join(
        f"S{n},{name}@example.edu,Person {name},student,Section {n % 40},active\n" for n, name in enumerate(names)
    )).encode()  # fmt: skip
    times: dict[str, list[tuple[float, float]]] = {}
    # Nobody proves anything twice here.
    world.institution.staff_second_factor = False
    world.institution.save()
    client = Client()
    client.force_login(ada.user)
    for _ in range(rounds):
        with timed(times, "read and keep"):
            roster = actions.start_roster_import(by=ada, files=[("people.csv", data)])
        with timed(times, "compare"):
            found = actions.compare_roster(ada, roster)
        with override_settings(ALLOWED_HOSTS=["testserver"]), timed(times, "the page"):
            page = client.get(reverse("forum:roster-import", args=[world.course.slug, roster.pk]))
        assert page.status_code == 200
        assert len(found.acts) == people
        with _taken_back(transaction.atomic), timed(times, "apply"):
            actions.apply_roster(by=ada, roster=roster, seen=found.mark)
    return times


def _person(institution: Any, name: str) -> Any:
    from accounts.models import User

    return User(institution=institution, email=f"{name}@example.edu", display_name=f"Person {name}", password="!")


@contextmanager
def _taken_back(atomic: Callable[[], Any]) -> Iterator[None]:
    from django.db import transaction

    with atomic():
        yield
        transaction.set_rollback(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with scratch_database():
        for name, took in measure(asked.people, asked.rounds).items():
            wall, cpu = (statistics.median(values) for values in zip(*took, strict=True))
            print(f"{name:16} {wall:6.2f} s, of it {cpu:6.2f} s CPU")


if __name__ == "__main__":
    main()
